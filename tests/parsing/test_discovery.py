"""Which files are DAG files."""

from pathlib import Path

import pytest

from orchestrator.parsing.discovery import list_folder
from orchestrator.parsing.ignoring import is_ignored, read_rules
from orchestrator.parsing.sources import may_define_dags
from tests.parsing.conftest import Write


def found(folder: Path) -> list[str]:
    return list(list_folder(folder).files)


def test_python_files_in_sorted_order_of_their_paths(write: Write, folder: Path) -> None:
    for name in ("b.py", "a/z.py", "a.py", "notes.txt", "data.json", "a/b/c.py"):
        write(name, "")
    assert found(folder) == ["a.py", "a/b/c.py", "a/z.py", "b.py"]


def test_hidden_names_and_caches_are_passed_over(write: Write, folder: Path) -> None:
    for name in (".hidden.py", ".git/x.py", "__pycache__/x.py", "a/.venv/x.py", "a/x.py"):
        write(name, "")
    assert found(folder) == ["a/x.py"]


def test_links_are_followed_and_circles_are_not(write: Write, folder: Path, tmp_path: Path) -> None:
    write("a/x.py", "")
    (folder / "a" / "up").symlink_to(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "y.py").write_text("")
    (folder / "linked").symlink_to(tmp_path / "other")
    (folder / "dangling.py").symlink_to(folder / "nowhere.py")
    assert found(folder) == ["a/x.py", "linked/y.py"]


def test_what_is_no_regular_file_is_no_dag_file(write: Write, folder: Path) -> None:
    import os

    os.mkfifo(folder / "pipe.py")
    write("folder.py/x.py", "")
    assert found(folder) == ["folder.py/x.py"]


def test_a_folder_that_is_not_there_is_not_an_empty_one(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_folder(folder / "gone")


def test_ignore_files_of_each_folder(write: Write, folder: Path) -> None:
    write(".airflowignore", "# helpers\nlib/\n*_draft.py\n")
    write("team/.orchestratorignore", "/old\n!keep_draft.py\n")
    for name in (
        "a.py",
        "b_draft.py",
        "lib/x.py",
        "old/x.py",
        "team/keep_draft.py",
        "team/c_draft.py",
        "team/old/x.py",
        "team/lib/x.py",
    ):
        write(name, "")
    assert found(folder) == ["a.py", "old/x.py", "team/keep_draft.py"]


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("x.py", "x.py", True),
        ("x.py", "a/b/x.py", True),
        ("x.py", "ax.py", False),
        ("/x.py", "x.py", True),
        ("/x.py", "a/x.py", False),
        ("a/x.py", "a/x.py", True),
        ("a/x.py", "b/a/x.py", False),
        ("*.py", "a/x.py", True),
        ("a/*.py", "a/b/x.py", False),
        ("a/**/x.py", "a/x.py", True),
        ("a/**/x.py", "a/b/c/x.py", True),
        ("**/x.py", "a/b/x.py", True),
        ("a/**", "a/b/x.py", True),
        ("?.py", "x.py", True),
        ("?.py", "xx.py", False),
        ("[ab].py", "a.py", True),
        ("[!ab].py", "a.py", False),
        ("[!ab].py", "c.py", True),
        ("x+y.py", "x+y.py", True),
        ("#x.py", "#x.py", False),
        (r"\#x.py", "#x.py", True),
        ("[", "[", True),
    ],
)
def test_patterns_are_those_of_gitignore(
    folder: Path, pattern: str, path: str, *, expected: bool
) -> None:
    (folder / ".orchestratorignore").write_text(f"{pattern}\n")
    rules = read_rules(folder, relative="")
    assert is_ignored(path, rules, is_folder=False) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"from orchestrator.sdk import DAG", True),
        (b"from orchestrator.sdk import dag", True),
        (b"from airflow import DAG", True),
        (b"import orchestrator", False),
        (b"DAG = 1", False),
        (b"\xff\xfe orchestrator dag", True),
        (b"", False),
    ],
)
def test_only_a_file_that_mentions_both_is_imported(text: bytes, *, expected: bool) -> None:
    assert may_define_dags(text) is expected


@pytest.mark.parametrize("name", [".airflowignore", ".orchestratorignore"])
def test_an_ignore_file_may_hold_regular_expressions(name: str, write: Write, folder: Path) -> None:
    text = "*.txt\nsyntax: regexp\n^old_  # of last year\nlib/[a-c]\n(\n\nsyntax: glob\n/x\n"
    write(f"team/{name}", text)
    rules = read_rules(folder / "team", relative="team/")
    taken_out = {
        path
        for path in (
            *("team/old_a.py", "team/sub/old_a.py", "team/lib/a.py", "team/lib/z.py"),
            *("team/x", "team/sub/x", "other/old_a.py", "team/n.txt"),
        )
        if is_ignored(path, rules, is_folder=False)
    }
    assert taken_out == {"team/old_a.py", "team/lib/a.py", "team/x", "team/n.txt"}
