"""A file becomes DAG objects in this very process, as in a worker."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.parsing import DagFileError, ProblemKind, import_dags
from tests.parsing.conftest import Write

DAG = 'from orchestrator.sdk import DAG\nwith DAG("etl"):\n    pass\n'


@pytest.fixture(autouse=True)
def _import_state() -> Iterator[None]:
    """Put back what importing changes in this process."""
    path, hooks, modules = sys.path[:], sys.path_hooks[:], set(sys.modules)
    yield
    sys.path[:], sys.path_hooks[:] = path, hooks
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    importlib.invalidate_caches()


def ids(path: Path, folder: Path, source: str | None = None) -> list[str]:
    return [dag.dag_id for dag in import_dags(path, dags_folder=folder, source=source)]


def test_dags_of_variables_of_blocks_and_of_functions(write: Write, folder: Path) -> None:
    path = write(
        "etl.py",
        """
        from orchestrator.sdk import DAG, dag

        named = DAG("named")
        with DAG("nameless"):
            pass

        @dag
        def decorated():
            pass

        decorated()
        """,
    )
    assert sorted(ids(path, folder)) == ["decorated", "named", "nameless"]


def dag_modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("orchestrator_dag_")}


def test_equal_names_in_two_folders_do_not_meet(write: Write, folder: Path) -> None:
    paths = [
        write(f"{team}/etl.py", DAG.replace("etl", f"{team}_etl") + f"def who(): return {team!r}\n")
        for team in ("red", "blue")
    ]
    before = dag_modules()
    assert [ids(path, folder) for path in paths] == [["red_etl"], ["blue_etl"]]
    names = dag_modules() - before
    assert len(names) == 2
    assert {sys.modules[name].who() for name in names} == {"red", "blue"}
    assert "etl" not in sys.modules


def test_a_stored_text_is_executed_instead_of_the_file(write: Write, folder: Path) -> None:
    path = write("etl.py", DAG.replace("etl", "new"))
    assert ids(path, folder, source=DAG.replace("etl", "old")) == ["old"]
    assert ids(folder / "gone.py", folder, source=DAG) == ["etl"]


def test_a_traceback_and_the_source_show_the_stored_text(write: Write, folder: Path) -> None:
    path = write("etl.py", "# one\n# two\n# three\n# four\n")
    source = DAG + "def task():\n    raise KeyError('stored')\n"
    before = dag_modules()
    import_dags(path, dags_folder=folder, source=source)
    (name,) = dag_modules() - before
    task = sys.modules[name].task
    assert inspect.getsource(task) == "def task():\n    raise KeyError('stored')\n"
    with pytest.raises(KeyError) as caught:
        task()
    assert "raise KeyError('stored')" in "".join(traceback.format_exception(caught.value))


def test_helper_modules_of_the_folder_and_its_packages(write: Write, folder: Path) -> None:
    write("helper.py", "NAME = 'a'")
    write("lib/names.py", "NAME = 'b'")
    path = write(
        "etl.py",
        """
        import helper
        from lib.names import NAME
        from orchestrator.sdk import DAG

        with DAG(f"etl_{helper.NAME}_{NAME}"):
            pass
        """,
    )
    assert ids(path, folder) == ["etl_a_b"]


def test_a_changed_helper_is_imported_anew_however_quick_the_edit(
    write: Write, folder: Path
) -> None:
    path = write("etl.py", "import helper\n" + DAG.replace('"etl"', "helper.NAME"))
    for name in ("one", "two", "six"):  # of one length, within one second
        write("helper.py", f"NAME = {name!r}")
        assert ids(path, folder) == [name]


def test_nothing_is_written_into_the_folder(write: Write, folder: Path) -> None:
    write("helper.py", "NAME = 'a'")
    path = write("etl.py", "import helper\n" + DAG)
    import_dags(path, dags_folder=folder)
    assert sorted(entry.name for entry in folder.rglob("*")) == ["etl.py", "helper.py"]


def test_a_file_of_the_folder_cannot_shadow_an_installed_module(write: Write, folder: Path) -> None:
    write("msgspec.py", "raise RuntimeError('shadowed')")
    write("orchestrator.py", "raise RuntimeError('shadowed')")
    path = write("etl.py", "import msgspec, statistics\n" + DAG)
    assert ids(path, folder) == ["etl"]
    assert sys.path[-1] == str(folder)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("x = (", ProblemKind.SYNTAX, "etl.py:1: SyntaxError: '(' was never closed in `x = (`"),
        ("raise SystemExit", ProblemKind.EXIT, "etl.py:1: the file calls sys.exit()"),
        ("1 / 0", ProblemKind.EXCEPTION, "etl.py:1: ZeroDivisionError: division by zero"),
    ],
)
def test_a_broken_file_raises_one_error(
    write: Write, folder: Path, text: str, kind: ProblemKind, message: str
) -> None:
    with pytest.raises(DagFileError) as caught:
        import_dags(write("etl.py", text), dags_folder=folder)
    assert caught.value.problem.kind is kind
    assert str(caught.value).startswith(message)


def test_ctrl_c_is_not_the_files_fault(write: Write, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        import_dags(write("etl.py", "raise KeyboardInterrupt"), dags_folder=folder)


def test_a_file_outside_the_folder(write: Write, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.py"
    path.write_text(DAG)
    assert ids(path, folder) == ["etl"]
