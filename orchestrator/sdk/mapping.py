"""What is a task or group expanded over, and which arguments does map index i get?"""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from orchestrator.core.specs import MapInput
from orchestrator.errors import did_you_mean
from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.callsite import invalid
from orchestrator.sdk.edges import Node, Uncalled
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.references import Reference, moved, references_in
from orchestrator.sdk.sequences import LiteralSequence, MapSource, Movable, Move

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context
    from orchestrator.sdk.groups import TaskGroup
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["DictsInput", "ExpandInput", "ListsInput", "MappedArgument"]

_VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


class Arguments(NamedTuple):
    """The arguments of one map index. Those named in `pulled` came out of a run: a template in
    them is not rendered."""

    values: dict[str, Any]
    pulled: frozenset[str]


class ExpandInput(Movable):
    """What stands in `.expand(...)` or `.expand_kwargs(...)`."""

    sources: tuple[MapSource, ...]
    """In the order they were written; the last varies fastest."""
    authored: Mapping[str, Any]
    """The arguments as written, as far as their names are known."""

    @abstractmethod
    def resolve(self, index: int, context: Context) -> Arguments:
        """Return the arguments of one index of the expansion."""

    @abstractmethod
    def check_names(self, check: Callable[[Collection[str]], None]) -> None:
        """Have each set of argument names checked that is known before the run."""

    def inputs(self) -> tuple[MapInput, ...]:
        """Return what the scheduler must know to tell how many indexes there are."""
        return tuple(source.map_input() for source in self.sources)

    def moved(self, move: Move) -> Self:
        copied = copy.copy(self)
        copied.sources = tuple(moved(source, move) for source in self.sources)
        copied.authored = moved(self.authored, move)
        return copied

    def references(self) -> Iterator[Reference]:
        """Return the values to come among them."""
        for source in self.sources:
            yield from source.references()

    def upstream_tasks(self) -> tuple[BaseOperator, ...]:
        """Return the tasks whose output is expanded over."""
        found = (task for each in self.references() for task in each.upstream_tasks())
        return tuple(dict.fromkeys(found))


class ListsInput(ExpandInput):
    """`.expand(x=[...], y=[...])`: each element of one with each of the others."""

    def __init__(self, lists: Mapping[str, Any], subject: Subject) -> None:
        if not lists:
            raise subject.error("expand() names no argument; write expand(argument=[...])")
        self.authored = dict(lists)
        self._names = tuple(lists)
        self.sources = tuple(_source(name, value, subject) for name, value in lists.items())

    def __repr__(self) -> str:
        return f"expand({', '.join(self._names)})"

    def check_names(self, check: Callable[[Collection[str]], None]) -> None:
        check(self._names)

    def resolve(self, index: int, context: Context) -> Arguments:
        values: dict[str, Any] = {}
        pulled: set[str] = set()
        for name, source in reversed(list(zip(self._names, self.sources, strict=True))):
            position = index
            if source is not self.sources[0]:
                index, position = divmod(index, max(1, source.length(context)))
            values[name] = source.item(position, context)
            if not (isinstance(source, LiteralSequence) and source.is_written(position)):
                pulled.add(name)
        return Arguments({name: values[name] for name in self._names}, frozenset(pulled))


class DictsInput(ExpandInput):
    """`.expand_kwargs([{...}, {...}])`: one dict of arguments for each index."""

    def __init__(self, dicts: Any, subject: Subject) -> None:
        source = _source("expand_kwargs", dicts, subject)
        self.authored = {}
        self._key_sets: set[frozenset[str]] = set()
        if isinstance(source, LiteralSequence):
            if isinstance(dicts, Mapping):
                raise subject.error(
                    "expand_kwargs is given one dict; it takes a list of dicts, one for each index"
                )
            self._read(dicts, subject)
        self.sources = (source,)

    def __repr__(self) -> str:
        return "expand_kwargs"

    def _read(self, dicts: Sequence[Any], subject: Subject) -> None:
        columns: dict[str, list[Any]] = {}
        for position, each in enumerate(dicts):
            if isinstance(each, Reference):
                continue
            if not isinstance(each, Mapping) or not all(isinstance(key, str) for key in each):
                raise subject.error(
                    f"number {position} of expand_kwargs is {each!r}; it must be a dict of "
                    "argument names"
                )
            self._key_sets.add(frozenset(each))
            for name, value in each.items():
                columns.setdefault(name, []).append(value)
        self.authored = columns

    def check_names(self, check: Callable[[Collection[str]], None]) -> None:
        for names in sorted(self._key_sets, key=sorted):
            check(names)

    def resolve(self, index: int, context: Context) -> Arguments:
        (source,) = self.sources
        found = source.item(index, context)
        if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
            raise TaskException(
                f"number {index} of expand_kwargs is {found!r}; it must be a dict of argument names"
            )
        is_written = isinstance(source, LiteralSequence) and source.is_written(index)
        return Arguments(dict(found), frozenset() if is_written else frozenset(found))


class MappedArgument(Reference):
    """An argument of a mapped group's function: what the group's index gives it."""

    def __init__(self, group: TaskGroup, name: str, default: Any = inspect.Parameter.empty) -> None:
        self._group = group
        self._name = name
        self._default = default

    def __repr__(self) -> str:
        return f"MappedArgument({self._group.group_id!r}, {self._name!r})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        raise invalid(
            repr(self),
            f"{self._name!r} differs from index to index, so it cannot be put into a text here; "
            "pass it to a task as an argument",
        )

    def _refuse(self, *_others: Any) -> NoReturn:
        raise invalid(
            repr(self),
            f"{self._name!r} differs from index to index and is not known here; pass it to a task "
            "as an argument and take it apart there",
        )

    __iter__ = __getitem__ = __len__ = __bool__ = __add__ = __radd__ = _refuse

    def upstream_tasks(self) -> tuple[BaseOperator, ...]:
        return self._expand_input().upstream_tasks()

    def moved(self, move: Move) -> MappedArgument:
        return MappedArgument(move(self._group), self._name, self._default)

    def resolve(self, context: Context) -> Any:
        """Return the value of the index that the try belongs to."""
        index = context["ti"].position.index_in(self._group)
        values = self._expand_input().resolve(index, context).values
        if self._name in values:
            return values[self._name]
        if self._default is not inspect.Parameter.empty:
            return self._default
        raise TaskException(
            f"number {index} of what task group {self._group.group_id!r} is expanded over has no "
            f"{self._name!r}{did_you_mean(self._name, values)}"
        )

    def _expand_input(self) -> ExpandInput:
        assert self._group.expand_input is not None, "only a mapped group has mapped arguments"
        return self._group.expand_input


def mapped_group_arguments(
    function: Callable[..., Any],
    partial: Mapping[str, Any],
    expand_input: ExpandInput,
    group: TaskGroup,
) -> dict[str, Any]:
    """Return what the function of a mapped group is called with: values given once for all, and
    what stands for those that differ from index to index."""
    parameters = inspect.signature(function).parameters
    subject = group.subject
    complete = {name for name, each in parameters.items() if each.default is not each.empty}

    def check(names: Collection[str]) -> None:
        check_function_names(function, names, subject)
        refuse_doubles(names, partial, subject)
        for name, each in parameters.items():
            if name not in {*names, *partial, *complete} and each.kind not in _VARIADIC:
                raise subject.error(
                    f"missing argument {name!r} of {function.__name__}(): give it in partial() or "
                    "expand over it"
                )

    expand_input.check_names(check)
    wanted = set(expand_input.authored)
    if isinstance(expand_input, DictsInput):
        # Which names the dicts have may be known in the run only: any that is not given already.
        wanted |= {name for name, each in parameters.items() if each.kind not in _VARIADIC}
    return {
        **partial,
        **{
            name: MappedArgument(group, name, parameters[name].default)
            if name in parameters
            else MappedArgument(group, name)
            for name in sorted(wanted - partial.keys())
        },
    }


def refuse_doubles(names: Iterable[str], given: Collection[str], subject: Subject) -> None:
    """Refuse an argument that is both expanded over and given once for all."""
    for name in names:
        if name in given:
            raise subject.error(
                f"argument {name!r} is given twice: in partial() and here; keep one"
            )


def check_function_names(
    function: Callable[..., Any], names: Iterable[str], subject: Subject
) -> None:
    """Refuse names that a function has no argument for."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return
    for name in names:
        if name not in parameters or parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY:
            raise subject.error(
                f"unknown argument {name!r} of {function.__name__}()"
                f"{did_you_mean(name, parameters)}"
            )


def _source(name: str, value: Any, subject: Subject) -> MapSource:
    if isinstance(value, MapSource):
        why = value.why_not_mappable()
        if why is not None:
            raise subject.error(f"{name}: {why}")
        return value
    if isinstance(value, MappedArgument):
        raise subject.error(
            f"{name} is expanded over {value!r}, an argument of the mapped group around it; have a "
            "task in the group return it, and expand over that task's output"
        )
    if isinstance(value, Reference):
        raise subject.error(
            f"{name} is expanded over {value!r}; have a task return it, and expand over its output"
        )
    if isinstance(value, Uncalled):
        raise value.uncalled()
    if isinstance(value, Node):
        raise subject.error(
            f"{name} is expanded over {value!r} itself; expand over its output: "
            f"{value.node_id}.output"
        )
    if isinstance(value, Mapping) or (
        isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
    ):
        return LiteralSequence(value, tuple(references_in(value)))
    cure = "a list of it" if isinstance(value, str | bytes) else "list(...) of it"
    raise subject.error(
        f"{name} is expanded over {value!r}, of type {type(value).__name__}; it must be a list, a "
        f"dict or a task's output: write {cure}"
    )
