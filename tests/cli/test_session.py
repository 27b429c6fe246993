"""How the command is named in what it tells people to type."""

import sys
from pathlib import Path

import pytest

from orchestrator.cli.session import program

SCRIPT = Path(sys.executable).with_name("orchestrator")


def test_what_a_shell_finds_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(SCRIPT.parent))
    assert program() == "orchestrator"


def test_what_no_shell_finds_is_called_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(SCRIPT.parent.parent)
    assert program() == "bin/orchestrator"
    monkeypatch.chdir(tmp_path)
    assert program() == str(SCRIPT)


def test_another_command_of_that_name_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "orchestrator"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{SCRIPT.parent}")
    monkeypatch.chdir(tmp_path)
    assert program() == str(SCRIPT)


def test_without_a_script_python_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python 3"))
    assert program() == f"'{tmp_path}/python 3' -m orchestrator.cli"
