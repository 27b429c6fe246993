"""What a DAG does as a whole, run in this process: the semantics where sdk and core meet."""

import inspect
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.states import RunState, TaskState
from orchestrator.errors import DagInvalidError, ParamInvalidError, RequestInvalidError
from orchestrator.sdk import (
    DAG,
    BashOperator,
    EmptyOperator,
    FailException,
    Param,
    PythonOperator,
    SkipException,
    TaskGroup,
    TriggerRule,
    chain,
    dag,
    task,
    task_group,
)
from orchestrator.sdk.exceptions import AirflowSkipException
from orchestrator.testing import DagRunResult, TaskChange, run_dag
from tests.costs import calls_of

S, F, K = TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED
U = TaskState.UPSTREAM_FAILED


def ends(task_id: str, state: TaskState, **arguments: Any) -> PythonOperator:
    """A task that ends in success, failure or a skip."""

    def work() -> None:
        if state is F:
            raise FailException("on purpose")
        if state is K:
            raise SkipException("on purpose")

    return PythonOperator(task_id=task_id, python_callable=work, **arguments)


def states_of(write: Callable[[], Any], **arguments: Any) -> tuple[RunState, dict[str, TaskState]]:
    with DAG("d", **arguments) as made:
        write()
    result = run_dag(made)
    return result.state, result.states


def test_values_flow_from_task_to_task() -> None:
    @dag(params={"n": Param(3, type="integer", minimum=1)})
    def sums() -> None:
        @task
        def numbers(params: Any = None) -> list[int]:
            return list(range(params["n"]))

        @task
        def split(values: list[int]) -> dict[str, Any]:
            return {"total": sum(values), "count": len(values)}

        @task
        def mean(total: int, count: int) -> float:
            return total / count

        parts = split(numbers())
        mean(parts["total"], parts["count"])

    result = run_dag(sums(), conf={"n": 5})
    assert result.state == RunState.SUCCESS
    assert result.xcom("mean") == 2.0
    assert result.xcom("split", "total") == 10
    assert result.xcom("split", "missing") is None
    assert result.states == {"numbers": S, "split": S, "mean": S}


def test_a_task_made_before_its_dag_can_be_added_and_runs() -> None:
    made = PythonOperator(task_id="t", python_callable=lambda day: day, op_args=["{{ ds }}"])
    dag = DAG("d")
    dag.add_task(made)
    assert run_dag(dag, logical_date=datetime(2024, 5, 6, tzinfo=UTC)).xcom("t") == "2024-05-06"


def test_a_run_has_the_identity_it_is_given() -> None:
    with DAG("d") as made:
        task(lambda **context: [context["run_id"], context["ts"]], task_id="t")()
    at = datetime(2024, 5, 6, 7, tzinfo=UTC)
    assert run_dag(made, logical_date=at).xcom("t") == [
        "manual__2024-05-06T07:00:00+00:00",
        "2024-05-06T07:00:00+00:00",
    ]
    naive = at.replace(tzinfo=None)
    assert run_dag(made, logical_date=naive, run_id="mine").xcom("t")[0] == "mine"


def test_what_cannot_begin_is_said_before_anything_runs() -> None:
    ran: list[int] = []
    with DAG("d", params={"n": Param(type="integer")}) as made:
        task(lambda: ran.append(1), task_id="t")()
    with pytest.raises(ParamInvalidError, match="param 'n' has no default"):
        run_dag(made)
    with pytest.raises(ParamInvalidError, match="param 'n' is invalid: 'x' is not of type"):
        run_dag(made, conf={"n": "x"})
    with pytest.raises(RequestInvalidError, match="logical_date is '2024'; it must be a datetime"):
        run_dag(made, conf={"n": 1}, logical_date="2024")  # type: ignore[arg-type]
    made.get_task("t") >> EmptyOperator(task_id="u", dag=made) >> made.get_task("t")
    with pytest.raises(DagInvalidError, match="in a cycle: t >> u >> t"):
        run_dag(made, conf={"n": 1})
    assert ran == []


# --- S3 and S4: skips and branches ----------------------------------------------------------------


def test_s3_a_skip_travels_by_trigger_rules_only() -> None:
    def write() -> None:
        chain(
            ends("a", K),
            ends("b", S),
            ends("c", S, trigger_rule="none_failed"),
            ends("d", S),
        )

    assert states_of(write) == (RunState.SUCCESS, {"a": K, "b": K, "c": S, "d": S})


def test_s3_the_decision_of_a_branch_beats_the_childs_trigger_rule() -> None:
    def write() -> None:
        task.branch(lambda: None, task_id="br")() >> ends("child", S, trigger_rule="all_done")

    assert states_of(write) == (RunState.SUCCESS, {"br": S, "child": K})


def test_s4_a_branch_follows_only_what_it_chose() -> None:
    def write() -> None:
        branch = task.branch(lambda: "a", task_id="br")()
        join = ends("join", S, trigger_rule="none_failed_min_one_success")
        branch >> [ends("a", S), ends("b", S)] >> join

    assert states_of(write)[1] == {"br": S, "a": S, "b": K, "join": S}


def test_s4_choosing_a_deep_descendant_skips_the_task_in_between_and_so_itself() -> None:
    def write() -> None:
        chain(task.branch(lambda: "deep", task_id="br")(), ends("a", S), ends("deep", S))

    assert states_of(write)[1] == {"br": S, "a": K, "deep": K}


def test_s4_a_child_that_is_also_downstream_of_the_chosen_one_runs() -> None:
    def write() -> None:
        branch = task.branch(lambda: "a", task_id="br")()
        a, b, join = ends("a", S), ends("b", S), ends("join", S)
        branch >> [a, b]
        branch >> join
        a >> join

    assert states_of(write)[1] == {"br": S, "a": S, "b": K, "join": S}


def test_s4_a_branch_to_nowhere_fails_and_its_children_are_upstream_failed() -> None:
    def write() -> None:
        task.branch(lambda: "nowhere", task_id="br")() >> ends("a", S)

    assert states_of(write) == (RunState.FAILED, {"br": F, "a": U})


@pytest.mark.parametrize(("ignore", "later"), [(True, K), (False, S)])
def test_s4_a_short_circuit_skips_all_or_leaves_later_rules_to_decide(
    ignore: bool, later: TaskState
) -> None:
    def write() -> None:
        check = task.short_circuit(
            lambda: False, task_id="s", ignore_downstream_trigger_rules=ignore
        )
        chain(check(), ends("a", S), ends("later", S, trigger_rule="all_done"))

    assert states_of(write)[1] == {"s": S, "a": K, "later": later}


def watcher() -> None:
    [ends("a", F), ends("b", S)] >> ends("w", F, trigger_rule="one_failed")


RUN_STATES: list[tuple[str, Callable[[], Any], RunState]] = [
    (
        "a failure below an all_done leaf",
        lambda: ends("a", F) >> ends("b", S, trigger_rule="all_done"),
        RunState.SUCCESS,
    ),
    ("a failed leaf", lambda: ends("a", S) >> ends("b", F), RunState.FAILED),
    ("an upstream_failed leaf", lambda: ends("a", F) >> ends("b", S), RunState.FAILED),
    ("a skipped leaf", lambda: ends("a", S) >> ends("b", K), RunState.SUCCESS),
    ("a watcher", watcher, RunState.FAILED),
    ("nothing at all", lambda: None, RunState.SUCCESS),
]


@pytest.mark.parametrize(
    ("write", "state"), [each[1:] for each in RUN_STATES], ids=[each[0] for each in RUN_STATES]
)
def test_s5_the_leaves_decide_the_run(write: Callable[[], Any], state: RunState) -> None:
    assert states_of(write)[0] == state


# --- S8: retries ------------------------------------------------------------------------------


def run_flaky(failures: int, **arguments: Any) -> tuple[DagRunResult, list[TaskChange], float]:
    changes: list[TaskChange] = []

    def work(ti: Any) -> int:
        assert ti.xcom_pull(key="seen") is None, "XComs of an earlier try are gone"
        ti.xcom_push("seen", ti.try_number)
        if ti.try_number <= failures:
            raise ValueError("not yet")
        return int(ti.try_number)

    with DAG("d") as made:
        PythonOperator(task_id="t", python_callable=work, **arguments)
    began = time.monotonic()
    result = run_dag(made, on_event=changes.append)
    return result, changes, time.monotonic() - began


def test_s8_retries_take_no_time() -> None:
    result, changes, took_s = run_flaky(2, retries=2, retry_delay=timedelta(hours=3))
    assert (result["t"].state, result["t"].tries, result.xcom("t")) == (S, 3, 3)
    assert result.xcom("t", "seen") == 3
    assert took_s < 5
    starts = [each.at for each in changes if each.event is TaskEvent.STARTED]
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert all(timedelta(hours=3) <= each < timedelta(hours=3, minutes=1) for each in waits)
    assert [(each.event.value, each.try_number) for each in changes] == [
        ("became_ready", 0),
        ("started", 1),
        ("will_retry", 1),
        ("became_ready", 1),
        ("started", 2),
        ("will_retry", 2),
        ("became_ready", 2),
        ("started", 3),
        ("succeeded", 3),
    ]


def test_s8_tries_are_retries_plus_one() -> None:
    result, _, _ = run_flaky(9, retries=2)
    assert (result["t"].state, result["t"].tries) == (F, 3)
    assert (result["t"].reason or "").startswith("ValueError: not yet (test_testing.py:")


def test_s8_backoff_waits_between_base_and_twice_base() -> None:
    _, changes, _ = run_flaky(3, retries=3, retry_delay=60, retry_exponential_backoff=True)
    starts = [each.at for each in changes if each.event is TaskEvent.STARTED]
    waits_s = [(b - a).total_seconds() for a, b in pairwise(starts)]
    assert all(60 * 2**n <= wait < 120 * 2**n + 5 for n, wait in enumerate(waits_s)), waits_s


def test_s8_a_fail_exception_is_not_retried_and_a_system_exit_is() -> None:
    with DAG("d", default_args={"retries": 2}) as made:
        ends("fails", F)
        PythonOperator(task_id="exits", python_callable=lambda: sys.exit(0))
        PythonOperator(task_id="skips", python_callable=_skip)
    result = run_dag(made)
    assert {id_: (result[id_].state, result[id_].tries) for id_ in result.states} == {
        "fails": (F, 1),
        "exits": (F, 3),
        "skips": (K, 1),
    }


def _skip() -> None:
    raise AirflowSkipException("nothing to do")


def test_s9_higher_effective_priority_goes_first() -> None:
    order: list[str] = []
    with DAG("d") as made:
        for name, weight in (("low", 1), ("high", 5), ("middle", 3)):
            PythonOperator(
                task_id=name,
                python_callable=order.append,
                op_args=[name],
                priority_weight=weight,
            )
        chain(*(PythonOperator(task_id=f"c{n}", python_callable=int) for n in range(5)))
        PythonOperator(task_id="same", python_callable=order.append, op_args=["same"])
    run_dag(made)
    assert order == ["high", "middle", "low", "same"]


def test_s9_an_empty_operator_needs_no_try() -> None:
    with DAG("d") as made:
        EmptyOperator(task_id="e")
    assert (run_dag(made)["e"].state, run_dag(made)["e"].tries) == (S, 0)


def test_s23_groups_run_from_leaves_to_roots() -> None:
    order: list[str] = []

    @task
    def note(ti: Any = None) -> None:
        order.append(ti.task_id)

    @task_group
    def stage() -> None:
        note() >> note()

    with DAG("d") as made, TaskGroup("all"):
        stage() >> stage()
    run_dag(made)
    assert order == [
        "all.stage.note",
        "all.stage.note__1",
        "all.stage__1.note",
        "all.stage__1.note__1",
    ]


# --- time limits ------------------------------------------------------------------------------


def test_execution_timeout_holds_here_too_and_someone_elses_alarm_goes_on() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    timer_before = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with DAG("d") as made:
            BashOperator(task_id="t", bash_command="sleep 30", execution_timeout=0.05)
        result = run_dag(made)
        deadline = time.monotonic() + 10
        while not rung and time.monotonic() < deadline:
            signal.sigtimedwait([], 0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer_before)
        signal.signal(signal.SIGALRM, before)
    assert (result["t"].state, result["t"].reason) == (F, "timed out after 0.05 s")
    assert rung == [1]


def test_dagrun_timeout_ends_a_run_that_waits_too_long() -> None:
    with DAG("d", dagrun_timeout=timedelta(minutes=30)) as made:
        ends_late = PythonOperator(
            task_id="t", python_callable=_fail, retries=5, retry_delay=timedelta(minutes=20)
        )
        ends_late >> EmptyOperator(task_id="after")
    result = run_dag(made)
    assert result.state == RunState.FAILED
    assert "dagrun_timeout of 1800 s" in result.reason
    assert (result["t"].tries, result.states) == (2, {"t": K, "after": K})


def _fail() -> None:
    raise ValueError("again")


# --- for whoever sits before it ------------------------------------------------------------------


def test_tasks_run_in_the_callers_thread_so_breakpoints_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stops: list[tuple[str, int, bool]] = []

    def debugger() -> None:
        frame = inspect.currentframe()
        assert frame is not None and frame.f_back is not None  # noqa: PT018
        here = threading.current_thread() is threading.main_thread()
        stops.append((frame.f_back.f_code.co_name, os.getpid(), here))

    monkeypatch.setattr(sys, "breakpointhook", debugger)

    def work() -> None:
        breakpoint()

    with DAG("d") as made:
        task(work)()
    run_dag(made)
    assert stops == [("work", os.getpid(), True)]


def test_ctrl_c_ends_the_run_instead_of_the_task() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with DAG("d") as made:
        task(interrupted, retries=3)()
    with pytest.raises(KeyboardInterrupt):
        run_dag(made)


def test_the_result_is_readable(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="orchestrator.task")
    with DAG("etl") as made:
        EmptyOperator(task_id="start") >> ends("load", F) >> ends("report", S)
    result = run_dag(made, run_id="r")
    lines = str(result).splitlines()
    assert lines[0].startswith("etl r: failed in 0.")
    assert lines[0].endswith("(leaf task 'report' is upstream_failed)")
    assert [line.split()[:4] for line in lines[1:]] == [
        ["start", "success", "not", "run"],
        ["load", "failed", "1", "try"],
        ["report", "upstream_failed", "not", "run"],
    ]
    assert "FailException: on purpose (test_testing.py:" in lines[2]
    with pytest.raises(KeyError, match="the run has no task 'laod'; did you mean 'load'"):
        _ = result["laod"]


def test_values_are_as_from_the_store_not_shared() -> None:
    with DAG("d") as made:
        give = task(lambda: {"rows": [1]}, task_id="give", multiple_outputs=False)()
        spoil = task(lambda value: value["rows"].append(2), task_id="spoil")(give)
        look = task(lambda value: value, task_id="look")(give)
        spoil >> look
    assert run_dag(made).xcom("look") == {"rows": [1]}


def test_a_task_of_many_costs_no_more_than_one_of_few() -> None:
    @task
    def work(value: Any = None) -> int:
        return 1

    def wide(tasks: int) -> DAG:
        with DAG("wide") as made:
            work([work(number) for number in range(tasks - 1)])
        return made

    def calls(made: DAG) -> int:
        return calls_of(lambda: run_dag(made))

    calls(wide(3))  # what is cached is cached
    few, many = calls(wide(100)), calls(wide(1000))
    assert many < 11 * few
    assert many / 1000 < 800, f"{many / 1000:.0f} Python calls a task"


def test_testing_needs_no_service_library() -> None:
    script = (
        "import sys, orchestrator.testing;"
        "print(sorted({'sqlalchemy', 'celery', 'redis', 'fastapi', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- mapping --------------------------------------------------------------------------------------


@task
def numbers() -> list[int]:
    return [3, 1, 2]


@task
def double(x: int, y: int = 0) -> int:
    return 2 * x + y


@task
def collect(values: Any) -> Any:
    return values


def test_s10_a_list_becomes_instances_and_their_results_a_list() -> None:
    with DAG("d") as made:
        collect(double.partial(y=1).expand(x=numbers()))
    result = run_dag(made)
    assert result.state is RunState.SUCCESS
    assert [each.map_index for each in result.instances_of("double")] == [0, 1, 2]
    assert result["double", 2].state is S
    assert result.xcom("double", map_index=1) == 3
    assert result.xcom("collect") == [7, 3, 5]
    assert "double" not in result.states
    with pytest.raises(KeyError, match="'double' has no map index 7: it has 0 to 2"):
        _ = result["double", 7]
    with pytest.raises(KeyError, match="did you mean 'double'"):
        result.instances_of("doubel")


def test_s10_the_last_written_argument_varies_fastest() -> None:
    with DAG("d") as made:
        collect(double.expand(x=[1, 2], y=[10, 20]))
    assert run_dag(made).xcom("collect") == [12, 22, 14, 24]


def test_s10_a_dict_gives_pairs() -> None:
    with DAG("d") as made:
        collect.expand(values={"a": 1, "b": [2]})
    result = run_dag(made)
    assert [result.xcom("collect", map_index=index) for index in (0, 1)] == [("a", 1), ("b", [2])]


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        (TriggerRule.ALL_SUCCESS, K),
        (TriggerRule.NONE_FAILED, S),
        (TriggerRule.ALL_DONE, S),
        (TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS, K),
        (TriggerRule.ONE_SUCCESS, K),
        (TriggerRule.ONE_DONE, K),
        (TriggerRule.ALL_SKIPPED, S),
    ],
)
def test_s10_zero_length_is_one_skipped_instance(rule: TriggerRule, state: TaskState) -> None:
    @task
    def nothing() -> list[int]:
        return []

    with DAG("d") as made:
        mapped = double.expand(x=nothing())
        mapped >> EmptyOperator(task_id="child", trigger_rule=rule)
    result = run_dag(made)
    assert (result["double"].state, result["child"].state) == (K, state)


def test_s10_a_zero_length_group_skips_even_all_done() -> None:
    @task_group
    def g(n: int) -> None:
        double(n) >> EmptyOperator(task_id="inner", trigger_rule="all_done")

    with DAG("d") as made:
        g.expand(n=[])
    assert run_dag(made).states == {"g.double": K, "g.inner": K}


def test_s10_none_results_keep_their_place_and_skipped_ones_vanish() -> None:
    @task
    def some(x: int) -> int | None:
        if x == 2:
            raise SkipException("not this one")
        return None if x == 1 else x

    with DAG("d") as made:
        first = some.expand(x=[0, 1, 2, 3])
        collect.override(task_id="again", trigger_rule="none_failed").expand(values=first)
        collect.override(trigger_rule="none_failed")(first)
    result = run_dag(made)
    assert result.xcom("collect") == [0, None, 3]
    again = [
        result.xcom("again", map_index=each.map_index) for each in result.instances_of("again")
    ]
    assert again == [0, None, 3]


def test_s10_a_map_function_that_skips_skips_its_index_only() -> None:
    def odd(value: int) -> int:
        if value % 2 == 0:
            raise AirflowSkipException("even")
        return value

    with DAG("d") as made:
        double.expand(x=numbers().map(odd))
    result = run_dag(made)
    assert [each.state for each in result.instances_of("double")] == [S, S, K]


def test_s10_zip_and_concat() -> None:
    with DAG("d") as made:
        three, two = numbers(), collect.override(task_id="two")(["a", "b"])
        for name, source in {
            "short": three.zip(two),
            "long": three.zip(two, fillvalue="-"),
            "both": three.concat(two),
            "pairs": three.zip(two).map(lambda pair: f"{pair[0]}{pair[1]}"),
        }.items():
            mapped = collect.override(task_id=f"{name}_each").expand(values=source)
            collect.override(task_id=name)(mapped)
    result = run_dag(made)
    assert result.xcom("short") == [(3, "a"), (1, "b")]
    assert result.xcom("long") == [(3, "a"), (1, "b"), (2, "-")]
    assert result.xcom("both") == [3, 1, 2, "a", "b"]
    assert result.xcom("pairs") == ["3a", "1b"]


def test_s10_a_failed_or_skipped_input_decides_whatever_the_rule() -> None:
    @task
    def source(state: str) -> list[int]:
        raise (FailException if state == "failed" else SkipException)(state)

    with DAG("d") as made:
        for state in ("failed", "skipped"):
            listed = source.override(task_id=f"source_{state}")(state)
            double.override(task_id=state, trigger_rule="all_done").expand(x=listed)
    result = run_dag(made)
    assert (result["failed"].state, result["skipped"].state) == (U, K)


def test_s10_an_expansion_beyond_the_limit_fails_with_both_numbers() -> None:
    with DAG("d", max_map_length=2) as made:
        double.expand(x=numbers())
    result = run_dag(made)
    assert result["double"].state is F
    assert "3" in str(result["double"].reason)
    assert "2" in str(result["double"].reason)


def test_s10_within_a_mapped_group_index_i_depends_on_index_i() -> None:
    @task_group
    def g(n: int, offset: int) -> Any:
        @task
        def first(value: int) -> int:
            if value == 1:
                raise FailException("on purpose")
            return value + offset

        return double(first(n))

    with DAG("d") as made:
        outcome = g.partial(offset=100).expand(n=numbers())
        collect.override(trigger_rule="all_done")(outcome)
    result = run_dag(made)
    assert [each.state for each in result.instances_of("g.first")] == [S, F, S]
    assert [each.state for each in result.instances_of("g.double")] == [S, U, S]
    assert result.xcom("collect") == [206, 204]


def test_s4_a_branch_in_a_mapped_group_decides_for_its_own_index() -> None:
    @task_group
    def g(n: int) -> None:
        @task.branch
        def choose(value: int) -> str:
            return "g.high" if value > 1 else "g.low"

        end = EmptyOperator(task_id="end", trigger_rule="none_failed_min_one_success")
        choose(n) >> [EmptyOperator(task_id="high"), EmptyOperator(task_id="low")] >> end

    with DAG("d") as made:
        g.expand(n=numbers())
    result = run_dag(made)
    assert [each.state for each in result.instances_of("g.high")] == [S, K, S]
    assert [each.state for each in result.instances_of("g.low")] == [K, S, K]
    assert [each.state for each in result.instances_of("g.end")] == [S, S, S]


def test_mapped_groups_in_mapped_groups_have_paths() -> None:
    @task
    def up_to(n: int) -> list[int]:
        return list(range(n))

    @task
    def where(n: int, m: int, ti: Any = None) -> list[Any]:
        return [n, m, list(ti.map_path)]

    @task_group
    def inner(n: int, m: int) -> Any:
        return where(n, m)

    @task_group
    def outer(n: int) -> Any:
        found = inner.partial(n=n).expand(m=up_to(n))
        collect.override(task_id="row")(found)
        return found

    with DAG("d") as made:
        collect(outer.expand(n=numbers()))
    result = run_dag(made)
    assert result.state is RunState.SUCCESS
    expected: list[Any] = [[n, m, [row, m]] for row, n in enumerate((3, 1, 2)) for m in range(n)]
    assert result.xcom("collect") == expected
    assert result["outer.inner.where", (0, 2)].state is S
    assert "  outer.inner.where[0][2]  success  " in str(result)
    rows = [result.xcom("outer.row", map_index=index) for index in range(3)]
    assert rows == [[each for each in expected if each[2][0] == row] for row in range(3)]


def test_s8_a_mapped_instance_is_retried_alone_and_named_in_the_result() -> None:
    tried: list[int] = []

    @task(retries=1, map_index_template="number {{ task.op_kwargs['x'] }}")
    def fails_once(x: int) -> None:
        tried.append(x)
        if x == 1 and tried.count(1) == 1:
            raise ValueError

    with DAG("d") as made:
        fails_once.expand(x=[0, 1, 2])
    result = run_dag(made)
    assert [each.tries for each in result.instances_of("fails_once")] == [1, 2, 1]
    assert result["fails_once", 1].map_name == "number 1"
    assert "fails_once[2]  success          1 try       " in str(result)


def test_a_thousand_indexes_cost_no_more_each_than_ten() -> None:
    def calls_each(count: int) -> float:
        with DAG("d") as made:
            double.expand(x=double.override(task_id="first").expand(x=list(range(count))))
        return calls_of(lambda: run_dag(made)) / count

    assert calls_each(240) < 1.3 * calls_each(60)


# --- setups and teardowns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setup", "work", "teardown", "expected", "state"),
    [
        (S, S, S, (S, S, S), RunState.SUCCESS),
        (F, S, S, (F, U, U), RunState.FAILED),
        (K, S, S, (K, K, K), RunState.SUCCESS),
        (S, F, S, (S, F, S), RunState.FAILED),
        (S, S, F, (S, S, F), RunState.SUCCESS),
        (S, S, K, (S, S, K), RunState.SUCCESS),
        (S, K, S, (S, K, S), RunState.SUCCESS),
    ],
)
def test_s6_setup_work_and_teardown(
    setup: TaskState,
    work: TaskState,
    teardown: TaskState,
    expected: tuple[TaskState, ...],
    state: RunState,
) -> None:
    with DAG("d") as made, ends("t", teardown).as_teardown(setups=ends("s", setup)):
        ends("w", work)
    result = run_dag(made)
    assert tuple(result.states[each] for each in "swt") == expected
    assert result.state is state


def test_s6_a_teardown_may_fail_the_run() -> None:
    with DAG("d") as made:
        teardown = ends("t", F).as_teardown(setups=ends("s", S), on_failure_fail_dagrun=True)
        with teardown:
            ends("w", S)
    assert run_dag(made).state is RunState.FAILED


def test_fail_fast_ends_what_has_not_begun() -> None:
    with DAG("d", fail_fast=True) as made:
        ends("bad", F, priority_weight=9)
        ends("other", S) >> ends("later", S)
    result = run_dag(made)
    assert result.states == {"bad": F, "other": K, "later": K}


def test_run_state_says_whose_failure_counts() -> None:
    def state_of(run_state: Any) -> RunState:
        with DAG("d", run_state=run_state) as made:
            ends("bad", F) >> EmptyOperator(task_id="end", trigger_rule="all_done")
        return run_dag(made).state

    assert state_of("leaves") is RunState.SUCCESS
    assert state_of("all") is RunState.FAILED
    assert state_of(["bad"]) is RunState.FAILED
    assert state_of(["end"]) is RunState.SUCCESS
