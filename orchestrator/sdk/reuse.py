"""Which earlier result, if any, does this try take instead of running?"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.core.ids import RETURN_VALUE
from orchestrator.core.results import CachedResult
from orchestrator.sdk.caching import Cache
from orchestrator.sdk.serialization import UnstorableError, encode
from orchestrator.sdk.services import current_services

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context, TaskInstance
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["ResultLookup"]

CACHED_BYTES_MAX = 16 * 1024 * 1024
"""Of all XComs of a result together, as JSON; a larger one is computed anew."""

_INPUTS = (
    *("conf", "data_interval_end", "data_interval_start", "ds", "ds_nodash", "logical_date"),
    *("map_index", "params", "run_id", "templates_dict", "ts", "ts_nodash", "ts_nodash_with_tz"),
)
"""Entries of the context that are arguments where a function names them."""
_GIVEN_WITH_KWARGS = ("conf", "data_interval_end", "data_interval_start", "logical_date", "params")
"""Those that count for a function that takes `**kwargs`: it sees them all, and most use none."""

_log = logging.getLogger("orchestrator.task")


class ResultLookup:
    """One try's use of the cache: what it found before running, what it keeps afterwards."""

    def __init__(
        self, task: BaseOperator, cache: Cache, context: Context, ti: TaskInstance
    ) -> None:
        self._ti, self._results, self._cache = ti, current_services().results, cache
        self._key = _key_of(task, cache, context)
        self.reason: str | None = None
        """Why the task did not run, if it did not."""

    def find(self) -> bool:
        """Look for a result; if there is one, what it pushed is pushed again."""
        found = None if self._key is None else self._results.find(self._key)
        if found is None:
            return False
        source = found.source
        self.reason = f"result taken from the cache of run {source.run_id}, try {found.try_number}"
        _log.info("%s (%s)", self.reason, source)
        self._ti.xcoms.pushed.update(found.xcoms)
        return True

    def result(self) -> Any:
        """Return what the task returned, then."""
        stored = self._ti.pushed.get(RETURN_VALUE)
        return self._ti.xcoms.restored(stored)

    def keep(self) -> None:
        """Keep what this try has pushed, unless it was found."""
        if self._key is None or self.reason is not None:
            return
        size = len(msgspec.json.encode(self._ti.pushed))
        if size > CACHED_BYTES_MAX:
            _log.warning(
                "the result takes %s bytes and is not cached; at most %s are",
                *(f"{each:,}" for each in (size, CACHED_BYTES_MAX)),
            )
            return
        result = CachedResult(
            xcoms=dict(self._ti.pushed), source=self._ti.key, try_number=self._ti.try_number
        )
        self._results.keep(self._key, result, ttl_s=self._cache.ttl.total_seconds())


def _key_of(task: BaseOperator, cache: Cache, context: Context) -> str | None:
    inputs = _inputs(task, context) if cache.key is None else cache.key(context)
    try:
        stored = encode(inputs, name=f"an argument of task {task.task_id!r}", root="arguments")
    except UnstorableError as error:
        _log.warning("the result is neither cached nor taken from the cache: %s", error)
        return None
    digest = hashlib.sha256()
    named = (context["dag"].dag_id, task.task_id, cache.version, stored)
    digest.update(msgspec.json.encode(named, order="deterministic"))
    for piece in _code_of(task):
        digest.update(piece.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _inputs(task: BaseOperator, context: Context) -> dict[str, Any]:
    found = {name: getattr(task, name, None) for name in task.template_fields}
    function = getattr(task, "python_callable", None)
    if function is None:
        return {"fields": found}
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins do not say what they take
        return {"fields": found}
    asked = {name for name in _INPUTS if name in parameters}
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        asked |= set(_GIVEN_WITH_KWARGS)
    given = {name: context[name] for name in sorted(asked) if name in context}
    return {"fields": found, "context": given}


def _code_of(task: BaseOperator) -> Iterator[str]:
    """The code that runs, as text that is the same in every process."""
    function = getattr(task, "python_callable", None)
    if function is None:
        function = type(task).execute
    function = inspect.unwrap(function)
    if isinstance(function, FunctionType):
        yield from _function_text(function, set())
    else:
        yield f"{type(function).__module__}.{type(function).__qualname__}"


def _function_text(function: FunctionType, seen: set[FunctionType]) -> Iterator[str]:
    if function in seen:
        return
    seen.add(function)
    yield function.__qualname__
    yield from _value_text(function.__defaults__, seen, function)
    yield from _value_text(function.__kwdefaults__, seen, function)
    for cell in function.__closure__ or ():
        yield from _value_text(cell.cell_contents, seen, function)
    for code in _codes_within(function.__code__):
        yield code.co_code.hex()
        yield repr((code.co_varnames, code.co_names, code.co_freevars))
        for constant in code.co_consts:
            if not isinstance(constant, CodeType):
                yield _constant_text(constant)
        for name in code.co_names:
            if name in function.__globals__:
                yield name
                yield from _value_text(function.__globals__[name], seen, function)


def _codes_within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes_within(constant)


def _constant_text(constant: object) -> str:
    """Sets have no order of their own."""
    if isinstance(constant, frozenset):
        return f"frozenset({sorted(map(_constant_text, constant))})"
    return repr(constant)


def _value_text(value: object, seen: set[FunctionType], within: FunctionType) -> Iterator[str]:
    """A value the code uses: a function of the same file by its code, what can be stored by its
    value, anything else by what it is called."""
    if isinstance(value, FunctionType) and value.__module__ == within.__module__:
        yield from _function_text(value, seen)
    elif isinstance(value, type | FunctionType):
        yield f"{value.__module__}.{value.__qualname__}"
    else:
        try:
            stored = encode(value, name="", root="")
        except UnstorableError:
            yield f"{type(value).__module__}.{type(value).__qualname__}"
        else:
            yield msgspec.json.encode(stored, order="deterministic").hex()
