"""`orchestrator dags test` runs a DAG where its author sits."""

import json
from pathlib import Path

from tests.cli.conftest import Project


def test_by_id_with_conf_and_no_database(project: Project) -> None:
    result = project.run_alone(
        "dags", "test", "greeting", "--conf", json.dumps({"name": "ann"}),
        "--logical-date", "2024-05-31",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "greeting manual__2024-05-31T00:00:00+00:00: success" in result.stdout
    assert [line.split() for line in result.stdout.splitlines()[:4]] == [
        ["running", "greet"],
        ["success", "greet"],
        ["running", "shout"],
        ["success", "shout"],
    ]
    assert not (project.path / "home").exists()


def test_a_failing_dag_exits_1_and_shows_why(project: Project) -> None:
    (project.path / "dags" / "broken.py").write_text(
        "from orchestrator.sdk import dag, task\n@dag\ndef broken():\n    @task\n"
        "    def fail():\n        raise ValueError('no such luck')\n    fail()\nbroken()\n"
    )
    result = project.run_alone("dags", "test", "broken")
    assert result.returncode == 1
    assert "ValueError: no such luck" in result.stdout
    assert "Traceback" in result.stderr  # the task's own, as it would be in its log


def test_a_breakpoint_stops_at_the_authors_line(project: Project) -> None:
    path = project.path / "dags" / "stopping.py"
    path.write_text(
        "from orchestrator.sdk import dag, task\n@dag\ndef stopping():\n    @task\n"
        "    def add():\n        secret = 41\n        breakpoint()\n        return secret\n"
        "    add()\nstopping()\n"
    )
    result = project.run_alone("dags", "test", "stopping", stdin="p secret + 1\nc\n")
    assert result.returncode == 0, result.stderr
    assert "42" in result.stdout
    assert f"{path}(8)add()" in result.stdout


def test_by_file(project: Project) -> None:
    path = project.path / "dags" / "greeting.py"
    assert project.run("dags", "test", str(path)).exit_code == 0
    assert project.refusal("dags", "test", "none.py") == (
        "there is no file 'none.py'; name a DAG file or a DAG id"
    )


def test_what_is_not_there_is_named_with_the_nearest(project: Project, tmp_path: Path) -> None:
    assert project.refusal("dags", "test", "greting") == (
        f"no file in {tmp_path / 'dags'} defines DAG 'greting'; did you mean 'greeting'?"
    )
    (project.path / "dags" / "broken.py").write_text("dag = 1 +\n")
    assert "1 files there do not import: broken.py:1" in project.refusal("dags", "test", "other")


def test_a_file_from_elsewhere_imports_what_lies_beside_it(
    project: Project, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "beside_it.py").write_text("NAME = 'imported'\n")
    (elsewhere / "lone.py").write_text(
        "from beside_it import NAME\nfrom orchestrator.sdk import DAG, EmptyOperator\n"
        "with DAG('lone'):\n    EmptyOperator(task_id=NAME)\n"
    )
    result = project.run_alone("dags", "test", "elsewhere/lone.py")
    assert result.returncode == 0, result.stderr
    assert "imported" in result.stdout


def test_a_dag_function_that_is_never_called_makes_no_dag(project: Project) -> None:
    path = project.path / "dags" / "uncalled.py"
    path.write_text("from orchestrator.sdk import dag\n@dag\ndef uncalled(): ...\n")
    assert project.refusal("dags", "test", str(path)) == (
        f"{path} defines no DAG; a @dag function makes one only when it is called"
    )


def test_an_xcom_too_large_for_a_worker_is_too_large_here(project: Project) -> None:
    (project.path / "dags" / "large.py").write_text(
        "from orchestrator.sdk import dag, task\n@dag\ndef large():\n    @task\n"
        "    def make():\n        return 'x' * 50_000\n    make()\nlarge()\n"
    )
    project.environ["ORCHESTRATOR_XCOM_BYTES_MAX"] = "49152"
    result = project.run_alone("dags", "test", "large")
    assert result.returncode == 1
    assert "xcom_bytes_max allows 49,152" in result.stdout
