"""How a program runs on behalf of a task: its output is the task's log, and nothing of it outlives
the task, however that ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO

from orchestrator.sdk.exceptions import TaskException

__all__ = ["Command", "exit_in_words"]

LINE_BYTES_MAX = 65_536
"""A longer line of output reaches the log in pieces."""
KILL_GRACE_S = 5.0
"""How long the program has after SIGTERM before SIGKILL."""
_WATCH = 'trap "" TERM INT HUP; read -r _; kill -KILL 0'
"""Waits until its standard input closes, which happens when the task's process is gone however it
died, and then kills its own process group."""


class Command:
    """A running program in a process group of its own, led by a process that outlives ours just
    long enough to end the group."""

    def __init__(self, words: Sequence[str], *, env: Mapping[str, str], folder: str) -> None:
        """Start it; raise TaskException when there is no such program."""
        self._watcher = subprocess.Popen(
            ["sh", "-c", _WATCH],  # noqa: S607 - the sh of PATH is meant
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            self._process = subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(env),
                process_group=self._watcher.pid,
            )
        except FileNotFoundError:
            self._dismiss_watcher()
            raise TaskException(f"{words[0]} is not on this worker's PATH; install it") from None
        except OSError as error:
            self._dismiss_watcher()
            raise TaskException(f"{words[0]} cannot be started: {error.strerror}") from error

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
        # Killed before its input closes: what the program left behind on purpose lives on.
        self._watcher.kill()
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher.wait()


def exit_in_words(code: int) -> str:
    """Say how a program ended."""
    number = -code if code < 0 else code - 128
    if code < 0 or code > 128:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(number).name} (exit code {code})"
    return f"exited with code {code}"


def _lines(stream: IO[bytes] | None) -> Iterator[bytes]:
    assert stream is not None, "the program's output is piped"
    while line := stream.readline(LINE_BYTES_MAX):
        yield line
