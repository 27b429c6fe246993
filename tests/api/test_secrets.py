"""Airflow's own generated client keeps Connections and Variables here, and never sees a secret."""

import json
from typing import Any, cast

import airflow_client.client as airflow
import pytest
from airflow_client.client.exceptions import (
    BadRequestException,
    ConflictException,
    ForbiddenException,
    NotFoundException,
    UnprocessableEntityException,
)

from tests.api.conftest import Story
from tests.api.world import World, serve


def a_connection(connection_id: str = "db", **fields: Any) -> airflow.ConnectionBody:
    return airflow.ConnectionBody(
        **{
            "connection_id": connection_id,
            "conn_type": "postgres",
            "host": "db.example",
            "login": "ada",
            "password": "p4ss",
            "schema": "sales",
            "port": 5432,
            "extra": '{"timeout": 10, "api_token": "t0ken"}',
            **fields,
        }
    )


def stored(world: World, conn_id: str = "db") -> Any:
    fields = world.services.stored_secrets.connection_fields(conn_id)
    assert fields is not None
    return fields


def test_connections(story: Story) -> None:
    api = airflow.ConnectionApi(story.client)

    made = api.post_connection(a_connection())
    assert (made.connection_id, made.conn_type, made.host, made.port, made.var_schema) == (
        *("db", "postgres", "db.example", 5432, "sales"),
    )
    assert made.password == "***"
    assert json.loads(made.extra or "") == {"timeout": 10, "api_token": "***"}
    assert api.get_connection("db") == made
    assert (stored(story.world).password, "t0ken" in stored(story.world).extra) == ("p4ss", True)

    with pytest.raises(ConflictException) as twice:
        api.post_connection(a_connection())
    detail = json.loads(str(twice.value.body))["detail"]
    assert set(detail) == {"reason", "statement", "orig_error", "message"}
    assert "'db' exists already" in detail["message"]

    assert api.delete_connection("db") is None
    with pytest.raises(NotFoundException, match="Connection 'db' does not exist"):
        api.get_connection("db")
    with pytest.raises(NotFoundException):
        api.delete_connection("db")


def test_what_comes_back_as_stars_stays(story: Story) -> None:
    api = airflow.ConnectionApi(story.client)
    shown = api.post_connection(a_connection())

    shown.host = "other.example"
    api.patch_connection(
        "db", cast(airflow.ConnectionBody, airflow.ConnectionBody.from_dict(shown.to_dict()))
    )
    kept = stored(story.world)
    assert (kept.host, kept.password) == ("other.example", "p4ss")
    assert json.loads(kept.extra) == {"timeout": 10, "api_token": "t0ken"}

    masked = api.patch_connection(
        "db",
        airflow.ConnectionBody(
            connection_id="db", conn_type="mysql", password="n3w", host="ignored", login="eve"
        ),
        update_mask=["password", "login"],
    )
    assert (masked.conn_type, masked.host, masked.login) == ("postgres", "other.example", "eve")
    assert stored(story.world).password == "n3w"

    assert story.http.patch("/connections/db", json={"password": None, "extra": None}).is_success
    assert (stored(story.world).password, stored(story.world).extra) == (None, None)
    assert api.get_connection("db").password is None

    with pytest.raises(BadRequestException, match="differ"):
        api.patch_connection("db", a_connection("other"))
    with pytest.raises(UnprocessableEntityException, match="did you mean 'host'"):
        api.patch_connection("db", a_connection(), update_mask=["hots"])
    with pytest.raises(NotFoundException):
        api.patch_connection("dc", a_connection("dc"))


def test_connections_are_listed(story: Story) -> None:
    api = airflow.ConnectionApi(story.client)
    for conn_id, kind in (("a_one", "http"), ("a_two", "aws"), ("b_one", "http")):
        api.post_connection(a_connection(conn_id, conn_type=kind))

    def ids(**query: Any) -> list[str]:
        return [each.connection_id for each in api.get_connections(**query).connections]

    assert ids() == ["a_one", "a_two", "b_one"]
    assert ids(order_by=["-connection_id"]) == ["b_one", "a_two", "a_one"]
    assert ids(order_by=["conn_type", "-connection_id"]) == ["a_two", "b_one", "a_one"]
    assert ids(connection_id_pattern="ONE") == ["a_one", "b_one"]
    assert ids(connection_id_prefix_pattern="a_") == ["a_one", "a_two"]
    assert ids(limit=1, offset=1) == ["a_two"]
    page = api.get_connections(limit=0)
    assert (page.connections, page.total_entries) == ([], 3)
    assert "p4ss" not in story.http.get("/connections").text


def test_connections_in_bulk(story: Story) -> None:
    api = airflow.ConnectionApi(story.client)
    api.post_connection(a_connection("old"))

    def ask(*actions: dict[str, Any]) -> airflow.BulkResponse:
        return api.bulk_connections(
            cast(
                airflow.BulkBodyConnectionBody,
                airflow.BulkBodyConnectionBody.from_dict({"actions": actions}),
            )
        )

    def body(conn_id: str, **fields: Any) -> dict[str, Any]:
        return {"connection_id": conn_id, "conn_type": "http", **fields}

    refused = ask({"action": "create", "entities": [body("new"), body("old")]})
    assert refused.update is None
    assert refused.create is not None
    assert (refused.create.success, refused.create.errors) == (
        [],
        [
            {
                "error": "Connections 'old' exist already; nothing of this action was done",
                "status_code": 409,
            }
        ],
    )
    assert api.get_connections().total_entries == 1

    done = ask(
        {
            "action": "create",
            "entities": [body("new"), body("old", password="***")],
            "action_on_existence": "overwrite",
        },
        {"action": "update", "entities": [body("new", host="h")], "update_mask": ["host"]},
        {"action": "delete", "entities": ["none"], "action_on_non_existence": "skip"},
        {"action": "create", "entities": [body("bad", conn_type=""), body("more")]},
    )
    assert done.create is not None
    assert done.create.success == ["new", "old", "more"]
    assert [error["status_code"] for error in done.create.errors or ()] == [422]
    assert done.update is not None
    assert done.delete is not None
    assert (done.update.success, done.delete.success) == (["new"], [])
    assert api.get_connection("new").host == "h"
    assert (stored(story.world, "old").password, stored(story.world, "old").host) == ("p4ss", None)

    gone = ask({"action": "delete", "entities": ["new", "missing"]})
    assert gone.delete is not None
    assert (gone.delete.success, (gone.delete.errors or [])[0]["status_code"]) == ([], 404)
    gone = ask({"action": "delete", "entities": ["new", body("old"), "new"]})
    assert gone.delete is not None
    assert gone.delete.success == ["new", "old"]


def test_no_connection_is_tested_from_here(story: Story) -> None:
    api = airflow.ConnectionApi(story.client)

    with pytest.raises(ForbiddenException, match="not allowed here"):
        api.test_connection(a_connection())
    with pytest.raises(ForbiddenException, match="not allowed here"):
        api.enqueue_connection_test(
            airflow.ConnectionTestRequestBody(connection_id="db", conn_type="http")
        )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"connection_id": "a/b"}, "connection id 'a/b' is not acceptable"),
        ({"connection_id": ""}, "not acceptable"),
        ({"connection_id": "x" * 251}, "251 characters"),
        ({"connection_id": 7}, "valid string"),
        ({"conn_type": ""}, "has no type"),
        ({"conn_type": None}, "valid string"),
        ({"port": "5432"}, "valid integer"),
        ({"port": True}, "valid integer"),
        ({"port": 70_000}, "port"),
        ({"extra": "{"}, "extra must be a JSON object"),
        ({"extra": "[1]"}, "object"),
        ({"extra": '{"x": NaN}'}, "NaN is no JSON"),
        ({"extra": '{"x": ' * 10_000}, "extra must be a JSON object"),
        ({"extra": {"x": 1}}, "valid string"),
        ({"host": "\0"}, "NUL"),
        ({"password": "\ud800"}, "surrogate"),
        ({"password": "x" * 70_000}, "65536 are allowed"),
        ({"team_name": "t"}, "team_name"),
        ({"hots": "h"}, "there is no field hots here"),
    ],
)
def test_bad_connections(shared_story: Story, fields: dict[str, Any], said: str) -> None:
    body = {"connection_id": "db", "conn_type": "http", **fields}

    answer = shared_story.http.post(
        "/connections", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422, answer.text
    assert said in json.dumps(answer.json(), ensure_ascii=False)


def test_variables(story: Story) -> None:
    api = airflow.VariableApi(story.client)

    made = api.post_variable(airflow.VariableBody(key="limit", value="7", description="d"))
    assert (made.key, made.value, made.description, made.is_encrypted) == ("limit", "7", "d", True)
    assert api.get_variable("limit") == made
    with pytest.raises(ConflictException) as twice:
        api.post_variable(airflow.VariableBody(key="limit", value="8"))
    assert "'limit' exists already" in json.loads(str(twice.value.body))["detail"]

    changed = api.patch_variable("limit", airflow.VariableBody(key="limit", value="9"))
    assert (changed.value, changed.description) == ("9", "d")
    changed = api.patch_variable(
        "limit",
        airflow.VariableBody(key="limit", value="10", description="new"),
        update_mask=["description"],
    )
    assert (changed.value, changed.description) == ("9", "new")
    assert story.http.patch("/variables/limit", json={"description": None}).is_success
    assert api.get_variable("limit").description is None
    with pytest.raises(BadRequestException, match="differ"):
        api.patch_variable("limit", airflow.VariableBody(key="other", value="1"))

    assert api.delete_variable("limit") is None
    with pytest.raises(NotFoundException, match="Variable 'limit' does not exist"):
        api.get_variable("limit")
    with pytest.raises(NotFoundException):
        api.delete_variable("limit")
    with pytest.raises(NotFoundException):
        api.patch_variable("limit", airflow.VariableBody(key="limit", value="1"))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("text", "text"),
        ("", ""),
        ({"a": [1, None, "ü"]}, '{"a": [1, null, "ü"]}'),
        ([1.5], "[1.5]"),
        (3, "3"),
        (True, "true"),
        (None, "null"),
    ],
)
def test_any_json_is_a_value(story: Story, value: Any, kept: str) -> None:
    made = airflow.VariableApi(story.client).post_variable(
        airflow.VariableBody(key="v", value=value)
    )

    assert made.value == kept


def test_a_secret_variable_is_not_shown(story: Story) -> None:
    api = airflow.VariableApi(story.client)
    secrets = story.world.services.stored_secrets

    assert api.post_variable(airflow.VariableBody(key="my_password", value="s3")).value == "***"
    shown = api.patch_variable(
        "my_password", airflow.VariableBody(key="my_password", value="***", description="new")
    )
    assert (shown.value, shown.description) == ("***", "new")
    kept = secrets.variable_fields("my_password")
    assert kept is not None
    assert (kept.value, kept.description) == ("s3", "new")
    assert "s3" not in story.http.get("/variables").text


def test_variables_are_listed_and_changed_in_bulk(story: Story) -> None:
    api = airflow.VariableApi(story.client)

    def ask(*actions: dict[str, Any]) -> airflow.BulkResponse:
        return api.bulk_variables(
            cast(
                airflow.BulkBodyVariableBody,
                airflow.BulkBodyVariableBody.from_dict({"actions": actions}),
            )
        )

    one, two = {"key": "one", "value": {"n": 1}}, {"key": "two", "value": "2"}
    made = ask({"action": "create", "entities": [one, two]})
    assert made.create is not None
    assert made.create.success == ["one", "two"]
    again = ask(
        {"action": "create", "entities": [one], "action_on_existence": "skip"},
        {"action": "update", "entities": [{**two, "value": "22"}]},
    )
    assert again.create is not None
    assert again.update is not None
    assert (again.create.success, again.update.success) == ([], ["two"])

    listed = api.get_variables(order_by=["-key"])
    assert [(each.key, each.value) for each in listed.variables] == [
        ("two", "22"),
        ("one", '{"n": 1}'),
    ]
    assert api.get_variables(variable_key_pattern="TW").total_entries == 1
    assert api.get_variables(variable_key_prefix_pattern="o").total_entries == 1

    gone = ask({"action": "delete", "entities": ["one", "two"]})
    assert gone.delete is not None
    assert gone.delete.success == ["one", "two"]
    assert api.get_variables().total_entries == 0


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('{"key": "k"}', "Field required"),
        ('{"key": "a/b", "value": 1}', "variable key 'a/b' is not acceptable"),
        ('{"key": "k", "value": NaN}', "cannot be written as JSON"),
        ('{"key": "k", "value": [1e999]}', "cannot be written as JSON"),
        ('{"key": "k", "value": "\\ud800"}', "surrogate"),
        ('{"key": "k", "value": {"\\u0000": 1}, "description": "\\u0000"}', "NUL"),
        (json.dumps({"key": "k", "value": "x" * 70_000}), "65536 are allowed"),
        ('{"key": "k", "value": 1, "valeu": 2}', "there is no field valeu here"),
        ('{"key": "k", "value": 1, "is_encrypted": true}', "no field is_encrypted"),
    ],
)
def test_bad_variables(shared_story: Story, raw: str, said: str) -> None:
    answer = shared_story.http.post(
        "/variables", content=raw, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422, answer.text
    assert said in json.dumps(answer.json(), ensure_ascii=False)


@pytest.mark.parametrize("kind", ["connections", "variables", "pools"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "Field required"),
        ({"actions": [{"action": "burn", "entities": []}]}, "burn"),
        ({"actions": [{"action": "create", "entities": [{}]}]}, "Field required"),
        ({"actions": [{"action": "create", "entities": [], "on": 1}]}, "there is no field on here"),
        ({"actions": [{"action": "delete", "entities": ["x"] * 5001}]}, "5000 are allowed"),
    ],
)
def test_bad_bulks(shared_story: Story, kind: str, body: dict[str, Any], said: str) -> None:
    answer = shared_story.http.patch(f"/{kind}", json=body)

    assert answer.status_code == 422, answer.text
    assert said in answer.text


def test_a_lost_key_is_said_and_nothing_hangs_on_it(story: Story) -> None:
    """What another key sealed cannot be read: it is listed with the problem, and can be removed."""
    airflow.ConnectionApi(story.client).post_connection(a_connection())
    airflow.VariableApi(story.client).post_variable(airflow.VariableBody(key="v", value="1"))
    secrets = story.world.services.stored_secrets
    secrets._sealer = type(secrets._sealer)(["q" * 43 + "="])

    shown = story.http.get("/connections").json()["connections"][0]
    assert (shown["password"], "key" in shown["problem"]) == ("***", True)
    assert "key" in story.http.get("/variables/v").json()["problem"]
    refused = story.http.patch("/connections/db", json={"host": "h"})
    assert refused.status_code == 503
    assert story.http.delete("/connections/db").status_code == 204


def test_a_world_can_be_served_twice(world: World) -> None:
    """What one process of the API changes, the others show."""
    with serve(world) as one, serve(world) as two:
        apis = [
            airflow.VariableApi(airflow.ApiClient(airflow.Configuration(host=url)))
            for url in (one, two)
        ]
        apis[0].post_variable(airflow.VariableBody(key="k", value="1"))
        assert apis[1].get_variable("k").value == "1"
