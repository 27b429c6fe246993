"""What every task is: its place in a DAG, and the arguments that all operators share."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from orchestrator.core.specs import (
    DEFAULT_POOL,
    CallbackKind,
    DagSpec,
    ParamSpec,
    TriggerRule,
    WeightRule,
)
from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.caching import Cache, cache_argument
from orchestrator.sdk.callbacks import CallbackArgument, freeze_callbacks
from orchestrator.sdk.callsite import CallSite, author_call
from orchestrator.sdk.limits import freeze_concurrency, freeze_rate_limit
from orchestrator.sdk.params import freeze_params
from orchestrator.sdk.references import XComArg
from orchestrator.sdk.retry_arguments import (
    DEFAULT_RETRY_DELAY,
    backoff_multiplier,
    retry_policy_or_none,
)
from orchestrator.sdk.scope import current_scope, note_homeless
from orchestrator.sdk.setup_blocks import SetupOrTeardown
from orchestrator.sdk.signatures import signature_of
from orchestrator.sdk.unavailable import refuse_attribute

if TYPE_CHECKING:
    import logging

    from orchestrator.sdk.context import Context
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.groups import TaskGroup
    from orchestrator.sdk.mapped_operators import OperatorPartial
    from orchestrator.sdk.mapping import ExpandInput
    from orchestrator.sdk.references import Reference
    from orchestrator.sdk.retry_policies import RetryPolicyArgument

__all__ = ["BaseOperator", "EmptyOperator"]

DEFAULT_OWNER = "orchestrator"
_T = TypeVar("_T", bound="BaseOperator")


class Isolation(StrEnum):
    """In which process a try runs."""

    WORKER = "worker"
    """A child of the worker, which keeps imported DAG files warm for the next try."""
    PROCESS = "process"
    """An interpreter of its own: what it does to its memory ends with it."""


class OperatorMeta(ABCMeta):
    """Makes a task of an operator's call: gives it the default_args in force where it stands,
    checks its arguments before any of its code runs, and puts it into its DAG."""

    def __call__(cls: type[_T], *args: Any, **kwargs: Any) -> _T:  # type: ignore[misc]
        site = author_call()
        dag, group = _home(kwargs)
        subject = Subject(_where(dag, kwargs.get("task_id")), site)
        if args:
            raise subject.error(
                f"{cls.__name__} was given {args[0]!r} by position; name every argument, as in "
                f"{cls.__name__}(task_id=..., ...)"
            )
        signature = signature_of(cls)
        for name, value in _defaults(dag, group).items():
            if name in signature.names:
                kwargs.setdefault(name, value)
        task = make_operator(cls, kwargs, site=site, dag=dag, group=group)
        if dag is not None:
            dag.add_task(task)
        else:
            note_homeless(task)
        return task

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> NoReturn:
            """Say of `BashOperator.partial(...)` what it is that is not there."""
            raise refuse_attribute(name, cls) or AttributeError(
                f"type object {cls.__name__!r} has no attribute {name!r}", name=name, obj=cls
            )


class BaseOperator(SetupOrTeardown, metaclass=OperatorMeta):
    """A task. Subclass it, take your own arguments by name, pass the rest on with
    `super().__init__(**kwargs)`, and do the work in `execute(context)`.

    `template_fields` names the attributes in which templates are rendered and other tasks' outputs
    resolved before `execute`. Durations are timedeltas, or numbers of seconds.
    """

    template_fields: Sequence[str] = ()
    template_ext: Sequence[str] = ()
    """A templated text that ends so names a template file beside the DAG file."""

    site: CallSite
    dag: DAG | None
    task_group: TaskGroup | None
    expand_input: ExpandInput | None = None
    """Of a mapped task: what it is expanded over."""
    id_prefix: str = ""
    """What stands before the ids that its code knows other tasks by: set within a SubDag."""
    authored_in: DAG | None = None
    """The DAG whose macros and template files it uses, where that is not its own."""

    def __init__(
        self,
        *,
        task_id: str = "",
        dag: DAG | None = None,  # noqa: ARG002 - the metaclass has seen to it
        task_group: TaskGroup | None = None,  # noqa: ARG002 - likewise
        owner: str = DEFAULT_OWNER,
        retries: int = 0,
        retry_delay: timedelta | float = DEFAULT_RETRY_DELAY,
        retry_exponential_backoff: bool | float = False,
        max_retry_delay: timedelta | float | None = None,
        retry_policy: RetryPolicyArgument | None = None,
        execution_timeout: timedelta | float | None = None,
        trigger_rule: TriggerRule | str = TriggerRule.ALL_SUCCESS,
        pool: str | None = DEFAULT_POOL,
        pool_slots: int = 1,
        priority_weight: int = 1,
        weight_rule: WeightRule | str = WeightRule.DOWNSTREAM,
        queue: str | None = None,
        max_active_tis_per_dag: int | None = None,
        max_active_tis_per_dagrun: int | None = None,
        concurrency_key: str | None = None,
        concurrency_limit: int = 1,
        rate_limit: str | tuple[int, timedelta] | None = None,
        on_execute_callback: CallbackArgument = None,
        on_success_callback: CallbackArgument = None,
        on_failure_callback: CallbackArgument = None,
        on_retry_callback: CallbackArgument = None,
        on_skipped_callback: CallbackArgument = None,
        pre_execute: Callable[[Context], Any] | None = None,
        post_execute: Callable[[Context, Any], Any] | None = None,
        isolation: str = Isolation.WORKER,
        depends_on_past: bool = False,
        wait_for_downstream: bool = False,
        ignore_first_depends_on_past: bool = False,
        wait_for_past_depends_before_skipping: bool = False,
        map_index_template: str | None = None,
        do_xcom_push: bool = True,
        multiple_outputs: bool = False,
        cache: Cache | timedelta | float | None = None,
        params: Mapping[str, Any] | None = None,
        doc_md: str | None = None,
        task_display_name: str | None = None,
        **unknown: Any,
    ) -> None:
        subject = Subject(_where(self.dag, task_id), self.site)
        for name, value in unknown.items():
            if name in ("start_date", "end_date"):
                raise subject.error(
                    f"{name} belongs to the DAG: all its tasks start with its runs; give it to DAG "
                    "(or to its default_args)"
                )
            error = subject.unknown(name, value, signature_of(type(self)).names)
            if error is not None:
                raise error
        self.label = subject.identifier("task_id", task_id)
        self.task_id = subject.identifier("task_id", _prefixed(self.label, self.task_group))
        self.owner = subject.text("owner", owner)
        self.retries = subject.whole("retries", retries, least=0)
        self.retry_delay = subject.duration("retry_delay", retry_delay, zero=True)
        self.retry_exponential_backoff = backoff_multiplier(retry_exponential_backoff, subject)
        self.max_retry_delay = subject.duration_or_none("max_retry_delay", max_retry_delay)
        self.retry_policy = retry_policy_or_none(retry_policy, subject)
        self.execution_timeout = subject.duration_or_none("execution_timeout", execution_timeout)
        self.trigger_rule = subject.choice("trigger_rule", trigger_rule, TriggerRule)
        self.pool = subject.text("pool", DEFAULT_POOL if pool is None else pool)
        self.pool_slots = subject.whole("pool_slots", pool_slots, least=1)
        self.priority_weight = subject.whole("priority_weight", priority_weight, least=None)
        self.weight_rule = subject.choice("weight_rule", weight_rule, WeightRule)
        self.queue = subject.text_or_none("queue", queue)
        self.max_active_tis_per_dag = subject.whole_or_none(
            "max_active_tis_per_dag", max_active_tis_per_dag, least=1
        )
        self.max_active_tis_per_dagrun = subject.whole_or_none(
            "max_active_tis_per_dagrun", max_active_tis_per_dagrun, least=1
        )
        self.concurrency_key, self.concurrency_limit = freeze_concurrency(
            concurrency_key, concurrency_limit, subject
        )
        self.rate_limit = freeze_rate_limit(rate_limit, subject)
        self.callbacks = freeze_callbacks(
            subject,
            {
                CallbackKind.EXECUTE: on_execute_callback,
                CallbackKind.SUCCESS: on_success_callback,
                CallbackKind.FAILURE: on_failure_callback,
                CallbackKind.RETRY: on_retry_callback,
                CallbackKind.SKIPPED: on_skipped_callback,
            },
        )
        self.pre_execute_hook = subject.function_or_none("pre_execute", pre_execute)
        self.post_execute_hook = subject.function_or_none("post_execute", post_execute)
        self.isolation = subject.choice("isolation", isolation, Isolation)
        self.wait_for_downstream = subject.flag("wait_for_downstream", wait_for_downstream)
        # Waiting for what was downstream of it the last time means waiting for itself as well.
        self.depends_on_past = (
            subject.flag("depends_on_past", depends_on_past) or self.wait_for_downstream
        )
        self.ignore_first_depends_on_past = subject.flag(
            "ignore_first_depends_on_past", ignore_first_depends_on_past
        )
        self.wait_for_past_depends_before_skipping = subject.flag(
            "wait_for_past_depends_before_skipping", wait_for_past_depends_before_skipping
        )
        self.map_index_template = subject.text_or_none("map_index_template", map_index_template)
        self.do_xcom_push = subject.flag("do_xcom_push", do_xcom_push)
        self.multiple_outputs = subject.flag("multiple_outputs", multiple_outputs)
        self.cache: Cache | None = cache_argument(cache, subject)
        self.params: tuple[ParamSpec, ...] = freeze_params(params, subject, is_scheduled=False)
        self.doc_md = subject.prose("doc_md", doc_md)
        self.task_display_name = subject.text_or_none("task_display_name", task_display_name)

    @classmethod
    def partial(cls, **arguments: Any) -> OperatorPartial:
        """Give the arguments that all instances of a mapped task share; `.expand(...)` on what is
        returned makes the task."""
        from orchestrator.sdk.mapped_operators import (  # noqa: PLC0415 - it needs this module
            OperatorPartial,
        )

        return OperatorPartial(cls, arguments)

    def shared_references(self) -> Sequence[Reference]:
        """Return, of a mapped task, the values to come among the arguments all instances share."""
        return ()

    def __repr__(self) -> str:
        return f"<{self.operator_name}: {getattr(self, 'task_id', '?')}>"

    def execute(self, context: Context) -> Any:
        """Do the work; what it returns is pushed as the XCom `return_value`."""
        raise NotImplementedError(f"{type(self).__name__} does not define execute(context)")

    def pre_execute(self, context: Context) -> None:
        """Run right before `execute`, templates rendered."""

    def post_execute(self, context: Context, result: Any = None) -> None:
        """Run right after `execute` returned."""

    def on_kill(self) -> None:
        """Clean up what `execute` started outside its process; called when it is cut short."""

    def skipped_by(
        self,
        result: Any,  # noqa: ARG002 - for those that decide
        dag: DagSpec,  # noqa: ARG002
    ) -> tuple[str, ...] | None:
        """Say which tasks `result` decided not to follow; None: it decides nothing of the kind."""
        return None

    @property
    def node_id(self) -> str:
        """The task id: what edges know it by."""
        return self.task_id

    @property
    def operator_name(self) -> str:
        """How people see the kind of task it is."""
        return type(self).__name__

    @property
    def needs_worker(self) -> bool:
        """Whether there is anything to execute."""
        return True

    @property
    def chooses(self) -> bool:
        """Whether `skipped_by` may decide anything."""
        return type(self).skipped_by is not BaseOperator.skipped_by

    @property
    def output(self) -> XComArg:
        """What it returns, to be passed to other tasks."""
        return XComArg(self)

    @property
    def log(self) -> logging.Logger:
        """The task's log."""
        import logging  # noqa: PLC0415 - slow to import, and only a running task has a log

        return logging.getLogger("orchestrator.task")

    @property
    def subject(self) -> Subject:
        """What an error about this task is about."""
        return Subject(_where(self.dag, self.task_id), self.site)

    @property
    def upstream_task_ids(self) -> set[str]:
        """The tasks it waits for."""
        return set() if self.dag is None else set(self.dag.edges().upstream[self.task_id])

    @property
    def downstream_task_ids(self) -> set[str]:
        """The tasks that wait for it."""
        if self.dag is None:
            return set()
        upstream = self.dag.edges().upstream
        return {task_id for task_id, ids in upstream.items() if self.task_id in ids}


class EmptyOperator(BaseOperator):
    """A task that does nothing, for joining and naming: it succeeds without a worker."""

    def execute(self, context: Context) -> None:
        """Do nothing."""

    @property
    def needs_worker(self) -> bool:
        """One with callbacks or hooks, or a subclass that does something, needs a worker."""
        kind = type(self)
        if self.callbacks or self.pre_execute_hook or self.post_execute_hook:
            return True
        return (kind.execute, kind.pre_execute, kind.post_execute) != (
            EmptyOperator.execute,
            BaseOperator.pre_execute,
            BaseOperator.post_execute,
        )


def make_operator(
    cls: type[_T],
    arguments: Mapping[str, Any],
    *,
    site: CallSite,
    dag: DAG | None,
    group: TaskGroup | None,
) -> _T:
    """Make an operator of its arguments, its class's own `__init__` and all, in no DAG yet."""
    subject = Subject(_where(dag, arguments.get("task_id")), site)
    signature_of(cls).check(arguments, subject)
    task = object.__new__(cls)
    task.site, task.dag, task.task_group = site, dag, group
    task.__init__(**arguments)  # type: ignore[misc]
    if not hasattr(task, "task_id"):
        raise subject.error(
            f"{cls.__name__}.__init__ does not call super().__init__(**kwargs); it must"
        )
    return task


def default_arguments(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the default_args in force for a task that is given these arguments here."""
    return _defaults(*_home(arguments))


def home_of(arguments: Mapping[str, Any]) -> DAG | None:
    """Return the DAG that a task belongs to that is given these arguments here."""
    return _home(arguments)[0]


def subject_of(arguments: Mapping[str, Any]) -> Subject:
    """Return what an error about a task is about that is given these arguments here."""
    return Subject(_where(_home(arguments)[0], arguments.get("task_id")), author_call())


def _home(kwargs: Mapping[str, Any]) -> tuple[DAG | None, TaskGroup | None]:
    """Where the task goes: as it says itself, else the innermost `with` block."""
    scope = current_scope()
    group = cast("TaskGroup | None", kwargs.get("task_group"))
    dag = cast("DAG | None", kwargs.get("dag")) or (group.dag if group else None)
    if dag is None and scope is not None:
        dag = scope.dag
    if group is None and scope is not None and scope.dag is dag:
        group = scope.group
    return dag, group


def _defaults(dag: DAG | None, group: TaskGroup | None) -> Mapping[str, Any]:
    if group is not None:
        return group.merged_default_args
    return dag.default_args if dag is not None else {}


def _prefixed(label: str, group: TaskGroup | None) -> str:
    return label if group is None else group.prefixed(label)


def _where(dag: DAG | None, task_id: object) -> str:
    task = f"task {task_id!r}" if task_id else "a task"
    return task if dag is None else f"DAG {dag.dag_id!r}, {task}"
