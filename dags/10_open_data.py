"""10 The demo: three agencies' public data sets to a report a person would read.

    fetch (3) -> validate (3) -> choose -> weather (one task a year)     -> report
                                        -> earthquakes                   ->
                                        -> flights (one task a month)    ->
                                        -> quarantine

- `fetch.flights` loses its connection half way on the first try; the checksum finds it, and the
  retry gets the whole file.
- `choose` is a branch: each data set that is fit for use goes its own way, and `quarantine` is
  followed only when one is not. So something is always skipped, and the report's trigger rule
  `none_failed_min_one_success` is what lets it run all the same.
- The yearly and monthly tasks share the pool `open_data`, so at most two of them run at a time.
- Every result is an XCom; the report is put together from XComs alone.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from open_data import report as pages
from open_data import statistics
from open_data.sources import DATA_SETS, accepted, fetch, validate, working_folder

from orchestrator.sdk import DAG, Label, TaskGroup, TriggerRule, task

YEARS = (2012, 2013, 2014, 2015)
MONTHS = ("2001-01", "2001-02", "2001-03")

with DAG(
    dag_id="open_data",
    description="Weather, earthquakes and flights: fetch, validate, summarise by year, report.",
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=1), "owner": "data"},
    dagrun_timeout=timedelta(minutes=10),
    tags=["tutorial", "demo"],
):

    @task
    def fetch_file(name: str, *, run_id: str, try_number: int) -> str:
        broken = name == "flights" and try_number == 1
        path = fetch(DATA_SETS[name], working_folder(run_id), line_breaks=broken)
        print(f"{path.name}: {path.stat().st_size:,} bytes, checksum right")
        return str(path)

    @task
    def check(name: str, path: str) -> dict:
        checked = validate(DATA_SETS[name], Path(path))
        print(f"{name}: {checked['rows']:,} rows, {checked['rejected']:,} left out")
        return checked

    @task.branch
    def choose(checks: list[dict]) -> list[str]:
        """Follow the group of each data set that is fit, and quarantine if any is not."""
        chosen = [f"summarise.{check['data_set']}" for check in checks if check["fit"]]
        return chosen if len(chosen) == len(checks) else [*chosen, "quarantine"]

    @task
    def quarantine(checks: list[dict]) -> list[str]:
        return [check["path"] for check in checks if not check["fit"]]

    @task(pool="open_data")
    def year(checked: dict, number: int) -> dict:
        return statistics.weather_of_year(accepted(checked), number)

    @task
    def week(checked: dict) -> dict:
        return statistics.earthquakes_of_week(accepted(checked))

    @task(pool="open_data")
    def month(checked: dict, name: str) -> dict:
        return statistics.flights_of_month(accepted(checked), name)

    @task(trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS)
    def report(
        checks: list[dict],
        years: list[dict],
        quakes: dict | None,
        months: list[dict],
        *,
        run_id: str,
    ) -> str:
        sections = [pages.inputs(checks)]
        if any(years):
            sections.append(pages.weather([year for year in years if year]))
        if quakes:
            sections.append(pages.earthquakes(quakes))
        if any(months):
            sections.append(pages.flights([month for month in months if month]))
        path = working_folder(run_id) / "report.html"
        path.write_text(
            pages.page(
                "Weather, earthquakes and flights",
                f"Put together by the run {run_id} from public data.",
                sections,
                f"Made {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by the tutorial DAG open_data.",
            )
        )
        print(f"The report is at {path}")
        return str(path)

    with TaskGroup("fetch"):
        paths = {name: fetch_file.override(task_id=name)(name) for name in DATA_SETS}
    with TaskGroup("validate"):
        checked = {name: check.override(task_id=name)(name, paths[name]) for name in DATA_SETS}
    choice = choose(list(checked.values()))
    with TaskGroup("summarise"):
        with TaskGroup("weather") as weather:
            years = [year.override(task_id=f"y{y}")(checked["weather"], y) for y in YEARS]
        with TaskGroup("earthquakes") as earthquakes:
            quakes = week(checked["earthquakes"])
        with TaskGroup("flights") as flights:
            months = [month.override(task_id=f"m{m[5:]}")(checked["flights"], m) for m in MONTHS]
    for group in (weather, earthquakes, flights):
        choice >> Label("fit for use") >> group
    page = report(list(checked.values()), years, quakes, months)
    choice >> Label("not fit") >> quarantine(list(checked.values())) >> page
