"""How a task says how its try ends when it does not end by returning.

TaskException                any failure a task raises on purpose; the next try may do better
├── SkipException            the task instance is skipped
├── FailException            it fails now, whatever retries are left
├── SensorTimeoutError       a sensor's timeout is over: it fails, and waits no second time
├── RescheduleException      the try gives its worker back and goes on at a given instant
├── NotFoundException        something that the task asks for by name does not exist
└── XComNotFound             an upstream task never pushed the key that an argument asks for
TemplateError                a template cannot be rendered
TaskTimeoutError             raised by the worker in a task that ran too long; no `Exception`, so
                             that a task's own `except Exception` does not swallow it
"""

from datetime import datetime

from orchestrator.errors import AuthorError

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "FailException",
    "NotFoundException",
    "RescheduleException",
    "SensorTimeoutError",
    "SkipException",
    "TaskException",
    "TaskTimeoutError",
    "TemplateError",
    "XComNotFound",
]


class TaskException(Exception):  # noqa: N818 - authors know it as AirflowException
    """A task failed, and says so; another try may do better."""


class SkipException(TaskException):
    """Raise it to have the task instance skipped."""


class FailException(TaskException):
    """Raise it to fail without another try: nothing would change."""


class SensorTimeoutError(TaskException):
    """What a sensor waits for did not come in time; another try would wait in vain again."""


class RescheduleException(TaskException):
    """Raise it to give the worker back and go on with the same try at `reschedule_date`."""

    def __init__(self, reschedule_date: object) -> None:
        if not isinstance(reschedule_date, datetime) or reschedule_date.utcoffset() is None:
            raise TaskException(
                f"reschedule_date is {reschedule_date!r}; it must be a datetime with a time zone"
            )
        super().__init__(f"goes on at {reschedule_date.isoformat(timespec='seconds')}")
        self.reschedule_date = reschedule_date


class NotFoundException(TaskException):
    """Something that a task asks for by name does not exist."""


class XComNotFound(TaskException):
    """An upstream task instance pushed no XCom under the key that an argument asks for."""


class TemplateError(AuthorError):
    """A template has a syntax error, or names what is not there."""


class TaskTimeoutError(BaseException):
    """The task ran longer than its execution_timeout."""


# The names that authors arrive with.
AirflowException = TaskException
AirflowSkipException = SkipException
AirflowFailException = FailException
AirflowSensorTimeout = SensorTimeoutError
AirflowRescheduleException = RescheduleException
AirflowNotFoundException = NotFoundException
AirflowTaskTimeout = TaskTimeoutError
