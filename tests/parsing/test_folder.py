"""The store follows the DAG folder: real files, real children, a real watch."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.parsing import ParseLimits
from orchestrator.parsing.folder import DagFolderService
from tests.parsing.catalog import MemoryCatalog
from tests.parsing.conftest import Write, eventually

LIMITS = ParseLimits(timeout_s=20, memory_mb=256)

Watching = Callable[..., AbstractContextManager[DagFolderService]]


def a_dag(dag_id: str, extra: str = "") -> str:
    return f"from orchestrator.sdk import DAG\n{extra}\nwith DAG({dag_id!r}):\n    pass\n"


def _shows(catalog: MemoryCatalog, *, dag_id: str) -> bool:
    return dag_id in catalog.visible


@pytest.fixture
def catalog() -> MemoryCatalog:
    return MemoryCatalog()


@pytest.fixture
def watching(catalog: MemoryCatalog, folder: Path) -> Watching:
    """Run the service on the folder, its first scan done."""

    @contextmanager
    def run(**options: object) -> Iterator[DagFolderService]:
        settings = {"limits": LIMITS, "on_change": lambda: None, **options}
        with DagFolderService(catalog, folder, **settings) as service:  # type: ignore[arg-type]
            assert service.wait_for_first_scan(30)
            yield service

    return run


def test_the_first_scan(write: Write, catalog: MemoryCatalog, watching: Watching) -> None:
    write("a.py", a_dag("a"))
    write("team/b.py", a_dag("b") + a_dag("c"))
    write("helper.py", "raise RuntimeError('never imported by itself')")
    write("broken.py", a_dag("d") + "1 / 0\n")
    with watching():
        assert catalog.visible == {"a": "a.py", "b": "team/b.py", "c": "team/b.py"}
        assert [*catalog.errors] == ["broken.py"]
        version = catalog.versions["a"][0]
        assert (version.path, version.source) == ("a.py", a_dag("a"))


def test_a_file_that_comes_changes_and_goes(
    write: Write, catalog: MemoryCatalog, watching: Watching
) -> None:
    with watching():
        path = write("a.py", a_dag("a"))
        catalog.wait_for(lambda c: c.visible == {"a": "a.py"})
        write("a.py", a_dag("a") + "\n# changed\n" + a_dag("b"))
        catalog.wait_for(lambda c: c.visible == {"a": "a.py", "b": "a.py"})
        write("a.py", a_dag("b"))
        catalog.wait_for(lambda c: c.visible == {"b": "a.py"})
        path.unlink()
        catalog.wait_for(lambda c: c.visible == {})
        assert len(catalog.versions["a"]) == 2  # history is kept


def test_what_went_while_nobody_looked(
    write: Write, catalog: MemoryCatalog, watching: Watching
) -> None:
    catalog.visible = {"gone": "gone.py"}
    catalog.errors = {"gone_too.py": ("syntax", "")}
    write("a.py", a_dag("a"))
    with watching():
        assert catalog.visible == {"a": "a.py"}
        assert catalog.errors == {}


def test_a_file_that_breaks_keeps_its_last_good_version(
    write: Write, catalog: MemoryCatalog, watching: Watching
) -> None:
    write("a.py", a_dag("a"))
    write("b.py", a_dag("b"))
    with watching():
        write("a.py", "def broken(:  # orchestrator dag\n")
        catalog.wait_for(lambda c: "a.py" in c.errors)
        assert catalog.errors["a.py"][0] == "syntax"
        assert catalog.visible == {"a": "a.py", "b": "b.py"}
        assert len(catalog.versions["a"]) == 1
        write("a.py", a_dag("a"))
        catalog.wait_for(lambda c: c.errors == {})
        assert len(catalog.versions["a"]) == 1


def test_a_dag_file_that_no_longer_mentions_a_dag_is_looked_at_all_the_same(
    write: Write, catalog: MemoryCatalog, watching: Watching
) -> None:
    write("a.py", a_dag("a"))
    with watching():
        catalog.wait_for(lambda c: c.visible == {"a": "a.py"})
        write("a.py", "def broken(:\n")
        catalog.wait_for(lambda c: "a.py" in c.errors)
        assert catalog.errors["a.py"][0] == "syntax"
        assert catalog.visible == {"a": "a.py"}
        write("a.py", "")
        catalog.wait_for(lambda c: c.visible == {} and c.errors == {})


def test_a_renamed_file_is_never_out_of_view(
    write: Write, folder: Path, catalog: MemoryCatalog, watching: Watching
) -> None:
    path = write("a.py", a_dag("a"))
    blinks: list[object] = []
    with watching():
        catalog.wait_for(lambda c: c.visible == {"a": "a.py"})
        path.rename(folder / "z.py")
        catalog.wait_for(
            lambda c: blinks.append(None) if not c.visible else c.visible == {"a": "z.py"}
        )
    assert blinks == []
    assert len(catalog.versions["a"]) == 1


def test_a_new_folder_a_moved_folder_a_deleted_folder(
    write: Write, folder: Path, catalog: MemoryCatalog, watching: Watching
) -> None:
    with watching():
        write("team/deep/a.py", a_dag("a"))
        catalog.wait_for(lambda c: c.visible == {"a": "team/deep/a.py"})
        (folder / "team").rename(folder / "crew")
        catalog.wait_for(lambda c: c.visible == {"a": "crew/deep/a.py"})
        shutil.rmtree(folder / "crew")
        catalog.wait_for(lambda c: c.visible == {})


def test_one_dag_id_in_two_files(
    write: Write, folder: Path, catalog: MemoryCatalog, watching: Watching
) -> None:
    write("b.py", a_dag("x"))
    write("a.py", a_dag("x") + a_dag("y"))
    with watching():
        catalog.wait_for(lambda c: c.visible == {"x": "a.py", "y": "a.py"} and c.errors)
        kind, message = catalog.errors["b.py"]
        assert kind == "duplicate"
        assert message.startswith("b.py:3: ")
        assert "'x' (by a.py)" in message
        (folder / "a.py").unlink()
        catalog.wait_for(lambda c: c.visible == {"x": "b.py"} and c.errors == {})
        write("a.py", a_dag("x"))
        catalog.wait_for(lambda c: "a.py" in c.errors)
        assert catalog.visible == {"x": "b.py"}  # it has it now, and keeps it


def test_a_helper_that_changes_or_comes(
    write: Write, catalog: MemoryCatalog, watching: Watching
) -> None:
    write("lib/names.py", "NAME = 'one'")
    write("a.py", a_dag("a", "from lib.names import NAME").replace("'a'", "NAME"))
    write("b.py", a_dag("b", "import not_yet"))
    with watching():
        assert catalog.visible == {"one": "a.py"}
        write("lib/names.py", "NAME = 'two'")
        catalog.wait_for(lambda c: c.visible == {"two": "a.py"})
        write("not_yet.py", "")
        catalog.wait_for(lambda c: "b" in c.visible and c.errors == {})


def test_data_files_that_an_import_reads_or_lists(
    write: Write, catalog: MemoryCatalog, watching: Watching
) -> None:
    write("tables/one.json", '"one"')
    write(
        "a.py",
        """
        import json
        from pathlib import Path
        from orchestrator.sdk import DAG

        for path in sorted((Path(__file__).parent / "tables").glob("*.json")):
            with DAG(json.loads(path.read_text())):
                pass
        """,
    )
    with watching():
        assert [*catalog.visible] == ["one"]
        write("tables/two.json", '"two"')
        catalog.wait_for(lambda c: set(c.visible) == {"one", "two"})
        write("tables/one.json", '"uno"')
        catalog.wait_for(lambda c: set(c.visible) == {"uno", "two"})


def test_an_ignore_file_takes_files_out(
    write: Write, folder: Path, catalog: MemoryCatalog, watching: Watching
) -> None:
    write("a.py", a_dag("a"))
    with watching():
        write(".airflowignore", "a.py\n")
        catalog.wait_for(lambda c: c.visible == {})
        (folder / ".airflowignore").unlink()
        catalog.wait_for(lambda c: c.visible == {"a": "a.py"})


def test_a_change_is_told_at_once(write: Write, catalog: MemoryCatalog, watching: Watching) -> None:
    rung = threading.Semaphore(0)
    with watching(on_change=rung.release):
        latencies = []
        for number in range(5):
            while rung.acquire(blocking=False):
                pass
            wanted = f"a{number}"
            began_at = time.monotonic()
            write("a.py", a_dag(wanted))
            catalog.wait_for(partial(_shows, dag_id=wanted))
            assert rung.acquire(timeout=5)
            latencies.append(time.monotonic() - began_at)
        assert sorted(latencies)[2] < 1.0, latencies


def test_hanging_files_do_not_delay_the_others(
    write: Write, catalog: MemoryCatalog, watching: Watching
) -> None:
    limits = ParseLimits(timeout_s=15)
    write("z.py", a_dag("z"))
    with watching(limits=limits):
        for number in range(3):
            write(f"hang_{number}.py", a_dag(f"h{number}") + "while True: pass\n")
        write("zz.py", a_dag("zz"))
        began_at = time.monotonic()
        catalog.wait_for(lambda c: "zz" in c.visible)
        assert time.monotonic() - began_at < 10  # far before the first of them is stopped
        assert catalog.errors == {}


def test_a_store_that_is_away_is_told_later(
    write: Write,
    catalog: MemoryCatalog,
    watching: Watching,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestrator.parsing.folder._FAILURE_PAUSE_S", 0.05)
    with watching():
        catalog.is_away = True
        write("a.py", a_dag("a"))
        write("b.py", a_dag("b"))
        catalog.wait_for(lambda c: c.refusals >= 3)
        assert catalog.visible == {}
        catalog.is_away = False
        catalog.wait_for(lambda c: set(c.visible) == {"a", "b"})


def test_an_unchanged_file_is_not_told_again(
    write: Write, folder: Path, catalog: MemoryCatalog, watching: Watching
) -> None:
    path = write("a.py", a_dag("a", "import time").replace("'a'", "'a', params={'t': time.time()}"))
    write("b.py", a_dag("b"))
    with watching() as service:
        writes = catalog.writes
        os.utime(path)
        service.request_parse("a.py")
        write("c.py", a_dag("c"))
        catalog.wait_for(lambda c: "c" in c.visible)
        service.request_parse("a.py")
        write("d.py", a_dag("d"))
        catalog.wait_for(lambda c: "d" in c.visible)
        assert len(catalog.versions["a"]) == 1
        assert catalog.writes - writes <= 8  # four for each new file


def test_an_asked_for_import_reads_the_world_again(
    write: Write, catalog: MemoryCatalog, watching: Watching, tmp_path: Path
) -> None:
    world = tmp_path / "world"
    world.write_text("one")
    write("a.py", a_dag("a", f"name = open({str(world)!r}).read()").replace("'a'", "name"))
    with watching() as service:
        assert [*catalog.visible] == ["one"]
        world.write_text("two")
        service.request_parse("a.py")
        catalog.wait_for(lambda c: [*c.visible] == ["two"])


def test_the_world_is_read_again_now_and_then(
    write: Write, catalog: MemoryCatalog, watching: Watching, tmp_path: Path
) -> None:
    world = tmp_path / "world"
    world.write_text("one")
    write("a.py", a_dag("a", f"name = open({str(world)!r}).read()").replace("'a'", "name"))
    with watching(reparse_s=0.1):
        world.write_text("two")
        catalog.wait_for(lambda c: [*c.visible] == ["two"])


def test_without_a_watch_the_folder_is_walked(
    write: Write,
    folder: Path,
    catalog: MemoryCatalog,
    watching: Watching,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "true")
    monkeypatch.setenv("WATCHFILES_POLL_DELAY_MS", "3600000")  # a watch that tells nothing
    write("helper.py", "NAME = 'a'")
    write("a.py", a_dag("a", "from helper import NAME").replace("'a'", "NAME"))
    with watching(rescan_s=0.1):
        write("b.py", a_dag("b"))
        catalog.wait_for(lambda c: set(c.visible) == {"a", "b"})
        write("helper.py", "NAME = 'other'")
        catalog.wait_for(lambda c: set(c.visible) == {"other", "b"})
        (folder / "b.py").unlink()
        catalog.wait_for(lambda c: set(c.visible) == {"other"})


def test_a_folder_that_vanishes_takes_no_dag_along(
    write: Write, folder: Path, catalog: MemoryCatalog, watching: Watching
) -> None:
    write("a.py", a_dag("a"))
    with watching(rescan_s=0.1):
        away = folder.with_name("away")
        with capture_logs() as logs:
            folder.rename(away)
            (away / "a.py").write_text(a_dag("b"))
            eventually(
                lambda: "dag_folder_unreadable" in [entry["event"] for entry in logs],
                "the service looks for the folder",
            )
        assert catalog.visible == {"a": "a.py"}
        away.rename(folder)
        catalog.wait_for(lambda c: c.visible == {"b": "a.py"})
        write("c.py", a_dag("c"))
        catalog.wait_for(lambda c: "c" in c.visible)


def test_a_folder_swapped_by_a_link(catalog: MemoryCatalog, tmp_path: Path, write: Write) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text(a_dag(name))
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "one")
    with DagFolderService(
        catalog, link, limits=LIMITS, on_change=lambda: None, rescan_s=0.1
    ) as service:
        assert service.wait_for_first_scan(30)
        assert [*catalog.visible] == ["one"]
        swap = tmp_path / "next"
        swap.symlink_to(tmp_path / "two")
        swap.rename(link)
        catalog.wait_for(lambda c: [*c.visible] == ["two"])
        (tmp_path / "two" / "b.py").write_text(a_dag("b"))
        catalog.wait_for(lambda c: set(c.visible) == {"two", "b"})


def test_two_services_on_one_folder_agree(
    write: Write, folder: Path, catalog: MemoryCatalog, watching: Watching
) -> None:
    write("b.py", a_dag("x"))
    write("a.py", a_dag("x", "import time").replace("'x'", "'x', params={'t': time.time()}"))
    with watching(), watching():
        catalog.wait_for(lambda c: c.visible == {"x": "a.py"} and "b.py" in c.errors)
        write("c.py", a_dag("c"))
        catalog.wait_for(lambda c: "c" in c.visible)
        assert len(catalog.versions["c"]) == 1


def test_stopping_ends_everything_at_once(
    write: Write, folder: Path, catalog: MemoryCatalog
) -> None:
    write("a.py", a_dag("a") + "while True: pass\n")
    before = set(threading.enumerate())
    service = DagFolderService(
        catalog, folder, limits=ParseLimits(timeout_s=3600), on_change=lambda: None
    )
    service.start()
    eventually(lambda: service._server._zygote is not None, "the zygote runs")
    zygote = service._server._zygote
    assert zygote is not None
    began_at = time.monotonic()
    service.stop()
    service.stop()
    assert time.monotonic() - began_at < 5
    assert zygote.poll() is not None
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
