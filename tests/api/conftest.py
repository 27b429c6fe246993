"""A world with one story in it, and its API."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import airflow_client.client as airflow
import httpx
import pytest

from orchestrator.core.outcomes import Failed, Succeeded
from orchestrator.core.specs import CronSchedule, DagSpec, GroupSpec, ParamSpec, RetryPolicy
from orchestrator.core.views import RunView
from tests.api.world import World, open_world, serve
from tests.builders import a_dag, a_task
from tests.conftest import BOTH_DATABASES
from tests.conftest import _create_database as create_database
from tests.conftest import _drop_database as drop_database
from tests.conftest import _with_database as with_database
from tests.servers import RedisServer


@dataclass(frozen=True)
class Story:
    """A world, its API, and the run of `etl` that succeeded at its second try."""

    world: World
    url: str
    done: RunView
    waiting: RunView
    http: httpx.Client
    client: airflow.ApiClient


def etl() -> DagSpec:
    """extract -> transform (retries once) -> load, with a param, a schedule, tags and a pool."""
    return a_dag(
        a_task("extract", pool="slim", display_name="Extract it"),
        a_task(
            "transform",
            "extract",
            retry=RetryPolicy(retries=1, delay_s=0.0),
            execution_timeout_s=90.5,
            group_id="work",
        ),
        a_task("load", "transform", queue="gpu", template_fields={"path": "{{ ds }}"}),
        dag_id="etl",
        groups=(GroupSpec(group_id="work"),),
        description="Moves data",
        doc_md="# ETL",
        tags=("daily", 'with "quotes"'),
        owners=("ada", "grace"),
        dagrun_timeout_s=3600.0,
        params=(
            ParamSpec(
                name="size",
                has_default=True,
                default=5,
                schema={"type": "integer", "minimum": 1},
                description="How much",
            ),
        ),
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        max_active_runs=4,
    )


@pytest.fixture
def world(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[World]:
    with open_world(tmp_path / "home", database_url, redis_url) as world:
        yield world


@pytest.fixture
def story(world: World) -> Iterator[Story]:
    with told(world) as story:
        yield story


@pytest.fixture(scope="module", params=BOTH_DATABASES)
def shared_story(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
) -> Iterator[Story]:
    """One story for many questions: for tests that change nothing in it."""
    home = tmp_path_factory.mktemp("story")
    with (
        a_database(request, home) as database_url,
        open_world(home, database_url, redis_server.url) as world,
        told(world) as story,
    ):
        yield story


@contextmanager
def a_database(request: pytest.FixtureRequest, home: Path) -> Iterator[str]:
    """Copy the migrated template of one kind of database."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copy(template, home / "shared.db")
        yield f"sqlite:///{home / 'shared.db'}"
        return
    server: str = request.getfixturevalue("postgres_server")
    name = create_database(server, template=request.getfixturevalue("postgres_template"))
    yield with_database(server, name)
    drop_database(server, name)


@contextmanager
def told(world: World) -> Iterator[Story]:
    """Tell the story, then serve it."""
    world.control.create_pool("slim", slots=3, description="few at a time")
    world.start_worker("default", "gpu")
    world.add(etl(), source="with DAG('etl'): ...\n")
    world.add(
        a_dag(
            dag_id="nightly",
            schedule=CronSchedule(expression="0 3 * * *"),
            params=(ParamSpec(name="note", has_default=True, default=None),),
        )
    )
    world.add(
        a_dag(dag_id="choosy", params=(ParamSpec(name="who", has_default=False),), tags=("daily",))
    )
    done = world.trigger("etl", run_id="first", conf={"size": 7}, note="for Bob")
    world.schedule()
    (extract,) = world.start_tasks()
    world.log(extract, '{"timestamp": "2026-03-01T12:00:00Z", "level": "info", "event": "hello"}\n')
    world.end(extract, Succeeded(xcoms={"return_value": {"rows": [1, 2.5, None, "ü"]}, "k/2": 1}))
    world.schedule()
    (transform,) = world.start_tasks()
    world.log(transform, "plain text\n")
    world.end(transform, Failed(reason="ValueError: no"))
    world.finish()
    waiting = world.trigger("etl", run_id="second", logical_date=datetime(2026, 2, 1, tzinfo=UTC))
    world.schedule()
    world.store.catalog.record_import_error(
        "broken.py", kind="syntax", message="line 3: invalid syntax", stacktrace="Traceback ..."
    )
    with serve(world) as url:
        configuration = airflow.Configuration(host=url, access_token="ignored")
        with (
            airflow.ApiClient(configuration) as client,
            httpx.Client(base_url=f"{url}/api/v2", timeout=30) as http,
        ):
            yield Story(world, url, done, waiting, http, client)
