"""01 Hello: three Python functions; an argument is a dependency, a return value an XCom."""

from orchestrator.sdk import dag, task


@dag(tags=["tutorial"], description="The smallest useful DAG: extract, transform, load.")
def hello():
    @task
    def extract() -> list[int]:
        return [3, 1, 2]

    @task
    def transform(numbers: list[int]) -> dict:
        return {"sorted": sorted(numbers), "sum": sum(numbers)}

    @task
    def load(result: dict) -> None:
        print(f"{result['sorted']} add up to {result['sum']}")

    load(transform(extract()))


hello()
