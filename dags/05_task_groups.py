"""05 Task groups: structure for the eye, and one dependency for many tasks.

The tasks of a group are named `group.task`; `group_a >> group_b` links the last tasks of the one
to the first of the other.
"""

from orchestrator.sdk import DAG, TaskGroup, chain, task

REGIONS = ("north", "south", "west")

with DAG(
    dag_id="task_groups",
    description="Groups in a loop, a group within a group, chain.",
    tags=["tutorial"],
):

    @task
    def start() -> str:
        return "go"

    @task
    def total(*counts: int) -> int:
        return sum(counts)

    begin = start()
    counts = []
    with TaskGroup("regions", tooltip="One group for each region"):
        for region in REGIONS:
            with TaskGroup(region) as one_region:

                @task
                def collect(name: str) -> list[str]:
                    return [f"{name}-{n}" for n in range(len(name))]

                @task
                def count(rows: list[str]) -> int:
                    return len(rows)

                counts.append(count(collect(region)))
            begin >> one_region

    @task
    def report(result: int) -> None:
        print(f"{result} rows from {len(REGIONS)} regions")

    chain(total(*counts), report("{{ ti.xcom_pull('total') }}"))
