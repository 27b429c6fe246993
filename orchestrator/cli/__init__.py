"""What a person can do from a terminal: the command `orchestrator`."""

import os
import sys

__all__ = ["HASH_SEED", "main"]

HASH_SEED = "0"
"""PYTHONHASHSEED of whoever executes tasks, the parser's own: ids that an author numbers along a
set are then the same in both. Python takes it only when it starts."""

_EXECUTE_TASKS = (["standalone"], ["worker"])


def main() -> None:
    """Run the command line."""
    if sys.argv[1:2] in _EXECUTE_TASKS and os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    from orchestrator.cli.app import run  # noqa: PLC0415 - not needed to start anew

    run()
