"""Without a login, only programs of this machine and its own pages may speak to the API."""

import socket
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from orchestrator.errors import SettingsError
from orchestrator.settings import Settings, refuse_open_door
from tests.api.conftest import Story
from tests.api.world import open_world, serve

RUN = {"logical_date": None}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200),
        ("127.0.0.1", 200),
        ("[::1]:9", 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
        ("", 421),
    ],
)
def test_a_rebound_name_is_refused(shared_story: Story, host: str, status: int) -> None:
    answer = shared_story.http.get("/version", headers={"Host": host})

    assert answer.status_code == status


def test_more_names_can_be_allowed(tmp_path: Path, sqlite_url: str, redis_url: str) -> None:
    with (
        open_world(tmp_path, sqlite_url, redis_url, api_host_names=("Proxy.Example",)) as world,
        serve(world) as url,
    ):
        answer = httpx.get(f"{url}/api/v2/version", headers={"Host": "proxy.example:443"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "{url}"}, 200),
        ({"Origin": "{url}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[bad"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": ""}, 415),
    ],
)
def test_a_foreign_page_cannot_trigger(
    shared_story: Story, headers: dict[str, str], status: int
) -> None:
    sent = {name: value.format(url=shared_story.url) for name, value in headers.items()}

    before = shared_story.http.get("/dags/etl/dagRuns").json()["total_entries"]
    answer = shared_story.http.post("/dags/etl/dagRuns", json=RUN, headers=sent)

    assert answer.status_code == status
    after = shared_story.http.get("/dags/etl/dagRuns").json()["total_entries"]
    assert after - before == (1 if status == 200 else 0)


def test_no_cors_header_is_ever_sent(shared_story: Story) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}

    for method, path in (("OPTIONS", "/dags/etl/dagRuns"), ("GET", "/dags")):
        answer = shared_story.http.request(method, path, headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_every_answer_has_the_security_headers(shared_story: Story) -> None:
    for path in ("/version", "/nothing", "/dags?limit=-1", "/dags/etl"):
        headers = shared_story.http.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"


def test_an_open_door_is_refused_at_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_HOME", str(tmp_path))
    monkeypatch.setenv("ORCHESTRATOR_API_HOST", "0.0.0.0")

    with pytest.raises(SettingsError, match=r"would listen on '0\.0\.0\.0'"):
        create_app()


def test_which_hosts_are_an_open_door() -> None:
    closed, opened = Settings(), Settings(api_allow_anonymous=True)

    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"):
        refuse_open_door(closed, host=host)
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org"):
        refuse_open_door(opened, host=host)
        with pytest.raises(SettingsError, match="ORCHESTRATOR_API_ALLOW_ANONYMOUS=true"):
            refuse_open_door(closed, host=host)


@pytest.mark.parametrize("is_allowed", [False, True])
def test_who_comes_in_by_another_address_is_not_served(
    tmp_path: Path, sqlite_url: str, redis_url: str, is_allowed: bool
) -> None:
    address = _own_address()
    with (
        open_world(tmp_path, sqlite_url, redis_url, api_allow_anonymous=is_allowed) as world,
        serve(world, host=address) as url,
    ):
        answer = httpx.get(f"{url}/api/v2/version")

    assert answer.status_code == (200 if is_allowed else 403)
    if not is_allowed:
        assert "only this machine is served" in answer.json()["detail"]


def _own_address() -> str:
    """An address of this machine that others could use."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            address: str = probe.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no address but its own loopback")
    return address
