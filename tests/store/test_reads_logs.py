"""A log is read piece by piece, whatever its pieces look like and whatever was lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.assignments import Assignment
from orchestrator.core.outcomes import Failed, Skipped
from orchestrator.core.views import LogPage
from orchestrator.errors import NotFoundError
from orchestrator.ports import LOG_BYTES_PER_EPOCH
from orchestrator.store.reads_logs import CHUNKS_PER_PAGE, LINE_BYTES_MAX
from tests.api.world import World, open_world
from tests.builders import a_dag


@pytest.fixture
def world(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[World]:
    with open_world(tmp_path / "home", database_url, redis_url) as world:
        world.add(a_dag())
        world.start_worker()
        world.trigger("d", run_id="r")
        world.schedule()
        yield world


@pytest.fixture
def running(world: World) -> Assignment:
    (running,) = world.start_tasks()
    return running


def read(world: World, offset: int = 0) -> LogPage:
    return world.reads.read_log("d", "r", "a", 1, offset=offset)


def events(page: LogPage) -> list[str]:
    return [line["event"] for line in page.lines]


def everything(world: World) -> list[str]:
    """Follow the log from its start to what there is now, the first and last line left out."""
    found: list[str] = []
    page = read(world)
    while page.lines or not found:
        found += events(page)
        if page.is_complete:
            return found[1:-1]
        page = read(world, page.next_offset)
    return found[1:]


def test_a_try_that_has_not_started_has_no_log(world: World) -> None:
    with pytest.raises(NotFoundError, match="has no log yet: it has not started, it is queued"):
        read(world)


def test_s16_a_try_that_went_on_under_other_epochs_has_one_log(
    world: World, running: Assignment
) -> None:
    again, once_more = 2 * LOG_BYTES_PER_EPOCH, 3 * LOG_BYTES_PER_EPOCH
    world.log(running, "looked\nthe end of this line was lo", offset=LOG_BYTES_PER_EPOCH)
    world.log(running, "looked again\n", offset=again)
    world.log(running, "late\n", offset=once_more + 6)

    assert everything(world) == ["looked", "the end of this line was lo", "looked again"]
    world.log(running, "first\n", offset=once_more)
    assert everything(world)[-2:] == ["first", "late"]


def test_what_was_lost_of_a_later_look_is_said(world: World, running: Assignment) -> None:
    world.log(running, "looked\n", offset=LOG_BYTES_PER_EPOCH)
    world.log(running, "late\n", offset=2 * LOG_BYTES_PER_EPOCH + 6)
    world.end(running, Skipped(reason="nothing new"))

    assert everything(world) == [
        "looked",
        "6 bytes of this log were lost with their worker",
        "late",
    ]


def test_nothing_new_is_an_empty_page_at_the_same_place(world: World, running: Assignment) -> None:
    first = read(world)
    again = read(world, first.next_offset)

    assert len(first.lines) == 1
    assert (again.lines, again.next_offset, again.is_complete) == ((), first.next_offset, False)


def test_pieces_cut_anywhere_make_whole_lines(world: World, running: Assignment) -> None:
    text = "".join(f'{{"event": "line {index} ü"}}\n' for index in range(100)).encode()
    for start in range(0, len(text), 7):
        world.store.worker.append_log(running.ti_id, 1, offset=start, data=text[start : start + 7])

    assert len(range(0, len(text), 7)) > CHUNKS_PER_PAGE
    assert everything(world) == [f"line {index} ü" for index in range(100)]


def test_repeated_and_overlapping_pieces_are_shown_once(world: World, running: Assignment) -> None:
    world.log(running, "one\ntwo\n")
    world.log(running, "two\nthree\n", offset=4)
    world.log(running, "two\nthree\n", offset=4)

    assert everything(world) == ["one", "two", "three"]


def test_a_missing_piece_is_waited_for_while_the_try_runs(
    world: World, running: Assignment
) -> None:
    world.log(running, "one\n")
    world.log(running, "three\n", offset=8)
    assert everything(world) == ["one"]

    world.log(running, "two\n", offset=4)
    assert everything(world) == ["one", "two", "three"]


def test_a_lost_piece_is_named_when_the_try_has_ended(world: World, running: Assignment) -> None:
    world.log(running, "one\ncut o")
    world.log(running, "three\n", offset=20)
    world.end(running, Failed(reason="killed"))

    assert everything(world) == [
        "one",
        "cut o",
        "11 bytes of this log were lost with their worker",
        "three",
    ]


def test_a_line_without_end_is_shown_in_pieces(world: World, running: Assignment) -> None:
    world.log(running, "x" * (LINE_BYTES_MAX + 1))

    assert len(read(world).lines) == 2


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("no json", "no json"),
        ('"text"', '"text"'),
        ("[1]", "[1]"),
        ('{"event": 7}', "7"),
        ('{"level": "info"}', "null"),
        ('{"event": "x", "value": NaN}', "x"),
        ("[" * 5000, "[" * 5000),
        ("\ufffd", "\ufffd"),
    ],
)
def test_strange_lines_become_events(
    world: World, running: Assignment, line: str, event: str
) -> None:
    world.log(running, line + "\n")

    assert everything(world) == [event]


def test_a_timestamp_that_is_none_is_set_aside(world: World, running: Assignment) -> None:
    world.log(running, '{"event": "x", "timestamp": "noon"}\n')

    assert read(world).lines[1] == {"event": "x", "logged_timestamp": "noon"}


def test_the_last_line_says_how_it_ended(world: World, running: Assignment) -> None:
    world.end(running, Skipped(reason="nothing new"))

    page = read(world)
    assert page.is_complete
    assert events(page)[-1].startswith("ended skipped after ")
    assert events(page)[-1].endswith(": nothing new")


def test_the_log_of_a_lost_worker_is_there(world: World, running: Assignment) -> None:
    world.log(running, "half a wo")
    world.store.worker.sign_off_worker("host-1-abc")
    world.store.scheduler.reap(infra_tries_max=3, limit=10)

    page = read(world)
    assert events(page)[1] == "half a wo"
    assert page.is_complete
