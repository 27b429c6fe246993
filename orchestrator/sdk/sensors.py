"""Tasks that wait until something is so: they look, and look again."""

from __future__ import annotations

import glob
import hashlib
import os
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.sdk.bash import environment_for, known_encoding, working_folder
from orchestrator.sdk.commands import Command, exit_in_words
from orchestrator.sdk.coroutines import finished
from orchestrator.sdk.exceptions import (
    FailException,
    NotFoundException,
    RescheduleException,
    SensorTimeoutError,
    SkipException,
    TaskException,
    TaskTimeoutError,
)
from orchestrator.sdk.operators import BaseOperator
from orchestrator.sdk.python import PythonOperator
from orchestrator.sdk.references import Reference
from orchestrator.sdk.services import current_services

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["BaseSensorOperator", "BashSensor", "FileSensor", "PokeReturnValue", "PythonSensor"]

POKE_INTERVAL = timedelta(seconds=60)
TIMEOUT = timedelta(days=7)
_LAST_WAIT_S = 0.01
"""The last look is when the time is over, a moment later."""
_EXPONENT_MAX = 64
"""Far beyond a week for every real interval, and below what overflows a float."""


class SensorMode(StrEnum):
    """Where a sensor waits between two looks."""

    POKE = "poke"
    """On its worker, which it keeps: for waits of seconds."""
    RESCHEDULE = "reschedule"
    """Nowhere: it gives its worker and its pool slot back, for waits of minutes and more."""


class PokeReturnValue:
    """What `poke` may return instead of a truth value: whether the wait is over, and what the
    sensor then pushes as its returned value."""

    def __init__(self, is_done: bool, xcom_value: Any = None) -> None:
        self.is_done = is_done
        self.xcom_value = xcom_value

    def __bool__(self) -> bool:
        return self.is_done

    def __repr__(self) -> str:
        return f"PokeReturnValue({self.is_done!r}, {self.xcom_value!r})"


class BaseSensorOperator(BaseOperator):
    """A task that waits: define `poke(context)`, which looks once and says whether it is over.

    It looks every `poke_interval` (60 s) and fails, without another try, when it has waited longer
    than `timeout` (7 days; in reschedule mode over all reschedules of one try). With
    `exponential_backoff` the waits double, up to `max_wait`. `soft_fail` has it skipped instead of
    failed when its time is over or `poke` raises AirflowFailException; `never_fail` when `poke`
    raises anything; `silent_fail` logs what `poke` raises and goes on. `deferrable=True`, which
    in Airflow keeps no worker either, means mode="reschedule".
    """

    def __init__(
        self,
        *,
        poke_interval: timedelta | float = POKE_INTERVAL,
        timeout: timedelta | float = TIMEOUT,
        soft_fail: bool = False,
        mode: str = SensorMode.POKE,
        exponential_backoff: bool = False,
        max_wait: timedelta | float | None = None,
        silent_fail: bool = False,
        never_fail: bool = False,
        deferrable: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        subject = self.subject
        if subject.flag("deferrable", deferrable):
            mode = SensorMode.RESCHEDULE
        self.poke_interval = subject.duration(
            "poke_interval", poke_interval, zero=True
        ).total_seconds()
        self.timeout = subject.duration("timeout", timeout, zero=True).total_seconds()
        self.mode = subject.choice("mode", mode, SensorMode)
        self.exponential_backoff = subject.flag("exponential_backoff", exponential_backoff)
        self.max_wait = subject.duration_or_none("max_wait", max_wait)
        self.soft_fail = subject.flag("soft_fail", soft_fail)
        self.silent_fail = subject.flag("silent_fail", silent_fail)
        self.never_fail = subject.flag("never_fail", never_fail)
        if soft_fail and never_fail:
            raise subject.error("soft_fail and never_fail exclude each other; choose one")

    @property
    def reschedule(self) -> bool:
        """Whether it gives its worker back between two looks."""
        return self.mode is SensorMode.RESCHEDULE

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Look once; a true answer ends the wait."""
        raise NotImplementedError(f"{type(self).__name__} does not define poke(context)")

    def execute(self, context: Context) -> Any:
        """Look until the wait is over."""
        try:
            return self._wait(context)
        except TaskTimeoutError as error:
            self._excuse(error)
            raise

    def _wait(self, context: Context) -> Any:
        clock = current_services().clock
        began_at = context["ti"].began_at if self.reschedule else clock.now()
        pokes = 0
        while True:
            pokes += 1
            answer = self._poke(context)
            if answer:
                self.log.info("the wait is over")
                return answer.xcom_value if isinstance(answer, PokeReturnValue) else None
            waited_s = (clock.now() - began_at).total_seconds()
            if waited_s > self.timeout:
                raise self._timed_out()
            if self.reschedule:
                pokes = self._pokes_within(waited_s, began_at)
            left_s = max(self.timeout - waited_s, _LAST_WAIT_S)
            wait_s = min(self._wait_s(pokes, began_at), left_s)
            if self.reschedule:
                raise RescheduleException(clock.now() + timedelta(seconds=wait_s))
            clock.sleep(wait_s)

    def _poke(self, context: Context) -> bool | PokeReturnValue:
        try:
            return finished(self.poke(context))  # type: ignore[no-any-return]
        except (SkipException, RescheduleException):
            raise
        except (FailException, SensorTimeoutError) as error:
            self._excuse(error)
            raise
        except Exception as error:
            if self.silent_fail:
                self.log.error("poke failed:\n%s", traceback.format_exc())
                return False
            if self.never_fail:
                self._excuse(error)
            raise

    def _excuse(self, error: BaseException) -> None:
        """Turn what ends the wait for good into a skip, where the author asked for that."""
        for name in ("soft_fail", "never_fail"):
            if getattr(self, name):
                text = str(error) or type(error).__name__
                raise SkipException(f"{text} ({name} is set)") from error

    def _timed_out(self) -> TaskException:
        message = f"what it waits for did not come within its timeout of {self.timeout:g} s"
        if self.soft_fail:
            return SkipException(f"{message} (soft_fail is set)")
        return SensorTimeoutError(message)

    def _wait_s(self, pokes: int, began_at: datetime) -> float:
        """How long to wait after so many looks."""
        if not self.exponential_backoff:
            return self.poke_interval
        exponent = min(pokes - 2, _EXPONENT_MAX)
        base = max(1, int(self.poke_interval * 2.0**exponent))
        seed = f"{self.dag.dag_id if self.dag else ''}#{self.task_id}#{began_at}#{pokes}"
        jitter = int.from_bytes(hashlib.sha1(seed.encode(), usedforsecurity=False).digest(), "big")
        wait_s = float(base + jitter % base)
        return wait_s if self.max_wait is None else min(wait_s, self.max_wait.total_seconds())

    def _pokes_within(self, waited_s: float, began_at: datetime) -> int:
        """How many looks it took to wait for so long: between reschedules nobody counts them."""
        pokes, total_s = 1, 0.0
        while self.exponential_backoff:
            total_s += max(1.0, self._wait_s(pokes, began_at))
            if total_s > waited_s:
                break
            pokes += 1
        return pokes


class PythonSensor(BaseSensorOperator, PythonOperator):
    """Waits until a function returns something true (or a PokeReturnValue that is done)."""

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Ask the function."""
        answer = PythonOperator.execute(self, context)
        return answer if isinstance(answer, PokeReturnValue) else bool(answer)


class DecoratedSensor(PythonSensor):
    """What `@task.sensor` makes of a function."""

    template_fields: Sequence[str] = ("op_args", "op_kwargs")

    @property
    def operator_name(self) -> str:
        """The decorator's name."""
        return "@task.sensor"


class BashSensor(BaseSensorOperator):
    """Waits until a bash command exits with code 0. With `retry_exit_code` only that code (or one
    of these) means "not yet", and any other fails the try."""

    template_fields: Sequence[str] = ("bash_command", "env")
    template_ext: Sequence[str] = (".sh", ".bash")

    def __init__(
        self,
        *,
        bash_command: Any,
        env: Mapping[str, str] | None = None,
        output_encoding: str = "utf-8",
        retry_exit_code: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bash_command = bash_command
        self.env = env
        self.output_encoding = known_encoding(output_encoding, self.subject)
        self.retry_exit_code = retry_exit_code
        if isinstance(bash_command, str) and not bash_command.strip():
            raise self.subject.error("bash_command is empty; it must be a command")

    def poke(self, context: Context) -> bool:
        """Run the command once."""
        environment = environment_for(context, self.env, inherits=self.env is None)
        with working_folder(None) as folder:
            command = Command(("bash", "-c", self.bash_command), env=environment, folder=folder)
            try:
                last_line = command.follow(self.log, encoding=self.output_encoding)
            finally:
                command.stop()
        code, retry = command.exit_code, self.retry_exit_code
        if code not in (0, retry) and retry is not None:
            said = f"; its last line of output: {last_line}" if last_line else ""
            raise TaskException(
                f"bash {exit_in_words(code)}; only 0 (done) and {retry} (not yet) are "
                f"expected{said}"
            )
        return code == 0


class FileSensor(BaseSensorOperator):
    """Waits until there is a file at `filepath`: the file itself, a file that matches the glob
    pattern, or a folder with a file in it. `recursive` lets `**` in a pattern go down folders.
    With `fs_conn_id` the path is looked for in the folder that this Connection names."""

    template_fields: Sequence[str] = ("filepath",)

    def __init__(
        self,
        *,
        filepath: str | Path | Reference,
        fs_conn_id: str | None = None,
        recursive: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(filepath, str | os.PathLike | Reference):
            raise self.subject.error(f"filepath is {filepath!r}; it must be a path or a pattern")
        self.filepath: Any = filepath if isinstance(filepath, Reference) else os.fspath(filepath)
        self.fs_conn_id = self.subject.text_or_none("fs_conn_id", fs_conn_id)
        self.recursive = self.subject.flag("recursive", recursive)

    def poke(self, context: Context) -> bool:  # noqa: ARG002
        """Look for the file."""
        pattern = os.path.join(self._folder(), self.filepath)  # noqa: PTH118 - a pattern
        self.log.info("looking for %s", pattern)
        # Not Path.glob, which knows no absolute patterns and always goes down folders.
        for path in sorted(glob.glob(pattern, recursive=self.recursive)):  # noqa: PTH207
            if Path(path).is_file() or any(files for _, _, files in os.walk(path)):
                self.log.info("found %s", path)
                return True
        return False

    def _folder(self) -> str:
        if self.fs_conn_id is None:
            return ""
        from orchestrator.sdk.hooks.files import FSHook  # noqa: PLC0415 - few sensors need it

        try:
            return FSHook(self.fs_conn_id).get_path()
        except NotFoundException:
            if self.fs_conn_id != FSHook.default_conn_name:
                raise
            return ""  # Airflow always has one of this name, for the root
