"""How is a task said to be a setup or teardown of others, and what belongs to it?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, overload

from orchestrator.core.specs import TriggerRule
from orchestrator.sdk.callsite import invalid
from orchestrator.sdk.decorators import Role, TaskFunction, task
from orchestrator.sdk.groups import GroupFunction

if TYPE_CHECKING:
    from orchestrator.sdk.dag import DAG
    from orchestrator.sdk.dependencies import Edges

__all__ = ["check_setups", "setup", "teardown"]


@overload
def setup(function: Callable[..., Any], /, **arguments: Any) -> TaskFunction: ...
@overload
def setup(**arguments: Any) -> Callable[[Callable[..., Any]], TaskFunction]: ...
def setup(function: Any = None, /, **arguments: Any) -> Any:
    """Make a task function of a function, or take one, whose tasks set something up: what
    is downstream runs only if they succeeded, and their teardowns run whatever became of it.
    `arguments` are the operator's, as in `@task(...)`."""

    def make(function: Any) -> TaskFunction:
        return _task_function("setup", function, arguments).in_role(Role(is_setup=True))

    return make if function is None else make(function)


@overload
def teardown(
    function: Callable[..., Any], /, *, on_failure_fail_dagrun: bool = False, **arguments: Any
) -> TaskFunction: ...
@overload
def teardown(
    *, on_failure_fail_dagrun: bool = False, **arguments: Any
) -> Callable[[Callable[..., Any]], TaskFunction]: ...
def teardown(
    function: Any = None, /, *, on_failure_fail_dagrun: bool = False, **arguments: Any
) -> Any:
    """Make a task function of a function, or take one, whose tasks take down what a setup upstream
    of them set up. Their failure does not fail the run, unless `on_failure_fail_dagrun` says so.
    `arguments` are the operator's, as in `@task(...)`."""
    role = Role(is_teardown=True, on_failure_fail_dagrun=on_failure_fail_dagrun)

    def make(function: Any) -> TaskFunction:
        made = _task_function("teardown", function, arguments)
        if "trigger_rule" in made.operator_arguments:
            raise invalid(
                repr(made),
                "a teardown has a trigger rule of its own (all_done_setup_success); remove "
                "trigger_rule",
            )
        return made.in_role(role)

    return make if function is None else make(function)


def check_setups(dag: DAG, edges: Edges) -> None:
    """Refuse rules that would undo what setups and teardowns are for."""
    for each in dag.tasks:
        if each.is_teardown and each.trigger_rule is not TriggerRule.ALL_DONE_SETUP_SUCCESS:
            raise each.subject.error(
                f"trigger_rule is {each.trigger_rule.value!r}, but a teardown has a rule of its "
                "own (all_done_setup_success); remove trigger_rule"
            )
        if dag.fail_fast and each.trigger_rule not in _FAIL_FAST_RULES:
            raise each.subject.error(
                f"trigger_rule is {each.trigger_rule.value!r}, but the DAG has fail_fast: its "
                "tasks must have 'all_success', since nothing runs after a failure"
            )
        above = sorted(id_ for id_ in edges.upstream[each.task_id] if dag.get_task(id_).is_setup)
        if above and not each.is_teardown and each.trigger_rule is not TriggerRule.ALL_SUCCESS:
            raise each.subject.error(
                f"trigger_rule is {each.trigger_rule.value!r}, but it is directly downstream of "
                f"the setup {above[0]!r}: without a setup that succeeded nothing may run, so it "
                "must be 'all_success'"
            )


_FAIL_FAST_RULES = (TriggerRule.ALL_SUCCESS, TriggerRule.ALL_DONE_SETUP_SUCCESS)


def _task_function(name: str, function: Any, arguments: Mapping[str, Any]) -> TaskFunction:
    if isinstance(function, GroupFunction):
        raise invalid(repr(function), f"a task group cannot be a {name}; mark the tasks in it")
    if isinstance(function, TaskFunction):
        return function.override(**arguments)
    made: TaskFunction = task(function, **arguments)
    return made
