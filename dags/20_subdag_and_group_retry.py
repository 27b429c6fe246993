"""20 A DAG within a DAG, and a group that is retried as a unit.

`SubDag` puts another DAG's tasks into this one, as a group: they take no slot of their own and
belong to the same run. `TaskGroup(retries=...)` is for tasks that make sense together only: when
one of them fails, all of them run again from the first.
"""

from datetime import timedelta

from orchestrator.sdk import DAG, Param, SubDag, TaskGroup, task

with DAG(
    dag_id="wash",
    description="Runs alone, and is part of laundry as well.",
    params={"degrees": Param(40, type="integer", maximum=95)},
    tags=["tutorial"],
) as wash:

    @task
    def fill() -> str:
        return "full"

    @task
    def heat(level: str, *, params: dict) -> str:
        return f"{level} at {params['degrees']} degrees"

    heat(fill())

with DAG(
    dag_id="laundry",
    description="SubDag twice with other params, and a group with retries.",
    tags=["tutorial"],
):
    whites = SubDag(wash, group_id="whites", params={"degrees": 60})
    wools = SubDag(wash, group_id="wools", params={"degrees": 30})

    # A token holds for one use: if spending it fails, another one has to be fetched.
    with TaskGroup("pay", retries=2, retry_delay=timedelta(seconds=1)) as pay:

        @task
        def fetch_token(*, try_number: int) -> int:
            return try_number

        @task
        def spend(token: int) -> str:
            if token == 1:
                raise ConnectionError("the machine has swallowed the token")
            return f"paid with token {token}"

        spend(fetch_token())

    @task
    def hang_up() -> str:
        return "dry by tomorrow"

    pay >> [whites, wools] >> hang_up()
