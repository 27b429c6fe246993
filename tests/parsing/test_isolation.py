"""An import leaves nothing behind: no output of ours, no process, no thread, no secret."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator.parsing import (
    ForkServer,
    ParseLimits,
    ProblemKind,
    WarningKind,
    parse_file,
)
from orchestrator.parsing.forkserver import ForkServerClosedError
from tests.parsing.conftest import LIMITS, Parse, Write, eventually

DAG = """
from orchestrator.sdk import DAG

with DAG("etl"):
    pass
"""


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def assert_dead(folder: Path) -> None:
    """Check that every process that left a file `pid_<its id>` there is gone."""
    pids = [int(path.name.removeprefix("pid_")) for path in folder.glob("pid_*")]
    assert pids
    assert [pid for pid in pids if is_alive(pid)] == []


def pid_in(path: Path) -> int:
    eventually(lambda: path.exists() and path.read_text() != "", f"{path} written")
    return int(path.read_text())


def test_prints_are_kept_with_the_error_and_are_not_ours(
    parse: Parse, capfd: pytest.CaptureFixture[str]
) -> None:
    parsed = parse("import os, sys\nprint('out')\nos.system('echo shell')\n1 / 0\n")
    assert parsed.error is not None
    assert parsed.error.output == "out\nshell\n"
    assert capfd.readouterr() == ("", "")


def test_a_flood_of_prints_is_cut_in_the_middle(parse: Parse) -> None:
    parsed = parse("for n in range(50_000): print(n, 'x' * 50)\n1 / 0\n")
    assert parsed.error is not None
    assert parsed.error.output.startswith("0 xxx")
    assert "49999 xxx" in parsed.error.output
    assert "bytes left out" in parsed.error.output
    assert len(parsed.error.output) < 40_000


def test_an_endless_flood_is_stopped(parse: Parse) -> None:
    parsed = parse("while True: print('x' * 1000)\n", limits=ParseLimits(timeout_s=0.5))
    assert parsed.error is not None
    assert parsed.error.kind is ProblemKind.TIMEOUT


def test_reading_the_terminal_ends_at_once(parse: Parse) -> None:
    parsed = parse("input()\n")
    assert parsed.error is not None
    assert "EOFError" in parsed.error.message


def test_closed_descriptors_hurt_only_the_file(parse: Parse) -> None:
    parsed = parse("import os\nos.closerange(0, 100)\n" + DAG)
    assert parsed.error is not None
    assert parsed.error.kind is ProblemKind.CRASH
    assert parse(DAG).error is None


@pytest.mark.parametrize("daemon", [True, False])
def test_a_thread_left_running_is_stopped_and_named(parse: Parse, *, daemon: bool) -> None:
    parsed = parse(
        DAG
        + dedent(f"""
        import threading, time
        threading.Thread(target=time.sleep, args=(3600,), name="poller", daemon={daemon}).start()
        """)
    )
    assert parsed.error is None
    (warning,) = parsed.warnings
    assert warning.kind is WarningKind.LEFT_RUNNING
    assert "poller" in warning.message


def test_an_exit_hook_that_hangs_holds_nothing(parse: Parse) -> None:
    parsed = parse(DAG + "\nimport atexit, time\natexit.register(time.sleep, 3600)\n")
    assert parsed.error is None
    assert parsed.duration_s < 5


def test_a_fork_has_no_voice_and_ends(parse: Parse, tmp_path: Path) -> None:
    parsed = parse(
        DAG
        + dedent(f"""
        import os, time
        if os.fork() == 0:
            open({str(tmp_path)!r} + f"/pid_{{os.getpid()}}", "w").close()
            time.sleep(3600)
        while not any(name.startswith("pid_") for name in os.listdir({str(tmp_path)!r})):
            time.sleep(0.001)
        """)
    )
    assert parsed.error is None
    assert len(parsed.dags) == 1
    assert WarningKind.LEFT_RUNNING in [warning.kind for warning in parsed.warnings]
    assert_dead(tmp_path)


def test_a_fork_that_goes_on_importing_answers_not(parse: Parse) -> None:
    parsed = parse("import os\nos.fork()\n" + DAG)
    assert parsed.error is None
    assert len(parsed.dags) == 1


@pytest.mark.parametrize("session", [True, False], ids=["own session", "same session"])
def test_a_process_left_running_is_killed(parse: Parse, tmp_path: Path, *, session: bool) -> None:
    parsed = parse(
        DAG
        + dedent(f"""
        import subprocess
        process = subprocess.Popen(["sleep", "3600"], start_new_session={session})
        open({str(tmp_path)!r} + f"/pid_{{process.pid}}", "w").close()
        """)
    )
    assert parsed.error is None
    assert any("process(es) running" in warning.message for warning in parsed.warnings)
    assert_dead(tmp_path)


def test_a_daemon_that_left_its_parents_is_killed(parse: Parse, tmp_path: Path) -> None:
    parse(
        DAG
        + dedent(f"""
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                open({str(tmp_path)!r} + f"/pid_{{os.getpid()}}", "w").close()
                time.sleep(3600)
            os._exit(0)
        while not any(name.startswith("pid_") for name in os.listdir({str(tmp_path)!r})):
            time.sleep(0.001)
        """)
    )
    assert_dead(tmp_path)


def test_a_child_that_kills_its_overseer_gets_an_error_and_dies(
    parse: Parse, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    parsed = parse(
        f"""
        import os, time
        open({str(mark)!r}, "w").write(str(os.getpid()))
        os.kill(os.getppid(), 9)
        time.sleep(3600)
        """
    )
    assert parsed.error is not None
    assert "were killed twice" in parsed.error.message
    pid = pid_in(mark)
    eventually(lambda: not is_alive(pid), "the child dies with its overseer")


def test_a_killed_zygote_is_replaced(write: Write, folder: Path) -> None:
    path = write("etl.py", DAG)
    with ForkServer() as server:
        assert parse_file(path, folder, LIMITS, server=server).error is None
        assert server._zygote is not None
        server._zygote.kill()
        server._zygote.wait()
        assert parse_file(path, folder, LIMITS, server=server).error is None


def test_closing_the_server_ends_imports_under_way(
    write: Write, folder: Path, tmp_path: Path
) -> None:
    path = write("etl.py", sleeper(tmp_path / "pid"))
    outcome: list[BaseException] = []

    def parse_until_closed() -> None:
        try:
            parse_file(path, folder, ParseLimits(timeout_s=3600), server=server)
        except ForkServerClosedError as error:
            outcome.append(error)

    server = ForkServer()
    thread = threading.Thread(target=parse_until_closed)
    thread.start()
    pid = pid_in(tmp_path / "pid")
    server.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(outcome) == 1
    eventually(lambda: not is_alive(pid), "the child dies with its server")
    with pytest.raises(ForkServerClosedError):
        parse_file(path, folder, LIMITS, server=server)


def test_children_die_with_a_killed_parser(write: Write, folder: Path, tmp_path: Path) -> None:
    path = write("etl.py", sleeper(tmp_path / "pid"))
    parser = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from orchestrator.parsing import *;"
            "parse_file(Path(sys.argv[1]), Path(sys.argv[2]), ParseLimits(timeout_s=3600))",
            str(path),
            str(folder),
        ]
    )
    pid = pid_in(tmp_path / "pid")
    family = ancestors(pid, until=parser.pid)
    assert len(family) == 3  # the child, its overseer, the zygote
    parser.send_signal(signal.SIGKILL)
    parser.wait()
    eventually(lambda: not any(map(is_alive, family)), "all of them die")


def sleeper(mark: Path) -> str:
    return f"""
        import os, time
        open({str(mark)!r}, "w").write(str(os.getpid()))
        time.sleep(3600)
        """


def ancestors(pid: int, *, until: int) -> list[int]:
    found = []
    while pid != until:
        found.append(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def test_secrets_of_the_product_are_not_in_the_environment(write: Write, folder: Path) -> None:
    path = write(
        "etl.py",
        """
        import os
        from orchestrator.sdk import DAG

        names = sorted(name for name in os.environ if name.startswith("ORCHESTRATOR_"))
        with DAG("etl", params={"names": names, "own": os.environ["OWN"]}):
            pass
        """,
    )
    environ = {
        **os.environ,
        "OWN": "kept",
        "ORCHESTRATOR_DATABASE_URL": "postgresql://u:secret@h/d",
        "ORCHESTRATOR_SECRET_KEY": "secret",
        "ORCHESTRATOR_DAGS_FOLDER": "/dags",
        "ORCHESTRATOR_VAR_REGION": "north",
    }
    with ForkServer(environ=environ) as server:
        parsed = parse_file(path, folder, LIMITS, server=server)
    assert [param.default for param in parsed.dags[0].spec.params] == [
        ["ORCHESTRATOR_DAGS_FOLDER", "ORCHESTRATOR_VAR_REGION"],
        "kept",
    ]


def test_one_file_alone_needs_no_server(write: Write, folder: Path) -> None:
    parsed = parse_file(write("etl.py", DAG), folder)
    assert [dag.spec.dag_id for dag in parsed.dags] == ["etl"]
