"""A task that becomes one task instance for each element of what it is expanded over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.mapping import (
    DictsInput,
    ExpandInput,
    ListsInput,
    check_function_names,
    refuse_doubles,
)
from orchestrator.sdk.operators import (
    BaseOperator,
    default_arguments,
    home_of,
    make_operator,
    subject_of,
)
from orchestrator.sdk.references import Reference, references_in
from orchestrator.sdk.signatures import accepted_arguments, missing_arguments
from orchestrator.sdk.unavailable import Airflows

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context
    from orchestrator.sdk.dag import DAG

__all__ = ["MappedOperator", "OperatorPartial", "Promise"]


class MappedOperator(BaseOperator):
    """A mapped task: the arguments that all its instances share, and what it is expanded over. The
    operator itself is made when an instance runs, with the instance's own arguments."""

    expand_input: ExpandInput

    def __init__(
        self,
        *,
        operator_class: type[BaseOperator],
        shared: Mapping[str, Any],
        expand_input: ExpandInput,
        function_arguments: Mapping[str, Any] | None = None,
        strict: bool = True,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._arguments = arguments
        self._shared = dict(shared)
        self._function_arguments = function_arguments
        """With them, what is expanded over are arguments of the task's function."""
        self._strict = strict
        self.operator_class = operator_class
        self.expand_input = expand_input
        self.template_fields = operator_class.template_fields
        self.template_ext = operator_class.template_ext
        self._show_fields()

    def _show_fields(self) -> None:
        """Hold the templated arguments as written: for the syntax check, and for people."""
        shown = {**self._shared, **self.expand_input.authored}
        if self._function_arguments is not None:
            own = {**self._function_arguments, **self.expand_input.authored}
            shown = {**self._shared, "op_args": (), "op_kwargs": own}
        for name in self.template_fields:
            setattr(self, name, shown.get(name))

    @property
    def operator_name(self) -> str:
        return self._blank.operator_name

    @property
    def needs_worker(self) -> bool:
        return self._blank.needs_worker

    @property
    def chooses(self) -> bool:
        return self._blank.chooses

    @property
    def _blank(self) -> BaseOperator:
        """An operator of the class with the arguments that every operator has: what it says of
        itself holds for all instances."""
        blank = object.__new__(self.operator_class)
        vars(blank).update(vars(self))
        return blank

    def shared_references(self) -> Sequence[Reference]:
        return [*references_in(self._shared), *references_in(self._function_arguments or {})]

    def unmap(self, index: int, context: Context) -> tuple[BaseOperator, frozenset[int]]:
        """Return the operator of one index, and the identities of the values in it that came out
        of the run: templates in those are not rendered."""
        values, pulled = self.expand_input.resolve(index, context)
        given = self._shared if self._function_arguments is None else self._function_arguments
        doubles = sorted(values.keys() & given.keys())
        if doubles and self._strict:
            raise TaskException(f"argument {doubles[0]!r} is given in partial() and expanded over")
        arguments = {**self._arguments, **self._shared}
        if self._function_arguments is None:
            _refuse_shared_names(values, self.subject)
            arguments |= values
        else:
            arguments |= {"op_args": (), "op_kwargs": {**given, **values}}
        made = make_operator(
            self.operator_class, arguments, site=self.site, dag=self.dag, group=self.task_group
        )
        made.task_id, made.label = self.task_id, self.label
        return made, frozenset(id(values[name]) for name in pulled)


class Promise:
    """That what a `.partial(...)` in a DAG returned will be expanded."""

    def __init__(self, subject: Subject, dag: DAG | None) -> None:
        self._subject = subject
        self.is_kept = False
        if dag is not None:
            dag.promises.append(self)

    def check(self) -> None:
        """Refuse one that was forgotten: there would be no task, and nobody would be told."""
        if not self.is_kept:
            self.refuse()

    def refuse(self) -> NoReturn:
        """Say what is missing."""
        raise self._subject.error(
            "partial() alone makes no task; write .partial(...).expand(argument=[...])"
        )


class OperatorPartial(Airflows):
    """What `Operator.partial(...)` returns: `.expand(...)` or `.expand_kwargs(...)` makes the
    task."""

    def __init__(self, operator_class: type[BaseOperator], arguments: Mapping[str, Any]) -> None:
        self._class = operator_class
        self._arguments = dict(arguments)
        self._subject = subject_of(arguments)
        self._promise = Promise(self._subject, home_of(arguments))
        known = accepted_arguments(operator_class)
        for name, value in arguments.items():
            if name not in known:
                error = self._subject.unknown(name, value, known)
                if error is not None:
                    raise error

    def __repr__(self) -> str:
        return f"<{self._class.__name__}.partial: {self._arguments.get('task_id')}>"

    def expand(self, **mapped: Any) -> MappedOperator:
        """Make the task, with one instance for each combination of the lists' elements; the last
        argument varies fastest."""
        return self._make(ListsInput(mapped, self._subject), strict=True)

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        """Make the task, with one instance for each dict of arguments. With `strict=False` such an
        argument may stand in partial() too and replaces it."""
        return self._make(DictsInput(kwargs, self._subject), strict=strict)

    def _make(self, expand_input: ExpandInput, *, strict: bool) -> MappedOperator:
        own = accepted_arguments(self._class) - accepted_arguments(BaseOperator)
        shared = {name: value for name, value in self._arguments.items() if name in own}

        def check(names: Collection[str]) -> None:
            _refuse_shared_names(names, self._subject)
            if strict:
                refuse_doubles(names, self._arguments, self._subject)
            for name in names:
                error = None
                if name not in own:
                    error = self._subject.unknown(name, ..., own)
                if error is not None:
                    raise error
            missing = missing_arguments(self._class, {*self._arguments, *defaults, *names})
            if missing:
                raise self._subject.error(
                    f"missing argument {missing[0]!r} of {self._class.__name__}: give it in "
                    "partial() or expand over it"
                )

        defaults = {
            name: value
            for name, value in default_arguments(self._arguments).items()
            if name in own and name not in expand_input.authored
        }
        expand_input.check_names(check)
        self._promise.is_kept = True
        return MappedOperator(
            operator_class=self._class,
            shared={**defaults, **shared},
            expand_input=expand_input,
            strict=strict,
            **{name: value for name, value in self._arguments.items() if name not in own},
        )

    def _refuse(self, *_others: Any) -> NoReturn:
        self._promise.refuse()

    __rshift__ = __lshift__ = __rrshift__ = __rlshift__ = _refuse


def mapped_function_task(
    operator_class: type[BaseOperator],
    arguments: Mapping[str, Any],
    *,
    partial: Mapping[str, Any],
    expand_input: ExpandInput,
    strict: bool,
    subject: Subject,
) -> MappedOperator:
    """Make a mapped task of a task function. `arguments` are the operator's, its function among
    them; `partial` are the function's own."""
    from orchestrator.sdk.python import check_call  # noqa: PLC0415 - it needs this module's kin

    function = arguments["python_callable"]
    check_function_names(function, partial, subject)

    def check(names: Collection[str]) -> None:
        check_function_names(function, names, subject)
        if strict:
            refuse_doubles(names, partial, subject)
        check_call(function, (), {**partial, **dict.fromkeys(names)}, subject)

    expand_input.check_names(check)
    base = accepted_arguments(BaseOperator)
    return MappedOperator(
        operator_class=operator_class,
        shared={
            **{
                name: value
                for name, value in default_arguments(arguments).items()
                if name in accepted_arguments(operator_class) - base and name not in arguments
            },
            **{name: value for name, value in arguments.items() if name not in base},
        },
        expand_input=expand_input,
        function_arguments=dict(partial),
        strict=strict,
        **{name: value for name, value in arguments.items() if name in base},
    )


def _refuse_shared_names(names: Collection[str], subject: Subject) -> None:
    shared = accepted_arguments(BaseOperator)
    for name in names:
        if name in shared:
            raise subject.error(
                f"{name} is the same for all instances of a mapped task; give it in partial(), not "
                "in what the task is expanded over"
            )
