"""What stands, at authoring time, for a value that only a run has: a task's output, a DAG param."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from orchestrator.core.ids import RETURN_VALUE
from orchestrator.core.specs import ConcatLength, MapInput, ReturnLength, ZipLength
from orchestrator.sdk.callsite import invalid
from orchestrator.sdk.edges import Linkable, Node, Uncalled
from orchestrator.sdk.exceptions import TaskException, XComNotFound
from orchestrator.sdk.sequences import LiteralSequence, MapSource, Movable, Move, elements_of

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context, TaskInstance
    from orchestrator.sdk.operators import BaseOperator

__all__ = ["DagParam", "Output", "Reference", "XComArg", "moved", "references_in"]

MISSING = object()
"""What a pull answers when nothing was pushed; no task can push it."""
_NOT_GIVEN = object()


class Reference(Movable):
    """A value to come."""

    @abstractmethod
    def resolve(self, context: Context) -> Any:
        """Return the value within one try."""

    def upstream_tasks(self) -> tuple[BaseOperator, ...]:
        """Return the tasks that must have run before it can be resolved."""
        return ()

    def moved(self, move: Move) -> Reference:  # noqa: ARG002 - for those that name tasks
        return self


class Output(Reference, Linkable, MapSource):
    """The output of a task, or what `.map`, `.zip` and `.concat` make of outputs. As an argument of
    another task it makes that task wait; tasks and groups can be expanded over it."""

    def linked_nodes(self) -> tuple[Node, ...]:
        return self.upstream_tasks()

    def __iter__(self) -> Iterator[Any]:
        raise invalid(
            repr(self),
            "the output is not known before the run, so it cannot be iterated or unpacked here; "
            "do that inside a task, or have a task expanded over it",
        )

    def map(self, function: Callable[[Any], Any]) -> MapXComArg:
        """Have `function` applied to each element right where it is used. An AirflowSkipException
        from it skips the map index of that element."""
        return MapXComArg(self, function)

    def zip(self, *others: Any, fillvalue: Any = _NOT_GIVEN) -> ZipXComArg:
        """Join element with element into tuples: as many as the shortest has, or with a
        `fillvalue`, which stands for what is missing, as many as the longest."""
        return ZipXComArg((self, *_sources("zip", others)), fillvalue)

    def concat(self, *others: Any) -> ConcatXComArg:
        """Put the elements of others after its own."""
        return ConcatXComArg((self, *_sources("concat", others)))

    def references(self) -> Iterator[Reference]:
        yield self


class XComArg(Output):
    """The output of a task: what it returned, or with `output["key"]` what it pushed under a key.

    As an argument of another task it makes that task wait and becomes the value at run time: of a
    mapped task the list of what its instances returned, within one mapped group the value of the
    same index. As text it is the template that pulls the value, for use within a larger template.
    """

    def __init__(self, operator: BaseOperator, key: str = RETURN_VALUE) -> None:
        self.operator = operator
        self.key = key

    def __repr__(self) -> str:
        return f"XComArg({self.operator.task_id!r}, key={self.key!r})"

    def __str__(self) -> str:
        key = "" if self.key == RETURN_VALUE else f", key={self.key!r}"
        return f"{{{{ ti.xcom_pull(task_ids={self.operator.task_id!r}{key}) }}}}"

    def __getitem__(self, key: str) -> XComArg:
        if not isinstance(key, str):
            raise invalid(
                repr(self),
                f"output[{key!r}]: the output is not known before the run; a text names one of "
                "the XComs the task pushes, anything else must be taken apart inside a task",
            )
        return XComArg(self.operator, key)

    def upstream_tasks(self) -> tuple[BaseOperator, ...]:
        return (self.operator,)

    def as_setup(self) -> Self:
        """Say that the task is a setup."""
        self.operator.as_setup()
        return self

    def as_teardown(
        self, *, setups: Any = None, on_failure_fail_dagrun: bool | None = None
    ) -> Self:
        """Say that the task is a teardown, as on the task itself."""
        self.operator.as_teardown(setups=setups, on_failure_fail_dagrun=on_failure_fail_dagrun)
        return self

    def add_task(self, task: Any) -> None:
        """Count a task to the open `with` block of this setup or teardown."""
        self.operator.add_task(task)

    def __enter__(self) -> Self:
        self.operator.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.operator.__exit__(kind, error, traceback)

    def resolve(self, context: Context) -> Any:
        """Return the pushed value, or of a mapped task the list of them. A task that returned
        nothing gives None; a key that was never pushed raises XComNotFound."""
        ti: TaskInstance = context["ti"]
        task_id = self.operator.task_id
        meant = ti.position.instances_of(self.operator)
        if isinstance(meant, range):
            if self.key == RETURN_VALUE:
                return ti.xcoms.results(task_id, meant)
            return ti.xcoms.pushed_in(task_id, meant, self.key)
        value = ti.xcom_pull(task_ids=task_id, key=self.key, map_indexes=meant, default=MISSING)
        if value is not MISSING:
            return value
        if self.key == RETURN_VALUE:
            return None
        raise XComNotFound(
            f"task {task_id!r} pushed no XCom {self.key!r}; to take a returned dict apart, set "
            "multiple_outputs=True on it or annotate its return type as dict"
        )

    def moved(self, move: Move) -> XComArg:
        return XComArg(move(self.operator), self.key)

    def map_input(self) -> MapInput:
        return ReturnLength(task_id=self.operator.task_id)

    def why_not_mappable(self) -> str | None:
        if self.key != RETURN_VALUE:
            return (
                f"{self!r} is an XCom of another key than {RETURN_VALUE!r}; only what a task "
                "returns can be expanded over, so have a task return it"
            )
        if not self.operator.do_xcom_push or not self.operator.needs_worker:
            return f"task {self.operator.task_id!r} pushes nothing that could be expanded over"
        return None

    def length(self, context: Context) -> int:
        ti: TaskInstance = context["ti"]
        meant = ti.position.instances_of(self.operator)
        if isinstance(meant, range):
            return len(ti.xcoms.succeeded(self.operator.task_id, meant))
        return len(elements_of(self.resolve(context), f"what {self.operator.task_id!r} returned"))

    def item(self, position: int, context: Context) -> Any:
        ti: TaskInstance = context["ti"]
        task_id, meant = self.operator.task_id, ti.position.instances_of(self.operator)
        if not isinstance(meant, range):
            return ti.xcom_item(task_id, position, map_index=meant)
        found = ti.xcoms.succeeded(task_id, meant, position=position)
        if not found:
            raise TaskException(
                f"fewer than {position + 1} instances of {task_id!r} succeeded; the input was "
                "shorter when this task instance began than when it was made"
            )
        return ti.xcom_pull(task_ids=task_id, map_indexes=found[0])


class _Composed(Output):
    """Made of other sources."""

    sources: tuple[MapSource, ...]

    def upstream_tasks(self) -> tuple[BaseOperator, ...]:
        references = (each for source in self.sources for each in source.references())
        return tuple(dict.fromkeys(task for each in references for task in each.upstream_tasks()))

    def resolve(self, context: Context) -> list[Any]:
        """Return the whole list."""
        return [self.item(position, context) for position in range(self.length(context))]

    def moved(self, move: Move) -> Self:
        copied = copy.copy(self)
        copied.sources = tuple(moved(source, move) for source in self.sources)
        return copied

    def why_not_mappable(self) -> str | None:
        return next((why for each in self.sources if (why := each.why_not_mappable())), None)


class MapXComArg(_Composed):
    """What `.map(function)` makes."""

    def __init__(self, source: MapSource, function: Any) -> None:
        if not callable(function) or isinstance(function, Uncalled):
            raise invalid(
                f"{source!r}.map", f"{function!r} is no plain function; .map runs it in the task"
            )
        self.sources = (source,)
        self.function = function

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return f"{self.sources[0]!r}.map({name})"

    def map_input(self) -> MapInput:
        return self.sources[0].map_input()

    def length(self, context: Context) -> int:
        return self.sources[0].length(context)

    def item(self, position: int, context: Context) -> Any:
        return self.function(self.sources[0].item(position, context))


class ZipXComArg(_Composed):
    """What `.zip(others)` makes."""

    def __init__(self, sources: tuple[MapSource, ...], fillvalue: Any) -> None:
        self.sources = sources
        self.fillvalue = fillvalue

    def __repr__(self) -> str:
        return f"{self.sources[0]!r}.zip({', '.join(map(repr, self.sources[1:]))})"

    def map_input(self) -> MapInput:
        inputs = tuple(source.map_input() for source in self.sources)
        return ZipLength(inputs=inputs, longest=self.fillvalue is not _NOT_GIVEN)

    def length(self, context: Context) -> int:
        lengths = [source.length(context) for source in self.sources]
        return min(lengths) if self.fillvalue is _NOT_GIVEN else max(lengths)

    def item(self, position: int, context: Context) -> tuple[Any, ...]:
        if self.fillvalue is _NOT_GIVEN:
            return tuple(source.item(position, context) for source in self.sources)
        return tuple(
            source.item(position, context) if position < source.length(context) else self.fillvalue
            for source in self.sources
        )


class ConcatXComArg(_Composed):
    """What `.concat(others)` makes."""

    def __init__(self, sources: tuple[MapSource, ...]) -> None:
        self.sources = sources

    def __repr__(self) -> str:
        return f"{self.sources[0]!r}.concat({', '.join(map(repr, self.sources[1:]))})"

    def map_input(self) -> MapInput:
        return ConcatLength(inputs=tuple(source.map_input() for source in self.sources))

    def length(self, context: Context) -> int:
        return sum(source.length(context) for source in self.sources)

    def item(self, position: int, context: Context) -> Any:
        *first, last = self.sources
        for source in first:
            length = source.length(context)
            if position < length:
                return source.item(position, context)
            position -= length
        return last.item(position, context)


class DagParam(Reference):
    """A param of the DAG: its value in the run."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"DagParam({self.name!r})"

    def __str__(self) -> str:
        return f"{{{{ params[{self.name!r}] }}}}"

    def resolve(self, context: Context) -> Any:
        """Return the run's value of the param."""
        return context["params"][self.name]


def references_in(value: Any) -> Iterator[Reference]:
    """Find the references in an argument, through lists, tuples, sets and dict values."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from references_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from references_in(each)


def moved(value: Any, move: Move) -> Any:
    """Return an argument in which `move` has put other tasks and groups in place of those it names;
    one that names none is returned as it is."""
    if isinstance(value, Movable):
        return value.moved(move)
    if next(references_in(value), None) is None:
        return value
    if isinstance(value, Mapping):
        return {key: moved(each, move) for key, each in value.items()}
    return type(value)(moved(each, move) for each in value)


def _sources(method: str, others: tuple[Any, ...]) -> Iterator[MapSource]:
    for other in others:
        if isinstance(other, MapSource):
            yield other
        elif isinstance(other, list | tuple | Mapping):
            yield LiteralSequence(other, tuple(references_in(other)))
        else:
            raise invalid(
                f".{method}", f"{other!r} is no task's output and no list; only such can be joined"
            )
