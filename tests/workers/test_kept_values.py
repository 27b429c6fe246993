"""Types, large values, state and cached results on a real worker, whose processes die too."""

from textwrap import dedent

from orchestrator.core.states import TaskState
from tests.workers.rig import Rig, Worker

TYPED = dedent(
    """
    from dataclasses import dataclass
    from decimal import Decimal
    from orchestrator.sdk import dag, task

    @dataclass(frozen=True)
    class Row:
        number: int
        price: Decimal

    @dag(dag_id="typed")
    def build():
        @task
        def make():
            return [Row(number, Decimal(number) / 4) for number in range(5_000)]

        @task
        def t(rows):
            assert all(type(row) is Row for row in rows)
            return sum(row.price for row in rows)

        t(make())

    build()
    """
)


def test_a_large_list_of_an_authors_class_arrives_as_it_was(shared: Rig, worker: Worker) -> None:
    shared.add("typed.py", TYPED)
    ti = shared.run("typed")
    assert (ti.state, ti.reason) == (TaskState.SUCCESS, None)
    shown = shared.reads.xcom("typed", ti.key.run_id, "t", "return_value")
    assert (shown.value, shown.is_preview) == ("3124375.00", False)
    large = shared.reads.xcom("typed", ti.key.run_id, "make", "return_value")
    assert large.is_preview
    assert large.size_bytes > 500_000
    assert large.value[1] == {"number": 1, "price": "0.25"}


KEPT = dedent(
    """
    import os, signal
    from orchestrator.sdk import dag, task

    @dag(dag_id="kept")
    def build():
        @task(retries=1, retry_delay=0)
        def t(task_state=None):
            if not task_state.get("begun"):
                task_state.set("begun", {"at": (1, 2)})
                os.kill(os.getpid(), signal.SIGKILL)
            return task_state.get("begun")

        t()

    build()
    """
)


def test_state_outlives_the_process_that_wrote_it(shared: Rig, worker: Worker) -> None:
    shared.add("kept.py", KEPT)
    ti = shared.reached("kept", shared.trigger("kept"), TaskState.SUCCESS, TaskState.FAILED)
    assert (ti.state, ti.try_number, ti.reason) == (TaskState.SUCCESS, 2, None)
    shown = shared.reads.xcom("kept", ti.key.run_id, "t", "return_value")
    assert shown.value == {"at": [1, 2]}


CACHED = dedent(
    """
    import os, time
    from orchestrator.sdk import dag, task

    @dag(dag_id="cached")
    def build():
        @task(cache=3600)
        def t():
            return time.monotonic_ns()

        t()

    build()
    """
)


def test_a_second_run_takes_the_result_of_the_first(shared: Rig, worker: Worker) -> None:
    shared.add("cached.py", CACHED)
    first, second = shared.run("cached"), shared.run("cached")
    assert first.reason is None
    assert second.reason == f"result taken from the cache of run {first.key.run_id}, try 1"
    assert second.state is TaskState.SUCCESS
    one, other = (
        shared.reads.xcom("cached", ti.key.run_id, "t", "return_value").value
        for ti in (first, second)
    )
    assert one == other
    assert second.reason in " ".join(shared.events(second))
