"""Every DAG of the tutorial runs and ends as its text says, so the tutorial cannot rot."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree as ET

import pytest

from orchestrator.core.states import RunState, TaskState
from orchestrator.parsing.importer import import_dags
from orchestrator.testing import DagRunResult, run_dag

DAGS_FOLDER = Path(__file__).parents[2] / "dags"
FAILS_ON_PURPOSE = {"trigger_rules"}


def tutorial() -> dict[str, Path]:
    files = sorted(DAGS_FOLDER.glob("[0-9][0-9]_*.py"))
    return {
        dag.dag_id: file for file in files for dag in import_dags(file, dags_folder=DAGS_FOLDER)
    }


def run(dag_id: str, **arguments: object) -> DagRunResult:
    dags = import_dags(tutorial()[dag_id], dags_folder=DAGS_FOLDER)
    [dag] = [dag for dag in dags if dag.dag_id == dag_id]
    others = [other for other in dags if other is not dag]
    return run_dag(dag, other_dags=others, **arguments)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("dag_id", sorted(tutorial()))
def test_it_ends_as_it_says(dag_id: str) -> None:
    expected = RunState.FAILED if dag_id in FAILS_ON_PURPOSE else RunState.SUCCESS
    result = run(dag_id)
    assert result.state is expected, str(result)


def test_branching_takes_the_other_way_too() -> None:
    result = run("branching", conf={"amount": 5})
    assert result["large"].state is TaskState.SKIPPED
    assert result["small"].state is TaskState.SUCCESS
    nothing = run("branching", conf={"amount": 0})
    assert nothing["pay"].state is TaskState.SKIPPED
    assert nothing["archive"].state is TaskState.SUCCESS


def test_trigger_rules_shows_every_rule_as_documented() -> None:
    result = run("trigger_rules")
    ran = {slot.task_id for slot, ti in result.instances.items() if ti.state is TaskState.SUCCESS}
    assert ran - {"succeeds"} == {
        "all_done",
        "all_done_setup_success",
        "always",
        "one_done",
        "one_failed",
        "one_success",
    }


def test_the_demo_retries_skips_and_reports(data_folder: Path) -> None:
    result = run("open_data")
    assert result["fetch.flights"].tries == 2
    assert result["quarantine"].state is TaskState.SKIPPED
    assert result.xcom("summarise.weather.y2014")["rain"] == 1233
    assert result.xcom("summarise.earthquakes.week")["strongest"][0][0] == 6.4
    page = Path(result.xcom("report"))
    assert page.is_relative_to(data_folder)
    text = page.read_text()
    assert "2015 was the warmest of these years, 2014 the wettest." in text
    assert text.count("<svg") == 3
    for drawing in text.split("<svg")[1:]:
        ET.fromstring("<svg" + drawing.partition("</svg>")[0] + "</svg>")


def test_connections_and_variables_come_from_outside(data_folder: Path) -> None:
    assert run("connections_and_variables").xcom("wet_days") == 20
    own = f"sqlite:///{data_folder}/other.db"
    result = run(
        "connections_and_variables",
        variables={"tutorial_threshold": "50"},
        connections={"warehouse": own},
    )
    assert result.xcom("wet_days") == 3
    assert (data_folder / "other.db").exists()


def test_the_fan_out_counts_every_flight() -> None:
    result = run("flights_fan_out")
    airports = [slot for slot in result.instances if slot.task_id.startswith("airports.")]
    assert len(airports) == 220
    assert sum(result.xcoms[slot]["return_value"]["flights"] for slot in airports) == 20_000
    worst = result.xcom("rank")
    assert [summary["airport"] for summary in worst[:3]] == ["JFK", "SEA", "MIA"]


def test_mapping_shows_what_it_says() -> None:
    result = run("mapping")
    assert result.xcom("report") == "north: 42 EUR; south: 7 EUR; west: 0 EUR"
    assert [each.map_name for each in result.instances_of("till")] == ["north", "south", "west"]
    assert [each.state for each in result.instances_of("shout")] == ["success", "skipped"]
    assert [each.state for each in result.instances_of("note")] == ["success", "success", "skipped"]
    assert len(result.instances_of("greet")) == 4
    assert result["day.receipt", (0, 1)].state is TaskState.SUCCESS
    assert result.xcom("evening") == "north took 49; south took 8; west took 0"


def test_the_folder_is_gone_whatever_the_work_did() -> None:
    result = run("setup_and_teardown")
    assert result["stumble"].state is TaskState.FAILED
    assert result.xcom("report") == "3 lines, and the folder goes in any case"
    assert not Path(result.xcom("make_folder")).exists()


def test_the_shop_has_its_rolls() -> None:
    result = run("shop_opens", run_id="monday")
    assert result.xcom("take_the_key") == "in, out of -4 degrees"
    assert [(each.dag_id, each.run_id) for each in result.triggered] == [("bakery", "for_monday")]


def test_data_keeps_its_types_and_what_was_reached() -> None:
    result = run("data_between_tasks")
    assert result.xcom("remind") == "19.90 by 2026-03-15 by mail"
    assert (result.xcom("total"), result.xcom("last")) == (4, "row 099999")
    assert (result["long_way"].tries, result.xcom("long_way")) == (2, 5)


def test_a_function_in_another_python_sees_nothing_of_this_one() -> None:
    result = run("other_pythons")
    assert result.xcom("in_its_own_environment") == {"mean": 2, "is_isolated": True}
    assert (result["high"].state, result["low"].state) == ("success", "skipped")


def test_the_laundry_washes_twice_and_pays_with_the_second_token() -> None:
    result = run("laundry")
    assert result.xcom("whites.heat") == "full at 60 degrees"
    assert result.xcom("wools.heat") == "full at 30 degrees"
    assert result.xcom("pay.spend") == "paid with token 2"
    assert [result[f"pay.{each}"].tries for each in ("fetch_token", "spend")] == [2, 2]


def test_what_does_not_count_may_fail() -> None:
    assert run("how_a_run_ends")["tell_the_press"].state is TaskState.FAILED
    ended = run("fail_fast").states
    assert ended == {"check_licence": "failed", "never": "skipped", "expensive": "skipped"}


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        parts = {"metadatabase": {"status": "healthy"}, "scheduler": {"status": "healthy"}}
        self.send_response(200 if self.path == "/api/v2/monitor/health" else 404)
        self.end_headers()
        self.wfile.write(json.dumps(parts).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent's name
        """Say nothing."""


def test_http_asks_a_server_if_there_is_one() -> None:
    assert run("http").states == {"has_a_server": "success", "health": "skipped", "tell": "skipped"}
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        result = run("http", connections={"own_api": f"http://127.0.0.1:{server.server_port}"})
        server.shutdown()
    assert result.xcom("tell") == "asked after 2 parts"
