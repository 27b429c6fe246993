"""Why has this callback not been delivered?"""

from orchestrator.core.callback_views import CallbackView
from orchestrator.core.callbacks import ATTEMPTS_MAX, CallbackState


def explain_callback(seen: CallbackView) -> str:
    """Return a sentence about a callback that is owed, or was given up."""
    name = f"Its {seen.kind} callback"
    if seen.state is CallbackState.FAILED:
        return f"{name} was given up after {seen.attempts} attempts: {seen.error}."
    if not seen.attempts:
        return f"{name} is on its way to a worker of queue {seen.queue!r}."
    failed = f"; the last attempt failed: {seen.error}" if seen.error else ""
    return f"{name} was begun {seen.attempts} of {ATTEMPTS_MAX} times{failed}."
