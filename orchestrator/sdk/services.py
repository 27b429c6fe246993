"""What may a running task ask of the orchestrator around it?

The worker answers from the store, `orchestrator.testing` from memory. Each field is one small
Protocol, defined beside the feature that needs it.
"""

from dataclasses import dataclass

from orchestrator.sdk.xcoms import XComReader

__all__ = ["TaskServices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskServices:
    """The services of one try."""

    xcoms: XComReader
