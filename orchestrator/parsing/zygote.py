"""The process that every parser child is forked from: all is imported, nothing has been done.

A fresh interpreter costs a DAG file some 200 ms; a fork of this process costs a few. It is started
with a fixed hash seed, so that a set iterates in the same order in every import, and it has one
thread only, so that forking is safe. It lives as long as its control connection is open at the
other end: a parser that is killed takes it along.
"""

import gc
import importlib
import os
import signal
import socket
from collections.abc import Sequence
from typing import NoReturn

from orchestrator.parsing.overseer import oversee

__all__ = ["serve"]

_PRELOADED = (
    "csv",
    "json",
    "logging",
    "math",
    "orchestrator.sdk",
    "orchestrator.sdk.freezing",
    "statistics",
    "subprocess",
    "tempfile",
    "urllib.request",
    "uuid",
    "zoneinfo",
)
"""What DAG files import most, so that a fork has it already."""


def serve(control_fd: int, preload: Sequence[str] = _PRELOADED) -> NoReturn:
    """Fork an overseer for every connection that arrives over the control socket."""
    for name in preload:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for an overseer
    control = socket.socket(fileno=control_fd)
    gc.collect()
    gc.freeze()  # a collection in a child shall not copy the pages they share
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            gc.disable()
            oversee(socket.socket(fileno=descriptors[0]))
        os.close(descriptors[0])
