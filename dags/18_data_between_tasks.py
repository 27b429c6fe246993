"""18 Data between tasks: values keep their types, large ones move aside, some are remembered.

Return a dataclass, a Decimal, a set or a date and the next task gets one. A value of many megabytes
lies in parts beside its row. `task_state` keeps what a try has reached for the next one, and a task
with `cache` takes an earlier result of the same code and arguments instead of running.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from orchestrator.sdk import DAG, task


@dataclass
class Invoice:
    number: int
    due: date
    amount: Decimal
    tags: set[str] = field(default_factory=set)


with DAG(
    dag_id="data_between_tasks",
    description="Typed XComs, keys, a large value, task state over tries, a cached result.",
    tags=["tutorial"],
):

    @task
    def write_invoice() -> Invoice:
        return Invoice(7, date(2026, 3, 1), Decimal("19.90"), {"new", "paper"})

    @task
    def remind(invoice: Invoice) -> str:
        later = invoice.due + timedelta(days=14)
        return f"{invoice.amount:.2f} by {later}" + (" by mail" if "paper" in invoice.tags else "")

    remind(write_invoice())

    # Each key is an XCom of its own, and can be passed on alone.
    @task(multiple_outputs=True)
    def split() -> dict[str, list[int]]:
        return {"even": [0, 2, 4], "odd": [1, 3]}

    @task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    total(split()["odd"])

    @task
    def large() -> list[str]:
        return [f"row {n:06}" for n in range(100_000)]

    @task
    def last(rows: list[str]) -> str:
        return rows[-1]

    last(large())

    # The first try gets half of the way; the second goes on from there.
    @task(retries=1, retry_delay=timedelta(seconds=1))
    def long_way(*, task_state) -> int:
        begin = task_state.get("done", 0)
        for step in range(begin, 10):
            if step == 5 and begin == 0:
                raise ConnectionError("the line went dead after 5 of 10")
            task_state.set("done", step + 1)
        return begin

    long_way()

    # Run this DAG twice within the hour: the second time it says "from the cache of ...".
    @task(cache=timedelta(hours=1))
    def slow_sum(upto: int) -> int:
        return sum(range(upto))

    slow_sum(1_000_000)
