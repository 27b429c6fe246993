"""14 Mapping: as many task instances as there is data, known only once the run is under way.

    shops -> till[shop] -> report                 expand, and the results collected by map index
    day[shop].receipt[receipt]                    a mapped group, and in it a task mapped again

`expand` makes an instance for each value (several arguments: for each combination), `partial` holds
what all of them share, `expand_kwargs` takes each one's arguments from a dict.
"""

from orchestrator.sdk import DAG, AirflowSkipException, BashOperator, task, task_group

SALES = {"north": [12, 30], "south": [7], "west": []}

with DAG(
    dag_id="mapping",
    description="expand, partial, expand_kwargs, zip, concat, map, mapped groups, nested mapping.",
    tags=["tutorial"],
):

    @task
    def shops() -> list[str]:
        return list(SALES)

    @task
    def rents() -> list[int]:
        return [5, 4, 3]

    @task(map_index_template="{{ task.op_kwargs['shop'] }}")
    def till(shop: str, currency: str) -> str:
        return f"{shop}: {sum(SALES[shop])} {currency}"

    @task
    def report(lines: list[str]) -> str:
        return "; ".join(lines)

    names = shops()
    report(till.partial(currency="EUR").expand(shop=names))

    # Operators map too. Each dict holds the arguments of one instance.
    BashOperator.partial(task_id="shout").expand_kwargs(
        [
            {"bash_command": "echo $WORD", "env": {"WORD": "open"}},
            {"bash_command": "exit 99", "env": {}},  # skips this one; the other goes on
        ]
    )

    # Pairs of two lists, changed on their way: nothing of this is a task of its own.
    def rent_of(pair: tuple[str, int]) -> str:
        shop, rent = pair
        if rent < 4:
            raise AirflowSkipException(f"the rent of {shop} is nothing to speak of")
        return f"{shop} pays {rent}"

    @task
    def note(text: str) -> str:
        return text

    note.expand(text=names.zip(rents()).map(rent_of))
    note.override(task_id="greet").expand(text=names.concat(["headquarters"]))

    # In a mapped group index i depends on index i. `receipt` is mapped over what the list of its
    # own shop gave, so its map indexes are paths: `(0, 1)` is the second receipt of the first shop.
    @task_group
    def day(shop: str) -> object:
        @task
        def receipts(name: str) -> list[int]:
            return SALES[name]

        @task
        def receipt(amount: int) -> int:
            return amount * 119 // 100

        # A shop without sales has no receipts: `receipt` is skipped there, and this runs anyway.
        @task(trigger_rule="none_failed")
        def closed(name: str, amounts: list[int]) -> str:
            return f"{name} took {sum(amounts)}"

        return closed(shop, receipt.expand(amount=receipts(shop)))

    report.override(task_id="evening")(day.expand(shop=names))
