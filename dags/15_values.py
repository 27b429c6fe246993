"""Values between tasks keep their types; a large one costs nothing extra; some need not be computed
twice.

Datetimes, Decimals, sets, dataclasses, pydantic models, numpy and pandas arrive at the next task as
they were pushed, and the page shows them as plain JSON. Above 48 KiB they are stored beside the
list of XComs, in parts. `task_state` outlives a retry, and `cache=` takes the result of an earlier
run of the same code with the same arguments.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from orchestrator.sdk import DAG, task


@dataclass(frozen=True)
class Invoice:
    number: int
    due: date
    amount: Decimal


with DAG(
    "values",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    schedule=None,
    doc_md=__doc__,
    tags=["tutorial"],
):

    @task(cache=timedelta(hours=1))
    def rates() -> dict[str, Decimal]:
        print("asking for the rates of the day: once an hour is enough")
        return {"EUR": Decimal("1.09"), "USD": Decimal(1)}

    @task
    def invoices() -> list[Invoice]:
        first = date(2024, 1, 31)
        return [
            Invoice(number, first + timedelta(days=number), Decimal(number * 5) / 4)
            for number in range(2_000)
        ]

    @task(retries=2, retry_delay=timedelta(0))
    def pay(invoices: list[Invoice], rates: dict[str, Decimal], task_state=None) -> Decimal:
        paid, total = task_state.get("progress", (0, Decimal(0)))
        for invoice in invoices[paid:]:
            total += invoice.amount * rates["EUR"]
            if invoice.number == 999 and paid == 0:
                task_state.set("progress", (1_000, total))
                raise ConnectionError("the bank hung up; the next try goes on from here")
        return total

    pay(invoices(), rates())
