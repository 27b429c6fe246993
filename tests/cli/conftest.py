"""A project of its own for each test of the CLI, and a way to run commands in it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from orchestrator.bootstrap import Services, open_services
from orchestrator.cli.app import app
from orchestrator.errors import OrchestratorError
from orchestrator.parsing import import_dags
from orchestrator.ports import ParsedVersion
from orchestrator.settings import load_settings

DAG_FILE = '''
from orchestrator.sdk import dag, task

@dag(params={"name": "you"}, tags=["polite"])
def greeting():
    """Says hello."""
    @task
    def greet(*, params) -> str:
        return "hello " + params["name"]

    @task
    def shout(words: str) -> str:
        return words.upper()

    shout(greet())

greeting()
'''


@dataclass(frozen=True)
class Project:
    """A DAG folder and a data folder, and the settings that name them."""

    path: Path
    environ: dict[str, str]

    def run(self, *arguments: str) -> Result:
        """Run a command in this process; an expected error is in `exception`."""
        return CliRunner().invoke(app, list(arguments), env=self.environ)

    def refusal(self, *arguments: str) -> str:
        """Return the one sentence with which a command fails."""
        result = self.run(*arguments)
        assert isinstance(result.exception, OrchestratorError), result.output
        return str(result.exception)

    def run_alone(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command as a person does, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "orchestrator.cli", *arguments],
            env={**os.environ, **self.environ},
            cwd=self.path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in os.environ:
        if name.startswith("ORCHESTRATOR_"):
            monkeypatch.delenv(name)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "greeting.py").write_text(DAG_FILE)
    return Project(
        tmp_path,
        {
            "ORCHESTRATOR_HOME": str(tmp_path / "home"),
            "ORCHESTRATOR_DAGS_FOLDER": str(tmp_path / "dags"),
        },
    )


@pytest.fixture
def services(project: Project, sqlite_template: Path) -> Iterator[Services]:
    """The project's store, with its DAG registered."""
    home = project.path / "home"
    home.mkdir(mode=0o700)
    (home / "orchestrator.db").write_bytes(sqlite_template.read_bytes())
    opened = open_services(load_settings(project.environ))
    (dag,) = import_dags(project.path / "dags" / "greeting.py", dags_folder=project.path / "dags")
    opened.store.catalog.register(
        ParsedVersion(
            spec=dag.spec(),
            path="greeting.py",
            source=DAG_FILE,
            source_digest="0" * 64,
            content_hash="1" * 64,
        )
    )
    yield opened
    opened.close()
