"""11 A wide fan-out: 20,000 flights split by airport, one task for each of 220, and one that ranks.

    split -> airports.ABE, airports.ABI, ... (220) -> rank

The list of airports is read while the file is imported, so the DAG is as wide as the data.
"""

import json
from pathlib import Path

from open_data import statistics
from open_data.sources import ARCHIVE, DATA_SETS, working_folder

from orchestrator.sdk import DAG, TaskGroup, task

FLIGHTS = DATA_SETS["flights"]
AIRPORTS = sorted({flight["origin"] for flight in json.loads((ARCHIVE / FLIGHTS.file).read_text())})

with DAG(
    dag_id="flights_fan_out",
    description="20,000 flights, 220 airports, 222 tasks.",
    doc_md=__doc__,
    max_active_tasks=64,
    tags=["tutorial", "demo"],
):

    @task
    def split(*, run_id: str) -> str:
        """Write one file for each airport, so that each task reads only its own flights."""
        folder = working_folder(run_id)
        rows = FLIGHTS.read(ARCHIVE / FLIGHTS.file)
        for airport in AIRPORTS:
            mine = [row for row in rows if row["origin"] == airport]
            (folder / f"{airport}.json").write_text(json.dumps(mine))
        return str(folder)

    @task
    def summarise(folder: str, airport: str) -> dict:
        rows = json.loads((Path(folder) / f"{airport}.json").read_text())
        return {"airport": airport, **statistics.delays_of_airport(rows)}

    @task
    def rank(summaries: list[dict]) -> list[dict]:
        """The ten airports with the longest mean delay, of those with at least 100 flights."""
        busy = [summary for summary in summaries if summary["flights"] >= 100]
        worst = sorted(busy, key=lambda summary: -summary["mean_delay"])[:10]
        for summary in worst:
            print(
                f"{summary['airport']}: {summary['mean_delay']:5.1f} min on average,"
                f" {summary['late_share']:.1f} % late, {summary['flights']} flights"
            )
        return worst

    folder = split()
    with TaskGroup("airports"):
        summaries = [summarise.override(task_id=code)(folder, code) for code in AIRPORTS]
    rank(summaries)
