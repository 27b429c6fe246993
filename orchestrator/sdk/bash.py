"""Tasks that run a bash command, whose whole process group ends with the task."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.sdk.exceptions import SkipException, TaskException
from orchestrator.sdk.operators import BaseOperator

if TYPE_CHECKING:
    from orchestrator.sdk.arguments import Subject
    from orchestrator.sdk.commands import Command
    from orchestrator.sdk.context import Context

__all__ = ["BashOperator"]


class BashOperator(BaseOperator):
    """Runs `bash -c bash_command` and pushes the last line of its output.

    Its output (standard error included) goes to the task's log line by line. Exit code 0 is
    success, one of `skip_on_exit_code` (99) a skip, any other a failure. Pass values in by `env` or
    read them from the environment (AIRFLOW_CTX_DAG_RUN_CONF ...) instead of writing them into the
    command: whoever may trigger the DAG could otherwise write commands.
    """

    template_fields: Sequence[str] = ("bash_command", "env", "cwd")
    template_ext: Sequence[str] = (".sh", ".bash")

    def __init__(
        self,
        *,
        bash_command: Any,
        env: Mapping[str, str] | None = None,
        append_env: bool = False,
        output_encoding: str = "utf-8",
        skip_on_exit_code: int | Container[int] | None = 99,
        cwd: str | None = None,
        output_processor: Callable[[str], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bash_command = bash_command
        if output_processor is not None and not callable(output_processor):
            raise self.subject.error(
                f"output_processor is {output_processor!r}; it must be a function of one text"
            )
        self.output_processor = output_processor
        self.env = env
        self.append_env = self.subject.flag("append_env", append_env)
        self.output_encoding = known_encoding(output_encoding, self.subject)
        self.skip_on_exit_code = skip_on_exit_code
        self.cwd = cwd
        self._command: Command | None = None
        if isinstance(bash_command, str) and not bash_command.strip():
            raise self.subject.error("bash_command is empty; it must be a command")

    def execute(self, context: Context) -> Any:
        """Run the command to its end; return its last line of output, or what output_processor
        makes of it."""
        from orchestrator.sdk.commands import Command  # noqa: PLC0415 - slow to import

        if not isinstance(self.bash_command, str) or not self.bash_command.strip():
            raise TaskException(f"bash_command is {self.bash_command!r}; it must be a command")
        with working_folder(self.cwd) as folder:
            self.log.info("running in %s: %s", folder, self.bash_command)
            command = self._command = Command(
                ("bash", "-c", self.bash_command), env=self._environment(context), folder=folder
            )
            try:
                last_line = command.follow(self.log, encoding=self.output_encoding)
            finally:
                command.stop()
        said = self._conclude(command.exit_code, last_line)
        return said if self.output_processor is None else self.output_processor(said)

    def on_kill(self) -> None:
        """End the command and all it started."""
        if self._command is not None:
            self._command.stop()

    def _conclude(self, code: int, last_line: str) -> str:
        if code == 0:
            return last_line
        if self._is_skip(code):
            raise SkipException(f"bash exited with code {code}, which means skip")
        from orchestrator.sdk.commands import exit_in_words  # noqa: PLC0415 - slow to import

        said = f"; its last line of output: {last_line}" if last_line else ""
        raise TaskException(f"bash {exit_in_words(code)}{said}")

    def _is_skip(self, code: int) -> bool:
        skip = self.skip_on_exit_code
        return skip is not None and (code == skip if isinstance(skip, int) else code in skip)

    def _environment(self, context: Context) -> dict[str, str]:
        inherits = self.env is None or self.append_env
        return environment_for(context, self.env, inherits=inherits)


def known_encoding(name: str, subject: Subject) -> str:
    """Return the name of an encoding, or say that it is none."""
    try:
        "".encode(name)
    except LookupError:
        raise subject.error(
            f"output_encoding is {name!r}; it must be an encoding such as 'utf-8'"
        ) from None
    return name


def environment_for(
    context: Context, env: Mapping[str, Any] | None, *, inherits: bool
) -> dict[str, str]:
    """Return the environment of a program: the context, the task's own, and the worker's if it
    `inherits` that."""
    own = {str(name): str(value) for name, value in (env or {}).items()}
    return {**(os.environ if inherits else {}), **context_variables(context), **own}


def context_variables(context: Context) -> dict[str, str]:
    """Return the context as environment variables, by Airflow's names and ours for the rest."""
    import json  # noqa: PLC0415 - slow to import

    run = context["dag_run"]
    facts = {
        "DAG_ID": run.dag_id,
        "DAG_OWNER": context["task"].owner,
        "DAG_RUN_ID": run.run_id,
        "DAG_RUN_CONF": json.dumps(context["conf"]),
        "IDEMPOTENCY_KEY": context["idempotency_key"],
        "LOGICAL_DATE": run.logical_date.isoformat() if run.logical_date else "",
        "MAP_INDEX": str(context["map_index"]),
        "PARAMS": json.dumps(context["params"]),
        "TASK_ID": context["ti"].task_id,
        "TRY_NUMBER": str(context["try_number"]),
    }
    return {f"AIRFLOW_CTX_{name}": value for name, value in facts.items()}


@contextmanager
def working_folder(cwd: str | None) -> Iterator[str]:
    """The folder a command runs in: the one named, else a new one that is removed afterwards."""
    if cwd is None:
        import tempfile  # noqa: PLC0415 - slow to import

        with tempfile.TemporaryDirectory(prefix="orchestrator-bash-") as folder:
            yield folder
        return
    if not Path(cwd).is_dir():
        raise TaskException(f"cwd is {cwd!r}, which is no folder on this worker; create it first")
    yield cwd
