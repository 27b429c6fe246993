"""How templates in a task's arguments become values, in a sandbox, each text once.

What is not a template costs nothing: Jinja is imported when the first `{{` or `{%` is met.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import did_you_mean
from orchestrator.sdk.exceptions import TaskException, TemplateError
from orchestrator.sdk.references import Reference

if TYPE_CHECKING:
    from jinja2 import Environment

    from orchestrator.sdk.context import Context
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.notifiers import BaseNotifier
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["literal"]

_MARKERS = ("{{", "{%", "{#")


class Literal:
    """Wraps a text that only looks like a template: it is passed on as it is."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __str__(self) -> str:
        return str(self.value)


def literal(value: Any) -> Any:
    """Keep `value` from being rendered."""
    return Literal(value)


def render(
    task: BaseOperator, context: Context, *, pulled: frozenset[int] = frozenset()
) -> BaseOperator:
    """Return a copy of `task` whose templated fields hold this try's values. The task itself keeps
    its templates for the next try. Values of the identities `pulled` came out of the run: what
    looks like a template in them is none."""
    rendered = copy.copy(task)
    for name in task.template_fields:
        value = getattr(task, name)
        setattr(rendered, name, _Renderer(_origin_of(task), name, context, pulled).value(value))
    return rendered


def render_text(text: str, task: BaseOperator, *, field: str, context: Context) -> Any:
    """Render one template on behalf of a task."""
    return _Renderer(_origin_of(task), field, context).value(text)


def render_notifier(notifier: BaseNotifier, context: Context) -> BaseNotifier:
    """Put a call's values into a notifier's templated attributes."""
    name = f"notifier {type(notifier).__name__}"
    origin = _Origin(name, notifier.template_ext, context["dag"])
    for field in notifier.template_fields:
        value = getattr(notifier, field)
        setattr(notifier, field, _Renderer(origin, field, context).value(value))
    return notifier


def check_syntax(task: BaseOperator) -> None:
    """Refuse templates that Jinja cannot parse, at authoring time."""
    if isinstance(task.template_fields, str):
        raise task.subject.error(
            f"template_fields is the text {task.template_fields!r}; it must be a tuple of names, "
            f"as in ({task.template_fields!r},)"
        )
    for name in task.template_fields:
        if not hasattr(task, name):
            raise task.subject.error(
                f"template_fields names {name!r}, but {task.operator_name} has no such attribute"
                f"{did_you_mean(name, vars(task))}"
            )
    for name in (*task.template_fields, "map_index_template"):
        for text in _texts(getattr(task, name)):
            if is_template(text):
                problem = _syntax_problem(text)
                if problem is not None:
                    raise task.subject.error(f"{name} is no valid template: {problem}")


def is_template(text: str) -> bool:
    """Say whether there is anything to render in a text."""
    return any(marker in text for marker in _MARKERS)


class _Origin(NamedTuple):
    """Whose templates are rendered."""

    name: str
    template_ext: Sequence[str]
    dag: DAG | None


def _origin_of(task: BaseOperator) -> _Origin:
    return _Origin(f"task {task.task_id!r}", task.template_ext, task.authored_in or task.dag)


class _Renderer:
    """Renders the parts of one field."""

    def __init__(
        self,
        origin: _Origin,
        field: str,
        context: Context,
        pulled: frozenset[int] = frozenset(),
    ) -> None:
        self._origin = origin
        self._field = field
        self._context = context
        self._pulled = pulled

    def value(self, value: Any) -> Any:
        if id(value) in self._pulled:
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Reference):
            return value.resolve(self._context)
        if isinstance(value, Literal):
            return value.value
        if type(value) is dict:
            return {key: self.value(each) for key, each in value.items()}
        if type(value) in (list, tuple, set):
            return type(value)(self.value(each) for each in value)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self.value(each) for each in value))
        return value

    def _text(self, text: str) -> Any:
        extensions = tuple(self._origin.template_ext)
        is_file = text.endswith(extensions)
        if not is_file and not is_template(text):
            return text
        from jinja2.exceptions import (  # noqa: PLC0415 - slow to import
            SecurityError,
            TemplateNotFound,
            TemplateSyntaxError,
            UndefinedError,
        )

        assert self._origin.dag is not None, "a task is rendered within its DAG"
        environment = _environment_of(self._origin.dag)
        try:
            template = environment.get_template(text) if is_file else environment.from_string(text)
            return template.render(self._context)
        except TemplateNotFound as error:
            folders = ", ".join(_searchpath(self._origin.dag))
            raise self._error(
                f"there is no template file {error.name!r} in {folders}; a text that ends in "
                f"{'/'.join(extensions)} names a file (end it with a space to prevent that)"
            ) from error
        except UndefinedError as error:
            raise self._error(f"{error.message}{self._suggestion(error.message or '')}") from error
        except TemplateSyntaxError as error:
            raise self._error(f"{error.message} (line {error.lineno})") from error
        except SecurityError as error:
            raise self._error(
                f"{(error.message or '').rstrip('.')}; templates run in a sandbox"
            ) from error
        except (TaskException, TemplateError):
            raise  # a macro's own word on how the try ends
        except Exception as error:
            raise self._error(f"{type(error).__name__}: {error}") from error

    def _error(self, message: str) -> TemplateError:
        return TemplateError(f"{self._origin.name}, template in {self._field}: {message}")

    def _suggestion(self, message: str) -> str:
        quoted = message.split("'")
        if len(quoted) < 2:
            return ""
        return self._context.absence(quoted[1]) or did_you_mean(quoted[1], self._context)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        return [text for each in value for text in _texts(each)]
    return []


@lru_cache(maxsize=1024)
def _syntax_problem(text: str) -> str | None:
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - slow to import

    try:
        _plain_environment().parse(text)
    except TemplateSyntaxError as error:
        return f"{error.message} (line {error.lineno} of the template)"
    return None


@lru_cache(maxsize=1)
def _plain_environment() -> Environment:
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415 - slow to import

    return SandboxedEnvironment(extensions=["jinja2.ext.do"], autoescape=False)


def _environment_of(dag: DAG) -> Environment:
    """The DAG's environment, built at its first template and kept with the DAG."""
    kept: Environment | None = dag.__dict__.get("_jinja_environment")
    if kept is None:
        kept = dag.__dict__["_jinja_environment"] = _build_environment(dag)
    return kept


def _build_environment(dag: DAG) -> Environment:
    from jinja2 import FileSystemLoader, StrictUndefined  # noqa: PLC0415 - slow to import
    from jinja2.nativetypes import NativeEnvironment  # noqa: PLC0415
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415

    class _NativeSandbox(SandboxedEnvironment, NativeEnvironment):
        """Gives Python values instead of text, in the same sandbox."""

    kind = _NativeSandbox if dag.render_template_as_native_obj else SandboxedEnvironment
    environment = kind(
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
        loader=FileSystemLoader(_searchpath(dag)),
        keep_trailing_newline=True,
        autoescape=False,  # commands and queries, not HTML
    )
    environment.filters.update(_FILTERS)
    environment.filters.update(dag.user_defined_filters)
    environment.globals.update(dag.user_defined_macros)
    return environment


def _searchpath(dag: DAG) -> list[str]:
    return [str(Path(dag.fileloc).parent), *dag.template_searchpath]


def _ts_nodash(instant: dt.datetime) -> str:
    return instant.strftime("%Y%m%dT%H%M%S")


_FILTERS: Mapping[str, Callable[[dt.datetime], str]] = MappingProxyType(
    {
        "ds": lambda instant: instant.strftime("%Y-%m-%d"),
        "ds_nodash": lambda instant: instant.strftime("%Y%m%d"),
        "ts": lambda instant: instant.isoformat(),
        "ts_nodash": _ts_nodash,
        "ts_nodash_with_tz": lambda instant: instant.strftime("%Y%m%dT%H%M%S%z"),
    }
)
