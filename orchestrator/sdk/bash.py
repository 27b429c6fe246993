"""Tasks that run a bash command, whose whole process group ends with the task."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import tempfile
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from orchestrator.sdk.exceptions import SkipException, TaskException
from orchestrator.sdk.operators import BaseOperator

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["BashOperator"]

LINE_BYTES_MAX = 65_536
"""A longer line of output reaches the log in pieces."""
KILL_GRACE_S = 5.0
"""How long the command has after SIGTERM before SIGKILL."""
_WATCH = 'trap "" TERM INT HUP; read -r _; kill -KILL 0'
"""Waits until its standard input closes, which happens when the task's process is gone however it
died, and then kills its own process group."""


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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bash_command = bash_command
        self.env = env
        self.append_env = self.subject.flag("append_env", append_env)
        self.output_encoding = self._known_encoding(output_encoding)
        self.skip_on_exit_code = skip_on_exit_code
        self.cwd = cwd
        self._command: _Command | None = None
        if isinstance(bash_command, str) and not bash_command.strip():
            raise self.subject.error("bash_command is empty; it must be a command")

    def execute(self, context: Context) -> str:
        """Run the command to its end."""
        if not isinstance(self.bash_command, str) or not self.bash_command.strip():
            raise TaskException(f"bash_command is {self.bash_command!r}; it must be a command")
        with _folder(self.cwd) as folder:
            self.log.info("running in %s: %s", folder, self.bash_command)
            command = self._command = _Command(
                self.bash_command, env=self._environment(context), folder=folder
            )
            try:
                last_line = command.follow(self.log, encoding=self.output_encoding)
            finally:
                command.stop()
        return self._conclude(command.exit_code, last_line)

    def on_kill(self) -> None:
        """End the command and all it started."""
        if self._command is not None:
            self._command.stop()

    def _conclude(self, code: int, last_line: str) -> str:
        if code == 0:
            return last_line
        if self._is_skip(code):
            raise SkipException(f"bash exited with code {code}, which means skip")
        said = f"; its last line of output: {last_line}" if last_line else ""
        raise TaskException(f"bash {_exit_in_words(code)}{said}")

    def _is_skip(self, code: int) -> bool:
        skip = self.skip_on_exit_code
        return skip is not None and (code == skip if isinstance(skip, int) else code in skip)

    def _environment(self, context: Context) -> dict[str, str]:
        own = {str(name): str(value) for name, value in (self.env or {}).items()}
        inherited = dict(os.environ) if self.env is None or self.append_env else {}
        return {**inherited, **context_variables(context), **own}

    def _known_encoding(self, name: str) -> str:
        try:
            "".encode(name)
        except LookupError:
            raise self.subject.error(
                f"output_encoding is {name!r}; it must be an encoding such as 'utf-8'"
            ) from None
        return name


def context_variables(context: Context) -> dict[str, str]:
    """Return the context as environment variables, by Airflow's names and ours for the rest."""
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


class _Command:
    """A running bash command in a process group of its own, led by a process that outlives ours
    just long enough to end the group."""

    def __init__(self, text: str, *, env: Mapping[str, str], folder: str) -> None:
        try:
            self._watcher = subprocess.Popen(
                ["bash", "-c", _WATCH],  # noqa: S607 - the bash of PATH is meant
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except FileNotFoundError:
            raise TaskException("bash is not on this worker's PATH; install it") from None
        try:
            self._process = subprocess.Popen(
                ["bash", "-c", text],  # noqa: S607
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(env),
                process_group=self._watcher.pid,
            )
        except OSError as error:
            self._dismiss_watcher()
            raise TaskException(f"bash cannot be started: {error.strerror}") from error

    @property
    def exit_code(self) -> int:
        """How it ended; negative for a signal."""
        code = self._process.returncode
        assert code is not None, "asked before the end"
        return code

    def follow(self, log: logging.Logger, *, encoding: str) -> str:
        """Log its output as it comes, wait for its end and return the last line."""
        last_line = ""
        for piece in _lines(self._process.stdout):
            last_line = piece.decode(encoding, errors="backslashreplace").rstrip("\r\n")
            log.info("%s", last_line)
        self._process.wait()
        return last_line

    def stop(self) -> None:
        """End it if it still runs, with all that it started."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_GRACE_S)
            self._signal(signal.SIGKILL)
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._dismiss_watcher()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._watcher.pid, number)

    def _dismiss_watcher(self) -> None:
        # Killed before its input closes: what the command left behind on purpose lives on.
        self._watcher.kill()
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher.wait()


def _lines(stream: IO[bytes] | None) -> Iterator[bytes]:
    assert stream is not None, "the command's output is piped"
    while line := stream.readline(LINE_BYTES_MAX):
        yield line


@contextmanager
def _folder(cwd: str | None) -> Iterator[str]:
    """The folder a command runs in: the one named, else a new one that is removed afterwards."""
    if cwd is None:
        with tempfile.TemporaryDirectory(prefix="orchestrator-bash-") as folder:
            yield folder
        return
    if not Path(cwd).is_dir():
        raise TaskException(f"cwd is {cwd!r}, which is no folder on this worker; create it first")
    yield cwd


def _exit_in_words(code: int) -> str:
    number = -code if code < 0 else code - 128
    if code < 0 or code > 128:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(number).name} (exit code {code})"
    return f"exited with code {code}"
