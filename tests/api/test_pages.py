"""The pages show what there is, run no script, and say what the API offers."""

from pathlib import Path

import httpx
import pytest

from api.app import create_app
from tests.api.conftest import Story
from tests.api.world import serve_app
from tests.builders import a_dag


def test_the_overview_shows_dags_runs_and_broken_files(story: Story) -> None:
    page = httpx.get(story.url)

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for expected in ("etl", "nightly", "0 3 * * *", "first", "success", "broken.py", "line 3"):
        assert expected in page.text
    assert httpx.get(f"{story.url}/style.css").headers["content-type"].startswith("text/css")


def test_stored_text_stays_text(story: Story) -> None:
    attack = "<script>alert(1)</script>"
    story.world.store.catalog.record_import_error(
        f"{attack}.py", kind="syntax", message=f'"{attack}', stacktrace=""
    )
    story.world.add(a_dag(dag_id="x", schedule=None, description=attack), path=f"{attack}2")

    assert attack not in httpx.get(story.url).text
    assert "&lt;script&gt;" in httpx.get(story.url).text


def test_the_api_describes_itself(shared_story: Story) -> None:
    page = httpx.get(f"{shared_story.url}/docs")
    schema = httpx.get(f"{shared_story.url}/openapi.json").json()

    assert "<script" not in page.text
    operations = {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
    assert operations["trigger_dag_run"] == "POST /api/v2/dags/{dag_id}/dagRuns"
    assert all(line in page.text for line in operations.values())
    assert all(
        operation["tags"] for methods in schema["paths"].values() for operation in methods.values()
    )


def test_the_client_knows_every_operation_served(shared_story: Story) -> None:
    import airflow_client.client as airflow

    known = {
        name
        for api in vars(airflow).values()
        if isinstance(api, type) and api.__name__.endswith("Api")
        for name in vars(api)
    }
    schema = create_app(shared_story.world.services).openapi()

    for methods in schema["paths"].values():
        for operation in methods.values():
            assert operation["operationId"] in known


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json, application/x-ndjson", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
    ],
)
def test_logs_are_ndjson_only_when_asked_for(
    shared_story: Story, accept: str | None, kind: str
) -> None:
    headers = {} if accept is None else {"Accept": accept}

    answer = shared_story.http.get(
        "/dags/etl/dagRuns/first/taskInstances/extract/logs/1", headers=headers
    )

    assert answer.headers["content-type"].partition(";")[0] == kind
    if kind == "application/x-ndjson":
        lines = [httpx.Response(200, text=line).json() for line in answer.text.splitlines()]
        assert [line["event"] for line in lines][1] == "hello"


def test_source_as_text(shared_story: Story) -> None:
    answer = shared_story.http.get("/dagSources/etl", headers={"Accept": "text/plain"})

    assert answer.text == "with DAG('etl'): ...\n"


def test_an_application_of_the_environment_closes_what_it_opened(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path))
    monkeypatch.setenv("ORCHESTRATOR_REDIS_URL", redis_url)
    app = create_app()

    with serve_app(app) as url, httpx.Client(base_url=url) as http:
        assert http.get("/api/v2/dags").json() == {"dags": [], "total_entries": 0}
        assert http.get("/api/v2/monitor/health").json()["broker"] == {"status": "healthy"}

    assert app.state.services.store.database.engine.pool.checkedin() == 0


def test_health_says_when_the_store_is_gone(story: Story) -> None:
    database = story.world.store.database
    with database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE worker RENAME TO gone")

    health = story.http.get("/monitor/health")

    assert health.status_code == 200
    assert health.json()["metadatabase"] == {"status": "unhealthy"}
    refused = story.http.get("/dags/etl/dagRuns/first/taskInstances")
    assert refused.status_code == 503
    assert "orchestrator db migrate" in refused.json()["detail"]
