"""Whatever is asked, the answer says what is wrong with it, and is never a fault of the server."""

import json
import socket
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.conftest import Story

RUNS = "/dags/etl/dagRuns"
DEEP = "[" * 100_000


def body(**fields: Any) -> dict[str, Any]:
    return {"logical_date": None, **fields}


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/dags?limit=-1", 422, "greater than or equal to 0"),
        ("/dags?limit=x", 422, "valid integer"),
        (f"/dags?offset={10**30}", 422, "less than or equal to"),
        ("/dags?order_by=nme", 400, "possible are dag_display_name, dag_id"),
        ("/dags?pausd=true", 422, "there is no parameter pausd here; did you mean 'paused'?"),
        ("/dags?paused=perhaps", 422, "valid boolean"),
        ("/dags?tags_match_mode=some", 422, "'any' or 'all'"),
        (f"{RUNS}?state=bogus", 422, "Invalid value for state: bogus"),
        (f"{RUNS}?run_type=bogus", 422, "Invalid value for run_type"),
        (f"{RUNS}?start_date_gte=yesterday", 422, "Invalid isoformat string"),
        (f"{RUNS}?start_date_gte=0001-01-01T00:00:00%2B14:00", 422, "years 1 to 9999"),
        (f"{RUNS}?duration_gte=nan", 422, "finite number"),
        (f"{RUNS}?cursor=%21", 400, "is not a cursor of this listing"),
        (f"{RUNS}?cursor=kwE", 400, "is not a cursor of this listing"),
        (f"{RUNS}/first/taskInstances?map_index=-2", 422, "greater than or equal to -1"),
        (f"{RUNS}/first/taskInstances/load/{'9' * 5000}", 422, "integer"),
        (f"{RUNS}/first/taskInstances/load/logs/one", 422, "valid integer"),
        (f"{RUNS}/first/taskInstances/load/logs/1?token=x", 400, "token='x' is none of this API"),
        (f"{RUNS}/first/taskInstances/load/logs/{2**70}", 422, "less than or equal to"),
        (f"{RUNS}/first/taskInstances/extract/xcomEntries/k%2F2?deserialize=true", 400, "plain"),
        ("/importErrors/one", 422, "valid integer"),
        ("/dags/etl/tasks?order_by=tsk_id", 400, "did you mean 'task_id'"),
        ("/dags/e%00tl", 422, "NUL"),
        ("/dags?dag_id_pattern=%00", 422, "NUL"),
        ("/dags/%F0%9F%92%A5", 404, "does not exist"),
        ("/dags/%ff%fe", 404, "does not exist"),
        ("/dags/..%2F..%2Fetc%2Fpasswd", 404, "API route not found"),
        ("/dags/" + "x" * 5000, 404, "does not exist"),
        ("/nothing", 404, "API route not found"),
        ("/dags/", 404, "API route not found"),
        ("/backfills", 501, "backfills are not served here yet"),
        (f"{RUNS}/first/taskInstances/load/links?map_index=3", 404, "no map index 3"),
        (f"{RUNS}/first/wait", 422, "Field required"),
        (f"{RUNS}/first/wait?interval=0", 422, "greater than 0"),
        (f"{RUNS}/first/wait?interval=nan", 422, "finite number"),
        (f"{RUNS}/first/wait?interval=1e9", 422, "less than or equal to 3600"),
        (f"{RUNS}/third/wait?interval=1", 404, "has no run 'third'"),
        ("/jobs?order_by=hostnam", 400, "did you mean 'hostname'"),
        ("/jobs?start_date_gte=x", 422, "Invalid isoformat string"),
        ("/config?section=core", 404, "all settings are in orchestrator"),
        ("/config/section/orchestrator/option/hom", 404, "did you mean 'home'"),
        ("/dagSources/etl", 406, "text/plain"),
    ],
)
def test_bad_questions(shared_story: Story, path: str, status: int, said: str) -> None:
    accept = "image/png" if status == 406 else "application/json"

    answer = shared_story.http.get(path, headers={"Accept": accept})

    assert answer.status_code == status, answer.text
    assert said in json.dumps(answer.json(), ensure_ascii=False)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, 422, "Field required"),
        (body(dag_run_idd="x"), 422, "there is no field dag_run_idd here"),
        (body(dag_run_id="a/b"), 422, "run id 'a/b' is not acceptable"),
        (body(dag_run_id="a..b"), 422, "without '..'"),
        (body(dag_run_id=""), 422, "not acceptable"),
        (body(dag_run_id="~"), 422, "not acceptable"),
        (body(dag_run_id="x" * 251), 422, "251 characters"),
        (body(dag_run_id="scheduled__x"), 422, "is kept for scheduled runs"),
        (body(dag_run_id=7), 422, "valid string"),
        (body(dag_run_id="\ud800"), 422, "not acceptable"),
        (body(logical_date="2026-01-01T00:00:00"), 422, "timezone"),
        (body(logical_date="0001-01-01T00:00:00+14:00"), 422, "years 1 to 9999"),
        (body(logical_date="tomorrow"), 422, "datetime"),
        (body(run_after="9999-12-31T23:59:59-14:00"), 422, "years 1 to 9999"),
        (body(data_interval_start="2026-01-01T00:00:00Z"), 422, "belong together"),
        (
            body(
                data_interval_start="2026-01-02T00:00:00Z", data_interval_end="2026-01-01T00:00:00Z"
            ),
            422,
            "exchange them",
        ),
        (body(conf=[1]), 422, "valid dictionary"),
        (body(conf={"size": 0}), 422, "param 'size' is invalid: 0 is less than the minimum of 1"),
        (body(conf={"size": "5"}), 422, "'5' is not of type 'integer'"),
        (body(conf={"x": 10**30}), 422, "conf['x'] is an integer of more than 64 bits"),
        (body(conf={"x": "\0"}), 422, "NUL"),
        (body(conf={"x": ["\udc00"]}), 422, "conf['x'][0] contains half of a surrogate pair"),
        (body(conf={"\udc00": 1}), 422, "surrogate"),
        (body(conf={"x": "y" * 70_000}), 422, "more than 65536; put the data in a file"),
        (body(note="n" * 1001), 422, "1001 characters"),
        (body(note="\0"), 422, "NUL"),
        (body(partition_key="p"), 422, "partition_key"),
    ],
)
def test_bad_triggers(shared_story: Story, fields: dict[str, Any], status: int, said: str) -> None:
    answer = post(shared_story.http, RUNS, json.dumps(fields))

    assert answer.status_code == status, answer.text
    assert said in json.dumps(answer.json(), ensure_ascii=False)


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        ("", 422),
        ("{", 422),
        ("null", 422),
        ("[]", 422),
        ('{"logical_date": null, "conf": {"x": NaN}}', 422),
        ('{"logical_date": null, "conf": {"x": -Infinity}}', 422),
        ('{"logical_date": null, "conf": {"x": 1e999}}', 422),
        ('{"logical_date": NaN}', 422),
        (f'{{"logical_date": null, "conf": {{"x": {"9" * 5000}}}}}', 400),
        (DEEP, 400),
        (f'{{"logical_date": null, "conf": {{"x": {"[" * 60}{"]" * 60}}}}}', 422),
        (b"\xff\xfe\x00", 400),
    ],
)
def test_bad_bodies(shared_story: Story, raw: str | bytes, status: int) -> None:
    answer = post(shared_story.http, RUNS, raw)

    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


def test_a_param_without_default_must_be_given(shared_story: Story) -> None:
    refused = post(shared_story.http, "/dags/choosy/dagRuns", json.dumps(body()))
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("param 'who' has no default; give it a value")

    assert post(
        shared_story.http, "/dags/choosy/dagRuns", json.dumps(body(conf={"who": 1}))
    ).is_success


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_megabyte_is_too_much(shared_story: Story, is_chunked: bool) -> None:
    large = b'{"logical_date": null, "note": "' + b"x" * 1024 * 1024 + b'"}'
    content = iter([large[:1000], large[1000:]]) if is_chunked else large

    answer = shared_story.http.post(
        RUNS, content=content, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 413
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"name": "a/b", "slots": 1}, 422, "pool 'a/b' is not acceptable"),
        ({"name": " ", "slots": 1}, 422, "not acceptable"),
        ({"name": "~", "slots": 1}, 422, "not acceptable"),
        ({"name": "x" * 251, "slots": 1}, 422, "251 characters"),
        ({"name": "p"}, 422, "Field required"),
        ({"name": "p", "slots": -2}, 422, "greater than or equal to -1"),
        ({"name": "p", "slots": 2**31}, 422, "less than or equal to"),
        ({"name": "p", "slots": "3"}, 422, "valid integer"),
        ({"name": "p", "slots": True}, 422, "valid integer"),
        ({"name": "p", "slots": 1.5}, 422, "valid integer"),
        ({"name": "p", "slots": 1, "size": 2}, 422, "there is no field size here"),
        ({"name": "p", "slots": 1, "queue": "a\nb"}, 422, "queue 'a\\\\nb' is not acceptable"),
        ({"name": "p", "slots": 1, "description": "\0"}, 422, "NUL"),
        ({"name": "default_pool", "slots": 1}, 409, "exists already"),
    ],
)
def test_bad_pools(shared_story: Story, fields: dict[str, Any], status: int, said: str) -> None:
    answer = post(shared_story.http, "/pools", json.dumps(fields))

    assert answer.status_code == status, answer.text
    assert said in json.dumps(answer.json(), ensure_ascii=False)


def test_bad_patches(shared_story: Story) -> None:
    http = shared_story.http

    assert http.patch("/dags/etl", json={"is_paused": "yes"}).status_code == 422
    assert http.patch("/dags/etl", json={"is_paused": None}).status_code == 422
    assert http.patch("/dags/etl", json={"paused": True}).status_code == 422
    masked = http.patch("/dags/etl?update_mask=tags", json={"is_paused": True})
    assert (masked.status_code, "only is_paused" in masked.json()["detail"]) == (422, True)
    assert http.patch("/pools/slim", json={"pool": "other", "slots": 1}).status_code == 400
    assert http.patch("/pools/slim?update_mask=slts", json={"slots": 1}).status_code == 422
    assert http.delete("/pools/default_pool").status_code == 400
    assert http.patch("/dags", json={"is_paused": True}).status_code == 422
    assert http.delete("/dags").status_code == 405


def test_what_is_no_http_is_refused(shared_story: Story) -> None:
    host, _, port = shared_story.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET /api/v2/dags/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
NAMES = st.sampled_from(
    [
        "logical_date",
        "dag_run_id",
        "conf",
        "note",
        "run_after",
        "data_interval_start",
        "slots",
        "name",
        "is_paused",
        "queue",
        "description",
        "pool",
        "size",
    ]
) | st.text(max_size=5)
ANYTHING = st.text(max_size=30) | st.sampled_from(["~", "etl", "first", "load", "..", "%", "-1"])
NO_SERVER_FAULT = settings(
    max_examples=150,
    deadline=None,
)


@NO_SERVER_FAULT
@given(fields=st.dictionaries(NAMES, JSON_VALUES, max_size=5), data=st.data())
def test_no_body_is_a_fault_of_the_server(
    shared_story: Story, fields: dict[str, Any], data: st.DataObject
) -> None:
    path, method = data.draw(
        st.sampled_from(
            [(RUNS, "POST"), ("/pools", "POST"), ("/pools/slim", "PATCH"), ("/dags/etl", "PATCH")]
        )
    )
    if data.draw(st.booleans()):
        fields.setdefault("logical_date", None)

    answer = shared_story.http.request(
        method, path, content=json.dumps(fields), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code < 500, (fields, answer.text)
    answer.json()


@NO_SERVER_FAULT
@given(
    template=st.sampled_from(
        [
            "/dags/{}",
            "/dags/{}/details",
            "/dags/{}/tasks/{}",
            "/dags/{}/dagVersions/{}",
            "/dags/{}/dagRuns",
            "/dags/{}/dagRuns/{}",
            "/dags/{}/dagRuns/{}/taskInstances",
            "/dags/etl/dagRuns/first/taskInstances/{}",
            "/pools/{}",
            "/connections/{}",
            "/variables/{}",
            "/connections?connection_id_pattern={}&order_by={}",
            "/variables?variable_key_prefix_pattern={}&limit={}",
            "/jobs?hostname={}&job_state={}&is_alive={}",
            "/config/section/{}/option/{}",
            "/dagStats?dag_ids={}",
            "/dags/{}/dagRuns/{}/taskInstances/{}/links",
            "/importErrors/{}",
            "/dags/etl/dagRuns/first/taskInstances/load/{}",
            "/dagSources/{}?version_number={}",
            "/dags/etl/dagRuns/first/taskInstances/{}/logs/{}?token={}",
            "/dags/etl/dagRuns/first/taskInstances/extract/xcomEntries/{}",
            "/dags?dag_id_pattern={}&tags={}&order_by={}",
            "/dags?owners={}&limit={}&offset={}",
            "/dags/etl/dagRuns?conf_contains={}&run_id_pattern={}&cursor={}",
            "/dags/~/dagRuns?start_date_gte={}&duration_gt={}&state={}",
            "/dags/~/dagRuns/~/taskInstances?pool={}&queue={}&task_group_id={}&map_index={}",
        ]
    ),
    parts=st.lists(ANYTHING, min_size=4, max_size=4),
)
def test_no_address_is_a_fault_of_the_server(
    shared_story: Story, template: str, parts: list[str]
) -> None:
    quoted = [quote(part, safe="", errors="replace") or "_" for part in parts]

    answer = shared_story.http.get(template.format(*quoted))

    assert answer.status_code < 500, (answer.url, answer.text)
    answer.json()


def post(http: httpx.Client, path: str, content: str | bytes) -> httpx.Response:
    return http.post(path, content=content, headers={"Content-Type": "application/json"})
