"""09 An operator of your own: subclass BaseOperator, name its templated fields, return an XCom."""

from collections import Counter
from pathlib import Path

from orchestrator.sdk import DAG, BaseOperator, task


class CountValues(BaseOperator):
    """Count how often each value of a CSV column occurs."""

    template_fields = ("path", "column")

    def __init__(self, *, path: str, column: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.column = column

    def execute(self, context) -> dict[str, int]:
        print(f"counting {self.column!r} for {context['run_id']}")
        header, *rows = (line.split(",") for line in Path(self.path).read_text().splitlines())
        index = header.index(self.column)
        return dict(Counter(row[index] for row in rows).most_common())


with DAG(
    dag_id="own_operator",
    description="A custom operator over the NOAA weather file.",
    params={"column": "weather"},
    tags=["tutorial"],
):
    count = CountValues(
        task_id="count",
        path=str(Path(__file__).parent / "data" / "seattle-weather.csv"),
        column="{{ params.column }}",
    )

    @task
    def show(counts: dict[str, int]) -> str:
        for value, number in counts.items():
            print(f"{number:5} {value}")
        return next(iter(counts))

    show(count.output)
