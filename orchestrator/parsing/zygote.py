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

from orchestrator.core.codec import encode_spec
from orchestrator.parsing.overseer import oversee
from orchestrator.sdk.scope import collecting

__all__ = ["serve"]

_PRELOADED = (
    "csv",
    "json",
    "logging",
    "math",
    "statistics",
    "subprocess",
    "tempfile",
    "urllib.request",
    "uuid",
    "zoneinfo",
)
"""What DAG files import most, so that a fork has it already."""


_TYPICAL_DAG = """
from datetime import datetime, timedelta
from orchestrator.sdk import DAG, BashOperator, EmptyOperator, Param, TaskGroup, task

with DAG("typical", schedule="@daily", start_date=datetime(2026, 1, 1), params={"n": Param(1)}):
    @task(retries=1, retry_delay=timedelta(seconds=1))
    def extract():
        return 1

    with TaskGroup("load"):
        BashOperator(task_id="echo", bash_command="echo {{ ds }}") >> EmptyOperator(task_id="end")

    extract()
"""
"""Authored once, so that what the SDK imports only when it is needed is there already."""


def serve(control_fd: int, preload: Sequence[str] = _PRELOADED) -> NoReturn:
    """Fork an overseer for every connection that arrives over the control socket."""
    for name in preload:
        importlib.import_module(name)
    _author_typical_dag()
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


def _author_typical_dag() -> None:
    with collecting() as dags:
        exec(compile(_TYPICAL_DAG, "typical.py", "exec"), {"__name__": "typical"})  # noqa: S102
    for dag in dags:
        encode_spec(dag.spec())
