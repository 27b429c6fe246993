"""How a task says how its try ends when it does not end by returning.

TaskException                any failure a task raises on purpose; the next try may do better
├── SkipException            the task instance is skipped
├── FailException            it fails now, whatever retries are left
└── XComNotFound             an upstream task never pushed the key that an argument asks for
TemplateError                a template cannot be rendered
TaskTimeoutError             raised by the worker in a task that ran too long; no `Exception`, so
                             that a task's own `except Exception` does not swallow it
"""

from orchestrator.errors import AuthorError

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowSkipException",
    "FailException",
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
