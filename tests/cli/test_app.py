"""Commands exist, answer at once, and say what is wrong in one sentence."""

import json
import subprocess
import sys

import pytest

from orchestrator import __version__
from orchestrator.cli import HASH_SEED
from orchestrator.parsing import HASH_SEED as PARSERS_HASH_SEED
from tests.cli.conftest import Project

HEAVY = ("alembic", "celery", "fastapi", "redis", "rich", "sqlalchemy", "structlog")


def test_help_needs_no_heavy_library() -> None:
    program = (
        "import sys; from orchestrator.cli.app import app\n"
        "try: app(['dags', '--help'])\n"
        f"finally: print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "Run a DAG in this process, without services" in done.stdout


def test_tasks_are_executed_with_the_parsers_hash_seed() -> None:
    assert HASH_SEED == PARSERS_HASH_SEED


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dags", "triger"], "No such command 'triger'. Did you mean 'trigger'?"),
        (["dags", "trigger"], "Missing argument 'DAG_ID'"),
        (["dags", "trigger", "greeting", "--conf", "{name: 1}"], "'{name: 1}' is not JSON"),
        (["dags", "trigger", "greeting", "--conf", "[1]"], "'[1]' is not a JSON object"),
        (["dags", "trigger", "greeting", "--conf", "@none.json"], "none.json cannot be read"),
        (["dags", "trigger", "greeting", "--logical-date", "x"], "'x' is not a date or time"),
        (["runs", "list", "--state", "done"], "'done' is no state of a run"),
        (["tasks", "list", "greeting", "--state", "ok"], "'ok' is no state of a task"),
        (["health", "kafka"], "'kafka' is none of database, redis, scheduler, worker, api"),
        (["standalone", "--demo", "--once", "greeting"], "choose one"),
        (["standalone", "--conf", "{}"], "--conf needs a run"),
        (["worker", "-c", "0"], "should be greater than or equal to 1"),
    ],
)
def test_a_wrong_command_line_exits_2(project: Project, arguments: list[str], words: str) -> None:
    result = project.run(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.output.split())


def test_an_expected_error_is_one_sentence_and_exits_1(project: Project) -> None:
    project.environ["ORCHESTRATOR_API_PROT"] = "8081"
    done = project.run_alone("config", "list")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "error: unknown setting ORCHESTRATOR_API_PROT in the environment; "
        "did you mean 'ORCHESTRATOR_API_PORT'?\n",
    )


def test_config_list_says_where_each_value_comes_from_and_no_secret(project: Project) -> None:
    project.environ["ORCHESTRATOR_SECRET_KEY"] = "0123456789" * 4
    result = project.run("config", "list", "--output", "json")
    rows = {row["name"]: (row["value"], row["origin"]) for row in json.loads(result.stdout)}
    assert rows["ORCHESTRATOR_SECRET_KEY"] == ("***", "environment")
    assert rows["ORCHESTRATOR_API_PORT"] == ("8080", "default")
    assert "0123456789" not in result.output


def test_version(project: Project) -> None:
    assert project.run("version").stdout == f"{__version__}\n"


def test_a_new_project_has_a_database_at_once(project: Project) -> None:
    assert project.run("db", "check").stdout == "the database is up to date\n"
    assert project.run("db", "migrate").stdout == "the database is up to date\n"
    assert (project.path / "home" / "secret_key").exists() is False
    result = project.run("dags", "list")
    assert result.stdout.startswith("no DAGs yet: put a Python file")
    assert (project.path / "home" / "secret_key").stat().st_mode & 0o777 == 0o600


def test_another_database_is_migrated_when_asked(project: Project, empty_postgres_url: str) -> None:
    project.environ["ORCHESTRATOR_DATABASE_URL"] = empty_postgres_url.replace("+psycopg", "")
    assert "run `orchestrator db migrate`" in project.refusal("dags", "list")
    assert project.run("db", "migrate").stdout == "the database is migrated\n"
    assert project.run("dags", "list").exit_code == 0
    refused = project.run("db", "downgrade", "base")
    assert refused.exit_code == 1  # not confirmed
    assert project.run("db", "downgrade", "base", "--yes").exit_code == 0
    assert "run `orchestrator db migrate`" in project.refusal("db", "check")
