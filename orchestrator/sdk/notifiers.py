"""What is a notifier: a callback with arguments of its own, which may be templates?

class Page(BaseNotifier):
    template_fields = ("message",)

    def __init__(self, message: str) -> None:
        super().__init__()
        self.message = message

    def notify(self, context):
        send(self.message)

DAG(..., on_failure_callback=Page(message="{{ dag_run.run_id }} failed: {{ reason }}"))
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["BaseNotifier"]


class BaseNotifier:
    """Subclass it and define `notify(context)`, or `async_notify(context)` to be run in an event
    loop. The attributes that `template_fields` names are rendered before, for this call only."""

    template_fields: Sequence[str] = ()
    template_ext: Sequence[str] = ()

    def __init__(self, *, context: Context | None = None, **_: Any) -> None:
        self.context = context

    @property
    def log(self) -> logging.Logger:
        """The callback's log."""
        return logging.getLogger("orchestrator.task")

    def notify(self, context: Context) -> None:
        """Send the notification."""
        raise NotImplementedError(f"{type(self).__name__} does not define notify(context)")

    async def async_notify(self, context: Context) -> None:
        """Send the notification; unless defined, as `notify` does."""
        self.notify(context)

    def __call__(self, context: Context) -> Any:
        """Render the templates and notify."""
        from orchestrator.sdk.templates import render_notifier  # noqa: PLC0415 - only when it runs

        rendered = render_notifier(copy.copy(self), context)
        if type(self).async_notify is not BaseNotifier.async_notify:
            return rendered.async_notify(context)
        return rendered.notify(context)
