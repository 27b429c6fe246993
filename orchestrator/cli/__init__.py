"""What a person can do from a terminal: the command `orchestrator`."""

from orchestrator.cli.app import main

__all__ = ["main"]
