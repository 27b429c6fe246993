"""15 Setup and teardown: what is put up before the work is taken down again, however it went.

A teardown runs once its setup succeeded and all work between them is done, failed or not; whether
it fails itself does not count for the run. Clearing a task clears its setup and teardown too.
"""

import shutil
from pathlib import Path
from tempfile import mkdtemp

from orchestrator.sdk import DAG, TriggerRule, setup, task, teardown

with DAG(
    dag_id="setup_and_teardown",
    description="A folder that is there for the work between, and gone afterwards.",
    tags=["tutorial"],
):

    @setup
    def make_folder() -> str:
        return mkdtemp(prefix="tutorial-")

    @teardown
    def remove_folder(folder: str) -> None:
        shutil.rmtree(folder)

    @task
    def write(folder: str, lines: int) -> str:
        path = Path(folder) / "lines.txt"
        path.write_text("".join(f"line {n}\n" for n in range(lines)))
        return str(path)

    @task
    def count(path: str) -> int:
        return len(Path(path).read_text().splitlines())

    @task
    def stumble(path: str) -> None:
        raise ValueError(f"{path} has no header")

    # Its upstream has failed: this makes up for it, so that no leaf of the DAG has failed.
    @task(trigger_rule=TriggerRule.ALL_DONE)
    def report(lines: int | None) -> str:
        return f"{lines} lines, and the folder goes in any case"

    folder = make_folder()
    with remove_folder(folder).as_teardown(setups=folder):
        path = write(folder, 3)
        stumble(path) >> report(count(path))
