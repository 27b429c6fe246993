"""A task takes an earlier result exactly when the same code would get the same arguments."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.errors import DagInvalidError
from orchestrator.sdk import DAG, BashOperator, Cache, SkipException, task
from orchestrator.testing import DagRunResult, MemoryResults, run_dag

HOUR = timedelta(hours=1)


class Journal:
    """What was called. (A plain list would be a part of the code that names it.)"""

    def __init__(self) -> None:
        self.said: list[Any] = []

    def append(self, word: Any) -> None:
        self.said.append(word)


calls = Journal()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.said.clear()


class Runs:
    """Runs of DAGs that share one cache."""

    def __init__(self) -> None:
        self.results = MemoryResults()

    def of(self, function: Any, *args: Any, **options: Any) -> DagRunResult:
        with DAG("d") as dag:
            task(function, task_id="t", **{"cache": HOUR, **options})(*args)
        return self.again(dag)

    def again(self, dag: DAG, **run: Any) -> DagRunResult:
        return run_dag(dag, results=self.results, **run)


@pytest.fixture
def runs() -> Runs:
    return Runs()


def double(value: Any) -> Any:
    calls.append(value)
    return value * 2


def test_the_second_run_takes_the_result_of_the_first(runs: Runs) -> None:
    first, second = runs.of(double, 4), runs.of(double, 4)
    assert (first.xcom("t"), second.xcom("t"), calls.said) == (8, 8, [4])
    assert first["t"].reason is None
    assert second["t"].reason == f"result taken from the cache of run {first.run_id}, try 1"


def test_other_arguments_are_another_result(runs: Runs) -> None:
    assert [runs.of(double, each).xcom("t") for each in (1, 2, [1], 1, "1")] == [
        2,
        4,
        [1, 1],
        2,
        "11",
    ]
    assert calls.said == [1, 2, [1], "1"]


def test_without_cache_every_run_runs(runs: Runs) -> None:
    runs.of(double, 1, cache=None)
    runs.of(double, 1, cache=None)
    assert calls.said == [1, 1]


def test_a_run_alone_has_a_cache_of_its_own() -> None:
    with DAG("d") as dag:
        task(double, task_id="t", cache=HOUR)(1)
    run_dag(dag)
    run_dag(dag)
    assert calls.said == [1, 1]


def test_every_xcom_comes_back(runs: Runs) -> None:
    def push(ti: Any) -> dict[str, Any]:
        calls.append(1)
        ti.xcom_push("side", (1, 2))
        return {"a": {3}}

    first, second = runs.of(push, multiple_outputs=True), runs.of(push, multiple_outputs=True)
    for run in (first, second):
        assert run.xcom("t") == {"a": {3}}
        assert (run.xcom("t", "a"), run.xcom("t", "side")) == ({3}, (1, 2))
    assert calls.said == [1]


def choose() -> str:
    calls.append(1)
    return "a"


def test_a_branch_is_taken_again(runs: Runs) -> None:
    def build() -> DAG:
        with DAG("d") as dag:
            branch = task.branch(choose, task_id="br", cache=HOUR)()
            branch >> [task(double, task_id="a")(1), task(double, task_id="b")(2)]
        return dag

    states = [runs.again(build()).states for _ in range(2)]
    assert states[0] == states[1] == {"br": "success", "a": "success", "b": "skipped"}
    assert calls.said == [1, 1, 1]


def fail() -> None:
    calls.append("fail")
    raise ValueError


def skip() -> None:
    calls.append("skip")
    raise SkipException


@pytest.mark.parametrize("function", [fail, skip])
def test_only_successes_are_kept(runs: Runs, function: Callable[[], None]) -> None:
    runs.of(function)
    runs.of(function)
    assert len(calls.said) == 2


def test_a_result_expires() -> None:
    class Clock:
        at = datetime(2024, 1, 1, tzinfo=UTC)

        def now(self) -> datetime:
            return self.at

        def sleep(self, seconds: float) -> None:
            self.at += timedelta(seconds=seconds)

    clock, runs = Clock(), Runs()
    runs.results = MemoryResults(clock)
    for seconds in (0, 3_599, 1):
        clock.sleep(seconds)
        runs.of(double, 1)
    assert calls.said == [1, 1]


def version_of(source: str, name: str = "f", **names: Any) -> Any:
    """A function, as another version of the file has it."""
    scope: dict[str, Any] = {"calls": calls, "__name__": "version", **names}
    exec(source, scope)
    return scope[name]


BASE = """
LIMIT = 3
def helper(x): return x + 1
def f(x=1):
    calls.append(x)
    return helper(x) + LIMIT
"""


@pytest.mark.parametrize(
    ("source", "is_same"),
    [
        (BASE, True),
        ("# a comment, and other lines\n\n" + BASE, True),
        (BASE.replace("return helper(x) + LIMIT", "return helper(x) - LIMIT"), False),
        (BASE.replace("LIMIT = 3", "LIMIT = 4"), False),
        (BASE.replace("x + 1", "x + 2"), False),
        (BASE.replace("x=1", "x=2"), False),
        (BASE + "def unused(): return 1\n", True),
    ],
)
def test_other_code_is_another_result(runs: Runs, source: str, is_same: bool) -> None:
    runs.of(version_of(BASE))
    runs.of(version_of(source))
    assert len(calls.said) == (1 if is_same else 2)


def test_what_a_function_closes_over_is_part_of_it(runs: Runs) -> None:
    def made(n: int) -> Callable[[], int]:
        def inner() -> int:
            calls.append(n)
            return n

        return inner

    assert [runs.of(made(n)).xcom("t") for n in (1, 2, 1)] == [1, 2, 1]
    assert calls.said == [1, 2]


def test_recursion_is_no_trap(runs: Runs) -> None:
    source = "def f(n=3):\n    calls.append(n)\n    return n and f(n - 1)\n"
    runs.of(version_of(source))
    runs.of(version_of(source))
    assert calls.said == [3, 2, 1, 0]


def test_dates_and_params_count_where_the_function_asks_for_them(runs: Runs) -> None:
    def dated(ds: Any = None) -> None:
        calls.append(ds)

    def free() -> None:
        calls.append("free")

    def with_params(params: Any = None) -> None:
        calls.append(params)

    with DAG("d", params={"n": 1}) as dag:
        task(dated, task_id="dated", cache=HOUR)()
        task(free, task_id="free", cache=HOUR)()
        task(with_params, task_id="params", cache=HOUR)()
    days = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 1)]
    for day in days:
        runs.again(dag, logical_date=day)
    runs.again(dag, logical_date=days[0], conf={"n": 2})
    assert calls.said == ["2024-01-01", "free", {"n": 1}, "2024-01-02", {"n": 2}]


def test_templates_are_compared_rendered(runs: Runs) -> None:
    with DAG("d") as dag:
        BashOperator(task_id="t", bash_command="echo {{ ds }}", cache=HOUR)
    first, other, again = (
        runs.again(dag, logical_date=datetime(2024, 1, day, tzinfo=UTC)) for day in (1, 2, 1)
    )
    assert [run.xcom("t") for run in (first, other, again)] == [
        "2024-01-01",
        "2024-01-02",
        "2024-01-01",
    ]
    assert [run["t"].reason is None for run in (first, other, again)] == [True, True, False]


def test_a_key_of_ones_own_and_a_version(runs: Runs) -> None:
    by_parity = Cache(ttl=HOUR, key=lambda context: context["task"].op_args[0] % 2)
    results = [runs.of(double, each, cache=by_parity).xcom("t") for each in (1, 2, 3, 4)]
    assert (results, calls.said) == ([2, 4, 2, 4], [1, 2])
    newer = Cache(ttl=HOUR, key=by_parity.key, version="2")
    assert runs.of(double, 3, cache=newer).xcom("t") == 6


def test_arguments_that_cannot_be_stored_are_never_cached(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        runs.of(lambda value: calls.append(value.__class__), object())
    assert len(calls.said) == 2
    assert "neither cached nor taken from the cache: an argument of task 't'" in caplog.text
    assert "arguments['fields']['op_args']" in caplog.text


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        (True, "cache is True; say for how long, as in cache=timedelta(hours=1)"),
        ("1h", "cache is '1h'; it must be a timedelta, or a number of seconds"),
        (timedelta(0), "cache is 0:00:00; it must be more"),
        (Cache(ttl=timedelta(-1)), "the ttl of cache is -1 day, 0:00:00; it must be more"),
        (Cache(ttl=HOUR, key=3), "the key of cache is 3; it must be a function of context"),  # type: ignore[arg-type]
        (Cache(ttl=HOUR, version=1), "the version of cache is 1; it must be a text"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_told_where_the_dag_is_written(cache: Any, message: str) -> None:
    with pytest.raises(DagInvalidError) as error, DAG("d"):
        task(double, task_id="t", cache=cache)(1)
    assert message in str(error.value)
