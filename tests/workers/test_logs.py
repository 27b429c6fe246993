"""All that a try writes is its log, line by line, while it runs and whatever ends it."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.core.states import TaskState
from tests.workers.rig import Held, Rig, Worker, add_task, hold, until
from workers.log_shipping import records_of
from workers.logs import EVENT_CHARACTERS_MAX, LOG_BYTES_MAX, record_line


def said(line: Mapping[str, Any]) -> tuple[object, object, object]:
    return line["logger"], line["level"], line["event"]


def test_every_way_to_write_becomes_a_line_in_order(shared: Rig, worker: Worker) -> None:
    add_task(
        shared,
        "talkative",
        """
        import structlog
        print("to stdout")
        print("to stderr", file=sys.stderr)
        logging.getLogger("my.etl").warning("%d rows", 3)
        structlog.get_logger("my.struct").info("loaded", rows=3, path=here / "x")
        os.system("echo from a shell")
        os.write(1, b"from C code\\n")
        subprocess.run(["sh", "-c", "echo from a child >&2"])
        sys.stdout.buffer.write(b"bytes\\n")
        print("no line end", end="")
        """,
    )
    ti = shared.run("talkative")
    lines = shared.log_lines(ti)
    assert [said(line) for line in lines] == [
        ("task.stdout", "info", "to stdout"),
        ("task.stderr", "error", "to stderr"),
        ("my.etl", "warning", "3 rows"),
        ("my.struct", "info", "loaded"),
        ("task.output", "info", "from a shell"),
        ("task.output", "info", "from C code"),
        ("task.output", "info", "from a child"),
        ("task.output", "info", "bytes"),
        ("task.stdout", "info", "no line end"),
    ]
    assert lines[3]["rows"] == 3
    assert all(str(line["timestamp"]).endswith("Z") for line in lines)


def test_a_traceback_is_part_of_the_log(shared: Rig, worker: Worker) -> None:
    add_task(shared, "tracing", "raise ValueError('no rows')")
    (line,) = shared.log_lines(shared.run("tracing"))
    assert said(line) == ("orchestrator.task", "error", "the try failed")
    assert line["exception"].startswith("Traceback (most recent call last):")
    assert line["exception"].endswith("ValueError: no rows")


def test_a_silent_task_leaves_nothing(shared: Rig, worker: Worker) -> None:
    add_task(shared, "silent", "pass")
    assert shared.log_lines(shared.run("silent")) == []


def test_the_log_can_be_read_while_the_task_runs(shared: Rig, worker: Worker) -> None:
    add_task(shared, "running", "print('half way')" + hold("running"))
    held = Held(shared, "running")
    ti = shared.reached("running", held.run_id, TaskState.RUNNING)
    until(lambda: shared.events(ti) == ["half way"], what="the log of a running task")
    assert shared.reached("running", held.run_id, TaskState.RUNNING).ended_at is None
    held.release()
    ti = shared.reached("running", held.run_id, TaskState.SUCCESS)
    assert shared.events(ti) == ["half way"]


def test_each_try_has_its_own_log(shared: Rig, worker: Worker) -> None:
    add_task(
        shared,
        "trying",
        """
        print("try", os.environ.get("x", len(list(here.glob("trying.*")))))
        (here / f"trying.{len(list(here.glob('trying.*')))}").touch()
        assert len(list(here.glob("trying.*"))) == 2
        """,
        arguments="retries=1, retry_delay=0.01",
    )
    ti = shared.reached("trying", shared.trigger("trying"), TaskState.SUCCESS)
    assert shared.events(ti, 1)[0] == "try 0"
    assert shared.events(ti, 2) == ["try 1"]


def test_what_a_crash_says_last_is_kept(shared: Rig, worker: Worker) -> None:
    add_task(
        shared,
        "crashing",
        """
        print("about to crash")
        os.write(2, b"no line end")
        os.kill(os.getpid(), signal.SIGSEGV)
        """,
    )
    events = shared.events(shared.run("crashing"))
    assert events[0] == "about to crash"
    assert events[1] == "no line endFatal Python error: Segmentation fault"


def test_a_flood_is_cut_with_a_notice_and_fills_no_disk(shared: Rig, worker: Worker) -> None:
    add_task(
        shared,
        "flooding",
        """
        line = b"x" * 65_535 + b"\\n"
        for _ in range(1600):
            os.write(1, line)
        for _ in range(100):
            print("y" * 100_000)
        """,
    )
    ti = shared.run("flooding")
    assert ti.state is TaskState.SUCCESS
    with shared.store.database.reading() as connection:
        stored = connection.exec_driver_sql("SELECT sum(length(data)) FROM log_chunk").scalar_one()
    assert LOG_BYTES_MAX <= stored < 1.2 * LOG_BYTES_MAX
    last = shared.log_lines(ti)[-1]
    assert said(last) == (
        "orchestrator.worker",
        "warning",
        "the log is cut here: a try keeps the first 16 MiB of what it writes",
    )

    def spool_bytes() -> int:
        files = (shared.home / "spool").rglob("*.log")
        return sum(path.stat().st_blocks * 512 for path in files)

    # The child has left the stream behind; the supervisor removes it at its next look.
    until(lambda: spool_bytes() < LOG_BYTES_MAX, what="the removal of the flood")
    add_task(shared, "after_flood", "print('dry again')")
    assert shared.events(shared.run("after_flood")) == ["dry again"]


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\n\r\ntwo", ["one", "two"]),
        (b"partial", ["partial"]),
        (b"caf\xc3\xa9 \xff\x00\n", ["café \\xff\x00"]),
        (b"raw without end\x1e" + b'{"event": "record"}\n', ["raw without end", "record"]),
        (b"\x1e{broken\n", ["{broken"]),
        (b'\x1e"no object"\n', ['"no object"']),
        (b"\x1e\xff\xfe\n", ["\\xff\\xfe"]),
        (b"x" * (2 * EVENT_CHARACTERS_MAX + 1), ["x" * EVENT_CHARACTERS_MAX] * 2 + ["x"]),
    ],
)
def test_records_of(raw: bytes, events: list[str]) -> None:
    records = b"".join(records_of(raw))
    assert [json.loads(line)["event"] for line in records.splitlines()] == events


def test_a_record_takes_as_many_bytes_whenever_it_is_made() -> None:
    raw = b"some raw line\n" * 3
    first, second = (b"".join(records_of(raw)) for _ in range(2))
    assert len(first) == len(second)


@pytest.mark.parametrize("value", ["\ud800", object(), {1: {2}}, float("nan"), b"\xff", 10**40])
def test_any_value_makes_a_record(value: object) -> None:
    line = record_line(event="e", level="info", logger="l", value=value)
    assert json.loads(line)["event"] == "e"
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
