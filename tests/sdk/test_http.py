"""The HTTP hook, operator and sensor, against a real server of this process."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from orchestrator.core.outcomes import Failed, Outcome, Succeeded
from orchestrator.sdk import DAG, BaseOperator, Connection, HttpHook, HttpOperator, HttpSensor
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.given_secrets import GivenSecrets
from orchestrator.sdk.masking import secret_scope
from orchestrator.sdk.secrets import SecretChain
from tests.sdk.tries import try_task


class Server:
    """Answers what it was told to, in order, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[tuple[int, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                server.asked.append(
                    {
                        "method": self.command,
                        "path": self.path,
                        "headers": {name.lower(): value for name, value in self.headers.items()},
                        "body": self.rfile.read(length).decode(),
                    }
                )
                status, body = server.answers.pop(0) if server.answers else (200, "ok")
                text = body if isinstance(body, str) else json.dumps(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                if status in (301, 302):
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do_PUT = answer  # noqa: N815 - as the base class asks

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.port = self._server.server_address[1]

    def connection(self, **fields: Any) -> Connection:
        return Connection("api", "http", host="127.0.0.1", port=self.port, **fields)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    with secret_scope():
        yield running
    running.close()


def test_a_request_has_the_connections_auth_headers_and_options(server: Server) -> None:
    connection = server.connection(
        login="ann", password="hunter2", extra={"X-Api-Key": "k", "timeout": 5}
    )
    hook = HttpHook("GET", connection=connection)
    assert hook.run("a/b", data={"q": "1 2"}, headers={"X-More": 3}).text == "ok"
    (asked,) = server.asked
    assert (asked["method"], asked["path"]) == ("GET", "/a/b?q=1+2")
    assert asked["headers"]["authorization"] == "Basic YW5uOmh1bnRlcjI="
    assert (asked["headers"]["x-api-key"], asked["headers"]["x-more"]) == ("k", "3")
    assert "timeout" not in asked["headers"]


def test_bodies(server: Server) -> None:
    HttpHook("POST", connection=server.connection()).run("f", data={"a": "b c"})
    HttpHook("POST", connection=server.connection()).run("t", data="text")
    HttpHook("put", connection=server.connection()).run("j", json={"a": [1]})
    assert [asked["body"] for asked in server.asked] == ["a=b+c", "text", '{"a":[1]}']


def test_own_auth(server: Server) -> None:
    class Bearer(httpx.Auth):
        def __init__(self, _login: str, password: str) -> None:
            self.token = password

        def auth_flow(self, request: httpx.Request) -> Any:
            request.headers["Authorization"] = f"Bearer {self.token}"
            yield request

    connection = server.connection(login="x", password="tok-1")
    HttpHook("GET", auth_type=Bearer, connection=connection).run("a")
    assert server.asked[0]["headers"]["authorization"] == "Bearer tok-1"


def test_errors_and_redirects(server: Server) -> None:
    hook = HttpHook("GET", connection=server.connection())
    server.answers = [(404, "no such thing")]
    with pytest.raises(TaskException, match=r"^404 Not Found of GET http://127.0.0.1:\d+/a$"):
        hook.run("a", data={"token": "t"})
    server.answers = [(404, "no such thing")]
    assert hook.run("a", extra_options={"check_response": False}).status_code == 404
    server.answers = [(302, ""), (200, "there")]
    assert hook.run("a").text == "there"
    server.answers = [(302, "")]
    answer = hook.run("a", extra_options={"allow_redirects": False, "check_response": False})
    assert answer.status_code == 302


def test_what_may_be_repeated_is(server: Server) -> None:
    server.answers = [(503, ""), (500, ""), (200, "at last")]
    hook = HttpHook("GET", connection=server.connection(), retries=2, retry_delay_s=0)
    assert hook.run("a").text == "at last"
    server.answers = [(503, ""), (503, "")]
    hook = HttpHook("GET", connection=server.connection(), retries=1, retry_delay_s=0)
    with pytest.raises(TaskException, match="503 Service Unavailable"):
        hook.run("a")
    server.asked.clear()
    server.answers = [(503, "")]
    hook = HttpHook("POST", connection=server.connection(), retries=5, retry_delay_s=0)
    with pytest.raises(TaskException, match="503"):
        hook.run("a")
    assert len(server.asked) == 1, "what a POST does might be done twice"


def test_a_server_that_is_away_is_tried_again_and_named() -> None:
    connection = Connection("api", "http", host="127.0.0.1", port=1)
    hook = HttpHook("GET", connection=connection, retries=1, retry_delay_s=0)
    with pytest.raises(TaskException, match=r"GET http://127\.0\.0\.1:1/a: ConnectError"):
        hook.run("a")
    works, said = hook.test_connection()
    assert not works
    assert said.startswith("ConnectError")


def test_test_connection(server: Server) -> None:
    assert HttpHook(connection=server.connection()).test_connection() == (
        True, "the server answers 200 OK",
    )  # fmt: skip
    server.answers = [(401, "")]
    assert HttpHook(connection=server.connection()).test_connection() == (
        False, "the server answers 401 Unauthorized",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "base"),
    [
        ({"host": "h"}, "http://h"),
        ({"host": "h", "schema": "https"}, "https://h"),
        ({"host": "https://h", "port": 8443}, "https://h:8443"),
        ({"conn_type": "https", "host": "h"}, "https://h"),
    ],
)
def test_base_urls(fields: dict[str, Any], base: str) -> None:
    hook = HttpHook(connection=Connection("c", **{"conn_type": "http", **fields}))
    assert hook.base_url == base
    assert hook.url_from_endpoint("/a") == f"{base}/a"


def test_an_endpoint_without_a_host() -> None:
    assert HttpHook(http_conn_id=None).url_from_endpoint("https://a.org/b") == "https://a.org/b"
    with pytest.raises(TaskException, match="Connection 'c' has no host, and the endpoint 'a' is"):
        HttpHook(http_conn_id="c", connection=Connection("c", "http")).run("a")


def attempt(server: Server, task: type[BaseOperator], **arguments: Any) -> Outcome:
    with DAG("d", params={"n": 1}) as dag:
        task(task_id="t", http_conn_id="api", **arguments)
    given = GivenSecrets(connections={"api": server.connection()})
    return try_task(dag, "t", secrets=SecretChain([given]))


def pushed(outcome: Outcome) -> Any:
    assert isinstance(outcome, Succeeded), outcome
    return outcome.xcoms["return_value"]


def test_the_operator(server: Server) -> None:
    assert pushed(attempt(server, HttpOperator, endpoint="run/{{ params.n }}")) == "ok"
    assert (server.asked[0]["method"], server.asked[0]["path"]) == ("POST", "/run/1")
    server.answers = [(200, {"rows": [1, 2]})]
    filtered = attempt(
        server,
        HttpOperator,
        endpoint="a",
        method="GET",
        response_check=lambda response, params: response.json()["rows"] and params["n"] == 1,
        response_filter=lambda response: response.json()["rows"],
    )
    assert pushed(filtered) == [1, 2]
    refused = attempt(server, HttpOperator, endpoint="a", response_check=lambda _: False)
    assert isinstance(refused, Failed)
    assert "response_check said no to the answer of http://127.0.0.1" in refused.reason


def test_pages(server: Server) -> None:
    def following(response: Any) -> dict[str, Any] | None:
        cursor = response.json()["next"]
        return {"data": {"cursor": cursor}} if cursor else None

    server.answers = [(200, {"next": 2}), (200, {"next": 3}), (200, {"next": None})]
    outcome = attempt(
        server,
        HttpOperator,
        endpoint="a",
        method="GET",
        pagination_function=following,
        response_filter=lambda answers: [answer.json()["next"] for answer in answers],
    )
    assert pushed(outcome) == [2, 3, None]
    assert [asked["path"] for asked in server.asked] == ["/a", "/a?cursor=2", "/a?cursor=3"]


@pytest.mark.parametrize(
    ("answers", "check", "ends"),
    [
        ([(404, ""), (404, ""), (200, "")], None, "success"),
        ([(200, "no"), (200, "yes")], lambda response: response.text == "yes", "success"),
        ([(404, ""), (500, "")], None, "500 Internal Server Error"),
    ],
)
def test_the_sensor(
    server: Server,
    answers: list[tuple[int, str]],
    check: Callable[[Any], bool] | None,
    ends: str,
) -> None:
    server.answers = list(answers)
    outcome = attempt(
        server, HttpSensor, endpoint="a", response_check=check, poke_interval=0.01, timeout=30
    )
    assert len(server.asked) == len(answers)
    if ends == "success":
        assert outcome == Succeeded()
    else:
        assert isinstance(outcome, Failed)
        assert ends in outcome.reason
