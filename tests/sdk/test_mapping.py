"""What an author may expand over, what becomes of it in the spec, and what one index then gets."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from orchestrator.core.ids import RETURN_VALUE, index_of
from orchestrator.core.outcomes import Failed, Skipped, Succeeded
from orchestrator.core.specs import (
    ConcatLength,
    Expansion,
    LiteralLength,
    ReturnLength,
    TaskSpec,
    ZipLength,
)
from orchestrator.core.values import readable
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    BaseOperator,
    BashOperator,
    EmptyOperator,
    PythonOperator,
    TaskGroup,
    XComArg,
    get_current_context,
    task,
    task_group,
)
from orchestrator.sdk.exceptions import AirflowSkipException
from tests.sdk.tries import StoredXComs, stored, try_task


@task
def source() -> list[int]:
    return [1, 2, 3]


@task
def other() -> list[int]:
    return [1, 2]


@task
def show(x: Any, y: Any = None) -> Any:
    return [x, y]


def spec_of(write: Callable[[], Any], task_id: str = "show", **arguments: Any) -> TaskSpec:
    with DAG("d", **arguments) as dag:
        write()
    return next(each for each in dag.spec().tasks if each.task_id == task_id)


def inputs_of(write: Callable[[], Any], task_id: str = "show") -> tuple[Any, ...]:
    expansion = spec_of(write, task_id).expansion
    assert expansion is not None
    return expansion.inputs


def returned(
    write: Callable[[], Any],
    map_index: int = 0,
    task_id: str = "show",
    xcoms: StoredXComs | None = None,
) -> Any:
    """What the instance of one map index returned."""
    with DAG("d") as dag:
        write()
    outcome = try_task(dag, task_id, map_index=map_index, xcoms=xcoms)
    assert isinstance(outcome, Succeeded), outcome
    return readable(outcome.xcoms.get(RETURN_VALUE))


def by_index(task_id: str, values: Mapping[int, Any]) -> StoredXComs:
    return StoredXComs({(task_id, RETURN_VALUE, index): each for index, each in values.items()})


# --- what it becomes in the spec ------------------------------------------------------------------


def test_s10_an_expansion_has_its_inputs_in_the_order_they_were_written() -> None:
    spec = spec_of(lambda: show.expand(y=source(), x=["a", "b"]))
    assert spec.expansion == Expansion(
        inputs=(ReturnLength(task_id="source"), LiteralLength(length=2))
    )
    assert spec.upstream == ("source",)


def test_s10_what_maps_zips_and_concats_is_frozen_by_its_length() -> None:
    one, two = ReturnLength(task_id="source"), ReturnLength(task_id="other")

    def of(make: Callable[[XComArg, XComArg], Any]) -> Any:
        (found,) = inputs_of(lambda: show.expand(x=make(source(), other())))
        return found

    assert of(lambda a, _: a.map(str)) == one
    assert of(lambda a, b: a.zip(b)) == ZipLength(inputs=(one, two))
    assert of(lambda a, b: a.zip(b, fillvalue=None)) == ZipLength(inputs=(one, two), longest=True)
    assert of(lambda a, b: a.concat(b, [7]).map(str)) == ConcatLength(
        inputs=(one, two, LiteralLength(length=1))
    )


def test_s10_literals_are_lists_dicts_and_ranges() -> None:
    assert inputs_of(lambda: show.expand(x={"a": 1, "b": 2})) == (LiteralLength(length=2),)
    assert inputs_of(lambda: show.expand(x=range(5))) == (LiteralLength(length=5),)
    assert inputs_of(lambda: show.expand(x=[])) == (LiteralLength(length=0),)
    assert inputs_of(lambda: show.expand_kwargs([{"x": 1}])) == (LiteralLength(length=1),)


def test_the_limit_is_the_dags() -> None:
    spec = spec_of(lambda: show.expand(x=source()), max_map_length=7)
    assert spec.expansion == Expansion(inputs=(ReturnLength(task_id="source"),), limit=7)


def test_what_all_instances_share_is_that_of_any_task() -> None:
    def write() -> None:
        first = source()
        show.override(task_id="t", retries=3, pool="p").partial(y=first).expand(x=[1])
        BashOperator.partial(task_id="b", retries=2, env={"A": "{{ ds }}"}).expand(
            bash_command=["one", "two"]
        )

    assert spec_of(write, "t").retry.retries == 3
    assert spec_of(write, "t").pool == "p"
    assert spec_of(write, "t").upstream == ("source",), "what partial() is given makes it wait too"
    bash = spec_of(write, "b")
    assert (bash.operator, bash.retry.retries) == ("BashOperator", 2)
    assert bash.template_fields == {"bash_command": ["one", "two"], "env": {"A": "{{ ds }}"}}


def test_s23_default_args_reach_a_mapped_task() -> None:
    with DAG("d", default_args={"retries": 4, "cwd": "/a"}) as dag:
        with TaskGroup("g", default_args={"retries": 5}):
            BashOperator.partial(task_id="b").expand(bash_command=["pwd"])
        show.expand(x=[1])
    first, second = dag.spec().tasks
    assert (first.retry.retries, second.retry.retries) == (5, 4)
    assert first.template_fields == {"bash_command": ["pwd"], "cwd": "/a"}


def test_s10_a_mapped_group_waits_for_its_input_and_so_does_who_uses_it() -> None:
    @task_group
    def g(n: int, m: int) -> XComArg:
        first = show.override(task_id="first")(m)
        return show.override(task_id="second")(first, n)

    with DAG("d") as dag:
        show.override(task_id="end")(g.partial(m=1).expand(n=source()))
    spec = dag.spec()
    (group,) = spec.groups
    assert group.expansion == Expansion(inputs=(ReturnLength(task_id="source"),))
    assert {each.task_id: each.upstream for each in spec.tasks} == {
        "end": ("g.second",),
        "g.first": ("source",),
        "g.second": ("g.first", "source"),
        "source": (),
    }


def test_mapped_groups_nest() -> None:
    @task_group
    def inner(n: Any) -> None:
        show.expand(x=source(), y=[1]) >> EmptyOperator(task_id="e")

    @task_group
    def outer(n: Any) -> None:
        inner.expand(n=other())

    with DAG("d") as dag:
        outer.expand(n=[1, 2])
    spec = dag.spec()
    assert [(each.group_id, each.expansion) for each in spec.groups] == [
        ("outer", Expansion(inputs=(LiteralLength(length=2),))),
        ("outer.inner", Expansion(inputs=(ReturnLength(task_id="outer.other"),))),
    ]


# --- which arguments an index gets ----------------------------------------------------------------


def test_s10_the_last_argument_varies_fastest() -> None:
    def write() -> None:
        show.expand(x=[1, 2], y=["a", "b", "c"])

    found = [returned(write, index) for index in range(6)]
    assert found == [[1, "a"], [1, "b"], [1, "c"], [2, "a"], [2, "b"], [2, "c"]]


def test_s10_an_input_that_a_task_returned_is_read_element_by_element() -> None:
    xcoms = stored(source=[10, 20, 30], other={"k": 1, "l": 2})

    def write() -> None:
        show.expand(x=source(), y=other())

    found = [returned(write, index, xcoms=xcoms) for index in range(6)]
    assert found[0] == [10, ["k", 1]]
    assert [each[0] for each in found] == [10, 10, 20, 20, 30, 30]
    assert [each[1][0] for each in found] == ["k", "l"] * 3


def test_s10_a_mapped_input_counts_who_succeeded_and_none_keeps_its_place() -> None:
    xcoms = by_index("first", {0: "a", 2: None, 3: "d"})  # 1 was skipped

    def write() -> None:
        show.expand(x=show.override(task_id="first").expand(x=[1, 2, 3, 4]))

    assert [returned(write, index, xcoms=xcoms)[0] for index in range(3)] == ["a", None, "d"]


def test_s10_maps_zips_and_concats_are_computed_where_they_are_used() -> None:
    xcoms = stored(source=[1, 2, 3], other=[10, 20])

    def of(index: int, make: Callable[[XComArg, XComArg], Any]) -> Any:
        return returned(lambda: show.expand(x=make(source(), other())), index, xcoms=xcoms)[0]

    assert of(2, lambda a, _: a.map(lambda x: -x).map(str)) == "-3"
    assert of(1, lambda a, b: a.zip(b)) == [2, 20]
    assert of(2, lambda a, b: a.zip(b, fillvalue="none")) == [3, "none"]
    assert of(2, lambda a, b: a.concat(b)) == 3
    assert of(4, lambda a, b: a.concat(b)) == 20
    assert of(5, lambda a, b: a.concat(b, [b, "end"])) == [10, 20]
    assert of(6, lambda a, b: a.concat(b, ["x", "end"])) == "end"


def test_what_is_composed_can_be_passed_whole() -> None:
    xcoms = stored(source=[1, 2, 3], other=[10, 20])

    def write() -> None:
        numbers, more = source(), other()
        show(numbers.zip(more, fillvalue=0).map(sum), numbers.concat(more))

    assert returned(write, -1, xcoms=xcoms) == [[11, 22, 3], [1, 2, 3, 10, 20]]


def test_s10_a_map_function_that_raises_skip_skips_its_index() -> None:
    def only_even(number: int) -> int:
        if number % 2:
            raise AirflowSkipException(f"{number} is odd")
        return number

    with DAG("d") as dag:
        show.expand(x=source().map(only_even))
    xcoms = stored(source=[1, 2])
    assert try_task(dag, "show", map_index=0, xcoms=xcoms) == Skipped(reason="1 is odd")
    assert isinstance(try_task(dag, "show", map_index=1, xcoms=xcoms), Succeeded)


def test_s10_expand_kwargs_gives_each_index_its_own_arguments() -> None:
    def write() -> None:
        show.partial(x="x").expand_kwargs([{"y": 1}, {}, {"y": [2]}])

    assert [returned(write, index) for index in range(3)] == [["x", 1], ["x", None], ["x", [2]]]
    xcoms = stored(source=[{"x": 1, "y": 2}])
    assert returned(lambda: show.expand_kwargs(source()), xcoms=xcoms) == [1, 2]
    assert returned(
        lambda: show.partial(x=0).expand_kwargs(source(), strict=False), xcoms=xcoms
    ) == [1, 2]


class Keeps(BaseOperator):
    """An operator whose __init__ works on its arguments."""

    template_fields = ("kept",)

    def __init__(self, *, text: str, plain: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kept = [text.upper(), plain]

    def execute(self, context: Any) -> Any:
        return self.kept


def test_an_operator_is_made_with_the_values_of_its_index() -> None:
    def write() -> None:
        Keeps.partial(task_id="show").expand(text=["a {{ 1 }}", "b"], plain=source())

    xcoms = stored(source=["{{ ds }}"])
    assert returned(write, 1, xcoms=xcoms)[0] == "B"
    assert returned(write, 0, xcoms=xcoms)[0] == "A 1", "what the author wrote is a template"


def test_what_came_out_of_a_run_is_no_template() -> None:
    xcoms = stored(source=["{{ 1 + 1 }}"])
    assert returned(lambda: show.expand(x=source()), xcoms=xcoms) == ["{{ 1 + 1 }}", None]
    assert returned(lambda: show.expand(x=["{{ 1 + 1 }}"])) == ["2", None]
    kwargs = stored(source=[{"x": "{{ 1 + 1 }}"}])
    assert returned(lambda: show.expand_kwargs(source()), xcoms=kwargs) == ["{{ 1 + 1 }}", None]


def test_outputs_may_stand_among_the_elements_of_a_list() -> None:
    xcoms = stored(source=[1], other="o")

    def write() -> None:
        show.expand(x=[source(), "b", [other()]])

    assert spec_of(write).upstream == ("other", "source")
    assert [returned(write, index, xcoms=xcoms)[0] for index in range(3)] == [[1], "b", ["o"]]


def in_groups() -> None:
    @task_group
    def g(n: Any, m: Any = "default") -> None:
        first = show.override(task_id="first")(n, m)
        show.override(task_id="second")(first)
        show.override(task_id="third").expand(x=first)
        third = XComArg(show_of("g.third"))
        show.override(task_id="fourth")(third)

    g.expand_kwargs([{"n": 1}, {"n": 2, "m": "m"}])
    show.override(task_id="end")(XComArg(show_of("g.first")))


def show_of(task_id: str) -> Any:
    from orchestrator.sdk.scope import current_scope

    scope = current_scope()
    assert scope is not None
    return scope.dag.get_task(task_id)


def test_s10_within_a_mapped_group_index_i_takes_from_index_i() -> None:
    assert returned(in_groups, 0, "g.first") == [1, "default"]
    assert returned(in_groups, 1, "g.first") == [2, "m"]
    xcoms = by_index("g.first", {0: ["a"], 1: ["b", "c"]})
    assert returned(in_groups, 1, "g.second", xcoms) == [["b", "c"], None]
    assert returned(in_groups, index_of((1, 1), depth=2), "g.third", xcoms) == ["c", None]
    third = by_index("g.third", {index_of(path, depth=2): path[1] for path in [(0, 0), (1, 0)]})
    assert returned(in_groups, 1, "g.fourth", third) == [[0], None]
    assert returned(in_groups, -1, "end", xcoms) == [[["a"], ["b", "c"]], None]


def test_s19_xcom_pull_of_a_mapped_task_is_the_list_by_index() -> None:
    def pull(**arguments: Any) -> Any:
        def work() -> Any:
            return get_current_context()["ti"].xcom_pull(**arguments)

        def write() -> None:
            show.expand(x=[1, 2, 3])
            source()
            PythonOperator(task_id="t", python_callable=work)

        values = {("show", RETURN_VALUE, index): f"v{index}" for index in (0, 2)}
        xcoms = StoredXComs({**values, ("source", RETURN_VALUE, -1): "s"})
        return returned(write, -1, "t", xcoms)

    assert pull(task_ids="show") == ["v0", "v2"]
    assert pull(task_ids=["source", "show"]) == ["s", "v0", "v2"]
    assert pull(task_ids="show", map_indexes=2) == "v2"
    assert pull(task_ids="show", map_indexes=[2, 1, 0], default="no") == ["v2", "no", "v0"]
    assert pull(task_ids="source") == "s"


def test_an_index_has_a_name_by_template_also_of_what_the_task_found() -> None:
    def work(x: int) -> None:
        get_current_context()["found"] = f"file {x}"
        if x == 2:
            raise ValueError("broken")

    with DAG("d") as dag:
        task(work, map_index_template="{{ task.op_kwargs['x'] }}: {{ found }}").expand(x=[1, 2])
        task(work, task_id="bad", map_index_template="{{ nothing }}").expand(x=[1, 2])
        task(work, task_id="one", map_index_template="{{ found }}")(3)
    assert try_task(dag, "work", map_index=0).map_name == "1: file 1"
    assert try_task(dag, "work", map_index=1).map_name == "2: file 2"
    assert "'nothing' is undefined" in str(try_task(dag, "bad", map_index=0))
    failed = try_task(dag, "bad", map_index=1)
    assert isinstance(failed, Failed)
    assert failed.reason.startswith("ValueError: broken"), "what the task raised says more"
    assert try_task(dag, "one").map_name is None, "it has no index to name"


def test_s10_a_task_that_another_is_mapped_over_must_return_a_list_or_dict() -> None:
    @task
    def scalar(value: Any) -> Any:
        return value

    for value, kind in ((None, "None"), (3, "int"), ("abc", "str")):
        with DAG("d") as dag:
            show.expand(x=scalar(value).map(str))
        outcome = try_task(dag, "scalar")
        assert isinstance(outcome, Failed)
        assert "'show' is expanded over what this task returns" in outcome.reason
        assert f"it returned {kind}" in outcome.reason
    with DAG("d") as dag:
        show.expand(x=scalar.expand(value=[1, 2]))
    outcome = try_task(dag, "scalar", map_index=0)
    assert outcome == Succeeded(xcoms={RETURN_VALUE: 1}), "there it is one element"


def test_an_input_that_became_shorter_fails_in_words() -> None:
    with DAG("d") as dag:
        show.expand(x=source())
    outcome = try_task(dag, "show", map_index=3, xcoms=stored(source=[1]))
    assert isinstance(outcome, Failed)
    assert "has 1 elements: there is no number 3" in outcome.reason


# --- what is refused ------------------------------------------------------------------------------


def group_of(write: Callable[[Any], Any], **expand: Any) -> Any:
    @task_group
    def g(n: Any) -> None:
        write(n)

    return g.expand(**(expand or {"n": [1]}))


def nested(levels: int) -> None:
    if levels:
        group_of(lambda _: nested(levels - 1))
    else:
        show.expand(x=[1])


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: show.expand(z=[1]), "unknown argument 'z' of show()"),
    (lambda: show.partial(yy=1), "unknown argument 'yy' of show()"),
    (lambda: show.expand(y=[1]), "missing a required argument: 'x'"),
    (show.expand, "expand() names no argument"),
    (lambda: show.expand(x="abc"), "x is expanded over 'abc', of type str; it must be a list"),
    (lambda: show.expand(x=b"abc"), "of type bytes"),
    (lambda: show.expand(x=3), "x is expanded over 3, of type int"),
    (lambda: show.expand(x={1, 2}), "of type set; it must be a list, a dict or a task's output"),
    (lambda: show.expand(x=source), "write source(...)"),
    (lambda: show.expand(x=source().operator), "expand over its output: source.output"),
    (lambda: show.expand(x=source()["key"]), "an XCom of another key than 'return_value'"),
    (lambda: show.expand(x=source()["key"].map(str)), "an XCom of another key"),
    (
        lambda: show.expand(x=EmptyOperator(task_id="e").output),
        "task 'e' pushes nothing that could be expanded over",
    ),
    (
        lambda: show.expand(x=source.override(do_xcom_push=False)()),
        "task 'source' pushes nothing that could be expanded over",
    ),
    (lambda: show.partial(x=1).expand(x=[1]), "argument 'x' is given twice"),
    (lambda: show.partial(x=1).partial(x=2), "argument 'x' is given twice"),
    (lambda: show.partial(x=1)(y=2), "a call of .partial(...) makes no task; call .expand("),
    (lambda: show.expand_kwargs({"x": 1}), "is given one dict; it takes a list of dicts"),
    (lambda: show.expand_kwargs([{"x": 1}, 2]), "number 1 of expand_kwargs is 2; it must be a"),
    (lambda: show.expand_kwargs([{1: 2}]), "must be a dict of argument names"),
    (lambda: show.expand_kwargs([{"x": 1}, {"xx": 2}]), "unknown argument 'xx' of show()"),
    (lambda: show.partial(x=1).expand_kwargs([{"x": 2}]), "argument 'x' is given twice"),
    (
        lambda: BashOperator.partial(task_id="t").expand(bash_comand=["a"]),
        "unknown argument 'bash_comand'; did you mean 'bash_command'?",
    ),
    (lambda: BashOperator.partial(task_id="t", retriess=1), "did you mean 'retries'?"),
    (
        lambda: BashOperator.partial(task_id="t").expand(env=[{}]),
        "missing argument 'bash_command' of BashOperator: give it in partial() or expand over it",
    ),
    (
        lambda: BashOperator.partial(bash_command="x").expand(task_id=["a"]),
        "task_id is the same for all instances of a mapped task; give it in partial()",
    ),
    (
        lambda: BashOperator.partial(task_id="t", bash_command="x").expand(retries=[1]),
        "retries is the same for all instances",
    ),
    (
        lambda: BashOperator.partial(task_id="t", bash_command="x").expand(bash_command=["y"]),
        "argument 'bash_command' is given twice",
    ),
    (
        lambda: BashOperator.partial(task_id="t") >> EmptyOperator(task_id="e"),
        "partial() alone makes no task",
    ),
    (lambda: BashOperator.partial(task_id="t"), "partial() alone makes no task"),
    (lambda: show.partial(x=1).override(retries=2), "<@task show>: partial() alone makes no task"),
    (lambda: task_group(show.function).partial(x=1), "partial() alone makes no"),
    (
        lambda: BashOperator.partial(task_id="t").expand(bash_command=["{{ x"]),
        "bash_command is no valid template",
    ),
    (
        lambda: show.override(map_index_template="{{ x").expand(x=[1]),
        "task 'show': map_index_template is no valid template",
    ),
    (lambda: source().map(show), "<@task show> is no plain function; .map runs it in the task"),
    (lambda: source().zip(7), ".zip: 7 is no task's output and no list"),
    (lambda: [*source()], "or have a task expanded over it"),
    (lambda: group_of(show, m=[1]), "unknown argument 'm' of g()"),
    (lambda: group_of(lambda n: show.expand(x=n)), "have a task in the group return it"),
    (lambda: group_of(lambda n: show(f"{n}")), "it cannot be put into a text here"),
    (lambda: group_of(lambda n: show(n[0])), "is not known here; pass it to a task"),
    (lambda: group_of(lambda n: [show(each) for each in n]), "is not known here"),
    (
        lambda: group_of(show.override(trigger_rule="always")),
        "trigger_rule is 'always' in the mapped group 'g': it would not wait",
    ),
    (
        lambda: nested(3),
        "task 'g.g.g.show': it is mapped 4 times over (g > g.g > g.g.g > g.g.g.show)",
    ),
    (lambda: show.expand(x=range(400), y=range(300)), "expanded to 120,000 instances; at most"),
]


@pytest.mark.parametrize(("write", "message"), MISTAKES, ids=[each for _, each in MISTAKES])
def test_s10_mistakes_are_told_where_they_are_made(write: Callable[[], Any], message: str) -> None:
    def author() -> None:
        with DAG("d") as dag:
            write()
        dag.spec()

    with pytest.raises(DagInvalidError) as caught:
        author()
    assert message in str(caught.value)
    assert "(test_mapping.py:" in str(caught.value)


def test_three_levels_are_possible_but_not_with_longer_lists_than_they_have_room_for() -> None:
    with DAG("d") as dag:
        nested(2)
    assert dag.spec().tasks[0].expansion is not None
    dag.max_map_length = 200_000
    with pytest.raises(DagInvalidError, match="there at most 131,071 are possible"):
        dag.spec()


def test_arguments_that_only_the_run_knows_are_checked_there() -> None:
    with DAG("d") as dag:
        show.partial(y=1).expand_kwargs(source())
        Keeps.partial(task_id="k").expand_kwargs(other())

    def reason(task_id: str, **results: Any) -> str:
        outcome = try_task(dag, task_id, map_index=0, xcoms=stored(**results))
        assert isinstance(outcome, Failed)
        return outcome.reason

    assert "number 0 of expand_kwargs is 5; it must be a dict" in reason("show", source=[5])
    assert "argument 'y' is given in partial()" in reason("show", source=[{"x": 1, "y": 2}])
    assert "got an unexpected keyword argument 'z'" in reason("show", source=[{"z": 1}])
    assert "missing argument 'text' of Keeps" in reason("k", other=[{}])
    assert "did you mean 'text'?" in reason("k", other=[{"text": "a", "texts": 1}])
    assert "retries is the same for all" in reason("k", other=[{"text": "a", "retries": 1}])
