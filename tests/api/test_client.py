"""Airflow's own generated client, unmodified, drives every operation served."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import airflow_client.client as airflow
import pytest
from airflow_client.client.exceptions import ApiException, ConflictException, NotFoundException

from tests.api.conftest import Story


@pytest.fixture
def client(shared_story: Story) -> airflow.ApiClient:
    return shared_story.client


def test_health_and_version(story: Story) -> None:
    health = airflow.MonitorApi(story.client).get_health()
    assert health.metadatabase.status == "healthy"
    assert health.scheduler.status == "unhealthy"  # a pass by hand is no heartbeat
    assert health.triggerer.status is None

    story.world.store.scheduler.register_scheduler("s1", lease_s=60)
    health = airflow.MonitorApi(story.client).get_health()
    assert health.scheduler.status == "healthy"
    heard = datetime.fromisoformat(str(health.scheduler.latest_scheduler_heartbeat))
    assert datetime.now(UTC) - heard < timedelta(minutes=5)

    version = airflow.VersionApi(story.client).get_version()
    assert (version.version, version.git_version) == ("3.3.2", "orchestrator 0.1.0")


def test_dags(client: airflow.ApiClient) -> None:
    api = airflow.DAGApi(client)

    listed = api.get_dags()
    assert ([dag.dag_id for dag in listed.dags], listed.total_entries) == (
        ["choosy", "etl", "nightly"],
        3,
    )
    page = api.get_dags(limit=1, offset=1, order_by=["-dag_id"])
    assert ([dag.dag_id for dag in page.dags], page.total_entries) == (["etl"], 3)

    dag = api.get_dag("etl")
    assert (dag.dag_display_name, dag.description, dag.owners) == (
        "etl",
        "Moves data",
        ["ada", "grace"],
    )
    assert [tag.name for tag in dag.tags] == ["daily", 'with "quotes"']
    assert (dag.relative_fileloc, dag.is_paused, dag.is_stale) == ("etl.py", False, False)
    assert (dag.timetable_summary, dag.timetable_periodic) == (None, False)
    assert api.get_dag("nightly").timetable_summary == "0 3 * * *"
    assert api.get_dag("nightly").next_dagrun_run_after is not None

    details = api.get_dag_details("etl")
    assert details.params is not None
    assert details.params["size"]["value"] == 5
    assert details.params["size"]["schema"] == {"type": "integer", "minimum": 1}
    assert (details.dag_run_timeout, details.doc_md) == ("PT1H", "# ETL")
    assert (details.active_runs_count, details.concurrency) == (1, 16)
    assert details.latest_dag_version is not None
    assert details.latest_dag_version.version_number == 1


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"tags": ["daily"]}, ["choosy", "etl"]),
        ({"tags": ["dail"]}, []),
        ({"tags": ['with "quotes"', "other"]}, ["etl"]),
        ({"tags": ["daily", 'with "quotes"'], "tags_match_mode": "all"}, ["etl"]),
        ({"owners": ["grace"]}, ["etl"]),
        ({"dag_id_pattern": "T"}, ["etl", "nightly"]),
        ({"dag_id_pattern": "cho%y | etl"}, ["choosy", "etl"]),
        ({"dag_id_pattern": "~"}, ["choosy", "etl", "nightly"]),
        ({"dag_id_prefix_pattern": "E"}, []),
        ({"dag_id_prefix_pattern": "e"}, ["etl"]),
        ({"dag_display_name_pattern": "NIGHT"}, ["nightly"]),
        ({"paused": True}, []),
        ({"has_import_errors": True}, []),
        ({"exclude_stale": False}, ["choosy", "etl", "nightly"]),
        ({"last_dag_run_state": airflow.DagRunState.RUNNING}, []),
        ({"last_dag_run_state": airflow.DagRunState.SUCCESS}, ["etl"]),
    ],
)
def test_dag_filters(shared_story: Story, filters: dict[str, Any], found: list[str]) -> None:
    listed = airflow.DAGApi(shared_story.client).get_dags(**filters)

    assert [dag.dag_id for dag in listed.dags] == found


def test_pause_and_unpause(story: Story) -> None:
    api = airflow.DAGApi(story.client)

    assert api.patch_dag("etl", airflow.DAGPatchBody(is_paused=True)).is_paused
    assert [dag.dag_id for dag in api.get_dags(paused=True).dags] == ["etl"]
    body = airflow.DAGPatchBody(is_paused=False)
    assert not api.patch_dag("etl", body, update_mask=["is_paused"]).is_paused


def test_tags_versions_sources_and_tasks(client: airflow.ApiClient) -> None:
    tags = airflow.DAGApi(client).get_dag_tags()
    assert (tags.tags, tags.total_entries) == (["daily", 'with "quotes"'], 2)
    assert airflow.DAGApi(client).get_dag_tags(tag_name_pattern="dai").tags == ["daily"]

    versions = airflow.DagVersionApi(client)
    listed = versions.get_dag_versions("etl")
    assert [version.version_number for version in listed.dag_versions] == [1]
    assert versions.get_dag_version("etl", 1).id == listed.dag_versions[0].id
    assert versions.get_dag_versions("~").total_entries == 3

    source = airflow.DagSourceApi(client).get_dag_source("etl", accept="application/json")
    assert source.content == "with DAG('etl'): ...\n"

    api = airflow.TaskApi(client)
    tasks = api.get_tasks("etl")
    assert [task.task_id for task in tasks.tasks] == ["extract", "load", "transform"]
    assert [task.task_id for task in api.get_tasks("etl", order_by="-task_id").tasks] == [
        "transform",
        "load",
        "extract",
    ]
    task = api.get_task("etl", "transform")
    assert (task.downstream_task_ids, task.retries, task.operator_name) == (
        ["load"],
        1,
        "PythonOperator",
    )
    assert task.execution_timeout is not None
    assert (task.execution_timeout.seconds, task.execution_timeout.microseconds) == (90, 500_000)
    assert api.get_task("etl", "extract").task_display_name == "Extract it"


def test_runs(shared_story: Story) -> None:
    api = airflow.DagRunApi(shared_story.client)

    run = api.get_dag_run("etl", "first")
    assert (run.state, run.run_type, run.conf, run.note) == (
        "success",
        "manual",
        {"size": 7},
        "for Bob",
    )
    assert (run.triggered_by, run.triggering_user_name) == ("test", "ada")
    assert run.duration is not None
    assert run.dag_versions[0].version_number == 1

    listed = api.get_dag_runs("etl")
    assert listed.total_entries == 2
    assert {run.dag_run_id for run in listed.dag_runs} == {"first", "second"}
    everywhere = api.get_dag_runs("~", order_by=["-id"])
    assert [run.dag_run_id for run in everywhere.dag_runs] == ["second", "first"]


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_OFF = datetime(2090, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"state": ["success"]}, {"first"}),
        ({"state": ["running", "queued"]}, {"second"}),
        ({"state": ["failed"]}, set()),
        ({"run_type": ["manual"]}, {"first", "second"}),
        ({"run_type": ["scheduled"]}, set()),
        ({"logical_date_gte": datetime(2026, 2, 1, tzinfo=UTC)}, {"second"}),
        ({"logical_date_gt": datetime(2026, 2, 1, tzinfo=UTC)}, set()),
        ({"logical_date_lt": datetime(2026, 2, 1, 1, tzinfo=UTC)}, {"second"}),
        ({"run_after_lte": datetime(2026, 2, 1, tzinfo=UTC)}, {"second"}),
        ({"start_date_gte": LONG_AGO}, {"first", "second"}),
        ({"start_date_lt": LONG_AGO}, set()),
        ({"end_date_gte": FAR_OFF}, {"second"}),  # it may still end then
        ({"end_date_lte": FAR_OFF}, {"first", "second"}),
        ({"end_date_lte": LONG_AGO}, set()),
        ({"duration_gte": 0.0}, {"first"}),
        ({"duration_gt": 1e9}, set()),
        ({"run_id_pattern": "IRS"}, {"first"}),
        ({"run_id_prefix_pattern": "se"}, {"second"}),
        ({"dag_id_pattern": "nightly"}, set()),
        ({"triggering_user_name_pattern": "ADA"}, {"first", "second"}),
        ({"conf_contains": '"size":7'}, {"first"}),
        ({"dag_version": [1]}, {"first", "second"}),
        ({"dag_version": [2]}, set()),
    ],
)
def test_run_filters(shared_story: Story, filters: dict[str, Any], found: set[str]) -> None:
    listed = airflow.DagRunApi(shared_story.client).get_dag_runs("etl", **filters)

    assert {run.dag_run_id for run in listed.dag_runs} == found
    assert listed.total_entries == len(found)


def test_trigger(story: Story) -> None:
    api = airflow.DagRunApi(story.client)

    run = api.trigger_dag_run("etl", airflow.TriggerDAGRunPostBody(conf={"size": 1}))
    assert (run.state, run.triggered_by, run.conf) == ("queued", "rest_api", {"size": 1})
    assert run.dag_run_id == f"manual__{run.run_after.isoformat()}"
    assert run.logical_date is None

    moment = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    named = api.trigger_dag_run(
        "etl", airflow.TriggerDAGRunPostBody(dag_run_id="mine", logical_date=moment, note="n")
    )
    assert (named.dag_run_id, named.logical_date, named.run_after) == ("mine", moment, moment)
    assert (named.data_interval_start, named.note) == (moment, "n")

    story.world.schedule()
    assert api.get_dag_run("etl", "mine").state == "running"


def test_two_runs_with_one_name_or_date(story: Story) -> None:
    api = airflow.DagRunApi(story.client)

    with pytest.raises(ConflictException) as by_id:
        api.trigger_dag_run("etl", airflow.TriggerDAGRunPostBody(dag_run_id="first"))
    assert "has a run 'first' already" in str(by_id.value.body)

    with pytest.raises(ConflictException) as by_date:
        api.trigger_dag_run(
            "etl", airflow.TriggerDAGRunPostBody(logical_date=datetime(2026, 2, 1, tzinfo=UTC))
        )
    assert "logical date 2026-02-01T00:00:00+00:00" in str(by_date.value.body)


def test_a_paused_dag_can_be_triggered(story: Story) -> None:
    api = airflow.DagRunApi(story.client)
    story.world.control.pause("etl")

    run = api.trigger_dag_run("etl", airflow.TriggerDAGRunPostBody(dag_run_id="later"))
    story.world.schedule()
    assert api.get_dag_run("etl", run.dag_run_id).state == "queued"

    story.world.control.unpause("etl")
    story.world.schedule()
    assert api.get_dag_run("etl", run.dag_run_id).state == "running"


def test_task_instances(shared_story: Story) -> None:
    api = airflow.TaskInstanceApi(shared_story.client)

    listed = api.get_task_instances("etl", "first")
    assert [(ti.task_id, ti.state, ti.try_number) for ti in listed.task_instances] == [
        ("extract", "success", 1),
        ("load", "success", 1),
        ("transform", "success", 2),
    ]
    ti = api.get_task_instance("etl", "first", "extract")
    assert (ti.hostname, ti.pid, ti.pool, ti.queue) == ("host-1", 78, "slim", "default")
    assert (ti.map_index, ti.max_tries, ti.executor_config) == (-1, 0, "{}")
    assert (ti.task_display_name, ti.operator) == ("Extract it", "PythonOperator")
    assert ti.duration is not None
    assert api.get_mapped_task_instance("etl", "first", "extract", -1).id == ti.id
    assert api.get_task_instance("etl", "first", "load").queue == "gpu"
    assert api.get_task_instance("etl", "second", "transform").state is None

    everywhere = api.get_task_instances("~", "~")
    assert everywhere.total_entries == 6
    assert api.get_task_instances("etl", "~").total_entries == 6


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"state": ["success"]}, {"extract", "load", "transform"}),
        ({"state": ["none"]}, set()),
        ({"task_id": "load"}, {"load"}),
        ({"pool": ["slim"]}, {"extract"}),
        ({"pool_name_pattern": "SLI"}, {"extract"}),
        ({"queue": ["gpu"]}, {"load"}),
        ({"queue_name_prefix_pattern": "def"}, {"extract", "transform"}),
        ({"operator": ["PythonOperator"]}, {"extract", "load", "transform"}),
        ({"try_number": [2]}, {"transform"}),
        ({"map_index": [0]}, set()),
        ({"task_group_id": "work"}, {"transform"}),
        ({"version_number": [1]}, {"extract", "load", "transform"}),
        ({"duration_gte": 0.0}, {"extract", "load", "transform"}),
        ({"start_date_lt": LONG_AGO}, set()),
    ],
)
def test_task_instance_filters(
    shared_story: Story, filters: dict[str, Any], found: set[str]
) -> None:
    listed = airflow.TaskInstanceApi(shared_story.client).get_task_instances(
        "etl", "first", **filters
    )

    assert {ti.task_id for ti in listed.task_instances} == found


def test_tries(shared_story: Story) -> None:
    api = airflow.TaskInstanceApi(shared_story.client)

    tries = api.get_task_instance_tries("etl", "first", "transform")
    assert [(one.try_number, one.state) for one in tries.task_instances] == [
        (1, "up_for_retry"),
        (2, "success"),
    ]
    assert tries.total_entries == 2
    one = api.get_task_instance_try_details("etl", "first", "transform", 1)
    assert (one.state, one.hostname) == ("up_for_retry", "host-1")
    same = api.get_mapped_task_instance_tries("etl", "first", "transform", -1)
    assert same.total_entries == 2
    with pytest.raises(NotFoundException, match="has no try 3"):
        api.get_task_instance_try_details("etl", "first", "transform", 3)


def test_dependencies_say_what_it_waits_for(shared_story: Story) -> None:
    api = airflow.TaskInstanceApi(shared_story.client)

    waits = api.get_task_instance_dependencies("etl", "second", "load")
    assert "No scheduler is alive" in waits.dependencies[0].reason
    assert "It waits for upstream transform (none)" in waits.dependencies[1].reason


def lines(log: airflow.TaskInstancesLogResponse) -> list[airflow.StructuredLogMessage]:
    content = log.content.actual_instance
    assert content is not None
    assert all(isinstance(line, airflow.StructuredLogMessage) for line in content)
    return cast(list[airflow.StructuredLogMessage], content)


def events(log: airflow.TaskInstancesLogResponse) -> list[str]:
    return [line.event for line in lines(log)]


def value(entry: airflow.ResponseGetXcomEntry) -> Any:
    assert entry.actual_instance is not None
    return entry.actual_instance.value


def test_logs(shared_story: Story) -> None:
    api = airflow.TaskInstanceApi(shared_story.client)

    log = api.get_log("etl", "first", "extract", 1)
    started, hello, finished = lines(log)
    assert started.event == "try 1 started on worker host-1-abc (host-1, pid 78)"
    assert (hello.event, hello.timestamp) == ("hello", datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert finished.event.startswith("finished: success after ")
    assert log.continuation_token is None

    failed = api.get_log("etl", "first", "transform", 1)
    assert events(failed)[1] == "plain text"
    assert events(failed)[2].endswith("to be retried: ValueError: no")


def test_a_log_is_followed_while_its_task_runs(story: Story) -> None:
    api = airflow.TaskInstanceApi(story.client)
    (running,) = story.world.start_tasks()

    first = api.get_log("etl", "second", "extract", 1)
    assert len(events(first)) == 1
    story.world.log(running, '{"event": "one"}\n{"event": "tw')
    second = api.get_log("etl", "second", "extract", 1, token=first.continuation_token)
    assert events(second) == ["one"]
    story.world.log(running, 'o"}\nno line end', offset=len('{"event": "one"}\n{"event": "tw'))
    third = api.get_log("etl", "second", "extract", 1, token=second.continuation_token)
    assert events(third) == ["two"]
    story.world.end(running)
    last = api.get_log("etl", "second", "extract", 1, token=third.continuation_token)
    assert events(last)[0] == "no line end"
    assert (len(events(last)), last.continuation_token) == (2, None)

    whole = api.get_log("etl", "second", "extract", 1, full_content=True)
    assert events(whole)[1:-1] == ["one", "two", "no line end"]
    assert whole.continuation_token is None


def test_xcoms(shared_story: Story) -> None:
    api = airflow.XComApi(shared_story.client)

    listed = api.get_xcom_entries("etl", "first", "extract")
    assert [entry.key for entry in listed.xcom_entries] == ["k/2", "return_value"]
    native = api.get_xcom_entry("etl", "extract", "first", "return_value")
    assert value(native) == {"rows": [1, 2.5, None, "ü"]}
    text = api.get_xcom_entry("etl", "extract", "first", "return_value", stringify=True)
    assert value(text) == '{"rows": [1, 2.5, null, "ü"]}'
    assert value(api.get_xcom_entry("etl", "extract", "first", "k/2")) == 1
    assert api.get_xcom_entries("~", "~", "~").total_entries == 2
    assert api.get_xcom_entries("etl", "first", "~", xcom_key="k/2").total_entries == 1
    with pytest.raises(NotFoundException, match="did you mean 'return_value'"):
        api.get_xcom_entry("etl", "extract", "first", "return_valu")


def test_import_errors_and_warnings(story: Story) -> None:
    api = airflow.ImportErrorApi(story.client)

    listed = api.get_import_errors()
    assert [error.filename for error in listed.import_errors] == ["broken.py"]
    error = api.get_import_error(listed.import_errors[0].import_error_id)
    assert error.stack_trace == "Traceback ..."
    assert api.get_import_errors(filename_pattern="other").total_entries == 0
    assert api.get_import_errors(filename="broken.py").total_entries == 1

    story.world.store.catalog.record_warnings("etl", {"runtime-varying": "a timestamp"})
    warnings = airflow.DagWarningApi(story.client).list_dag_warnings(dag_id="etl")
    assert [warning.message for warning in warnings.dag_warnings] == ["a timestamp"]


def test_pools(story: Story) -> None:
    api = airflow.PoolApi(story.client)

    names = [pool.name for pool in api.get_pools().pools]
    assert names == ["default_pool", "slim"]
    slim = api.get_pool("slim")
    assert (slim.slots, slim.queued_slots, slim.open_slots) == (3, 1, 2)

    made = api.post_pool(airflow.PoolBody(name="wide", slots=-1, description="no limit"))
    assert (made.name, made.slots, made.open_slots) == ("wide", -1, -1)
    with pytest.raises(ConflictException, match="pool 'wide' exists already"):
        api.post_pool(airflow.PoolBody(name="wide", slots=1))

    patched = api.patch_pool("wide", airflow.PoolPatchBody(slots=5))
    assert (patched.slots, patched.description) == (5, "no limit")
    masked = api.patch_pool(
        "wide", airflow.PoolPatchBody(pool="wide", slots=9, description="d"), update_mask=["slots"]
    )
    assert (masked.slots, masked.description) == (9, "no limit")


@pytest.mark.parametrize(
    "call",
    [
        lambda c: airflow.DAGApi(c).get_dag("etk"),
        lambda c: airflow.DAGApi(c).get_dag_details("etk"),
        lambda c: airflow.DAGApi(c).patch_dag("etk", airflow.DAGPatchBody(is_paused=True)),
        lambda c: airflow.TaskApi(c).get_tasks("etk"),
        lambda c: airflow.TaskApi(c).get_task("etl", "lod"),
        lambda c: airflow.DagVersionApi(c).get_dag_version("etl", 9),
        lambda c: airflow.DagSourceApi(c).get_dag_source("etk", accept="application/json"),
        lambda c: airflow.DagRunApi(c).get_dag_runs("etk"),
        lambda c: airflow.DagRunApi(c).get_dag_run("etl", "third"),
        lambda c: airflow.DagRunApi(c).trigger_dag_run("etk", airflow.TriggerDAGRunPostBody()),
        lambda c: airflow.TaskInstanceApi(c).get_task_instances("etl", "third"),
        lambda c: airflow.TaskInstanceApi(c).get_task_instance("etl", "first", "lod"),
        lambda c: airflow.TaskInstanceApi(c).get_mapped_task_instance("etl", "first", "load", 3),
        lambda c: airflow.TaskInstanceApi(c).get_mapped_task_instances("etl", "first", "load"),
        lambda c: airflow.TaskInstanceApi(c).get_log("etl", "first", "load", 2),
        lambda c: airflow.TaskInstanceApi(c).get_log("etl", "second", "load", 1),
        lambda c: airflow.XComApi(c).get_xcom_entry("etl", "load", "first", "k"),
        lambda c: airflow.ImportErrorApi(c).get_import_error(4711),
        lambda c: airflow.PoolApi(c).get_pool("slin"),
        lambda c: airflow.PoolApi(c).patch_pool("slin", airflow.PoolPatchBody(slots=1)),
    ],
)
def test_what_does_not_exist_is_404(
    shared_story: Story, call: Callable[[airflow.ApiClient], Any]
) -> None:
    with pytest.raises(NotFoundException) as raised:
        call(shared_story.client)

    assert '"detail"' in str(raised.value.body)


def test_paging_by_cursor_meets_every_run_once(story: Story) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    for day in range(7):
        story.world.trigger("nightly", run_id=f"r{day}", logical_date=start + timedelta(days=day))
    api = airflow.DagRunApi(story.client)

    for order in ("run_after", "-run_after", "-logical_date", "start_date", "state"):
        pages = follow(api, order, "next_cursor", "")
        everything = [run_id for page in pages for run_id in page]
        assert sorted(everything) == ["first", *(f"r{day}" for day in range(7)), "second"]
        assert [len(page) for page in pages] == [2, 2, 2, 2, 1]
        by_offset = api.get_dag_runs("~", limit=100, order_by=[order])
        assert [run.dag_run_id for run in by_offset.dag_runs] == everything

        last = api.get_dag_runs("~", cursor=cursor_of(api, order), limit=2, order_by=[order])
        assert last.next_cursor is None
        assert last.previous_cursor is not None
        backward = follow(api, order, "previous_cursor", last.previous_cursor)
        assert backward[::-1] == pages[:-1]


def follow(api: airflow.DagRunApi, order: str, which: str, cursor: str) -> list[list[str]]:
    """Read page after page from a cursor on, forward or backward."""
    pages = []
    following: str | None = cursor
    while following is not None:
        page = api.get_dag_runs("~", cursor=following, limit=2, order_by=[order])
        pages.append([run.dag_run_id for run in page.dag_runs])
        following = getattr(page, which)
    return pages


def cursor_of(api: airflow.DagRunApi, order: str) -> str:
    """Return the cursor of the last page."""
    last = ""
    while (page := api.get_dag_runs("~", cursor=last, limit=2, order_by=[order])).next_cursor:
        last = page.next_cursor
    return last


def test_errors_are_the_clients_own_exceptions(client: airflow.ApiClient) -> None:
    with pytest.raises(ApiException) as raised:
        airflow.DAGApi(client).get_dags(order_by=["dag_idd"])

    assert raised.value.status == 400
    assert "did you mean 'dag_id'" in str(raised.value.body)
