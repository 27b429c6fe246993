"""What differs between imports without a change of the file breeds no version."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.core.codec import content_hash
from orchestrator.parsing import ForkServer, ParsedFile, ProblemKind, WarningKind, parse_file
from tests.parsing.conftest import LIMITS, Parse, Write

PARAM = """
from datetime import date, datetime, timedelta, timezone
import os, random, secrets, socket, time, uuid
from orchestrator.sdk import DAG, EmptyOperator

with DAG("etl", params={{"x": {value}}}):
    EmptyOperator(task_id="load")
"""

VARYING = [
    "str(uuid.uuid4())",
    "datetime.now().isoformat()",
    "str(datetime.now(timezone.utc).date())",
    "str(date.today())",
    "datetime.today().strftime('%Y-%m-%d')",
    "date.today().year",
    "time.time()",
    "time.strftime('%A')",
    "time.strftime('%H')",
    "random.random()",
    "random.choice(list(range(1000)))",
    "secrets.token_hex()",
    "os.getpid()",
    "socket.gethostname()",
    "str(object())",
]


def hashes(parsed: ParsedFile) -> list[str]:
    assert parsed.error is None, parsed.error
    return [content_hash(dag.spec, parsed.text, volatile=dag.volatile) for dag in parsed.dags]


@pytest.mark.parametrize("value", VARYING)
def test_a_varying_param_is_volatile_and_said_so(parse: Parse, value: str) -> None:
    text = PARAM.format(value=value)
    first, second = parse(text), parse(text)
    assert first.dags[0].volatile == (("params", 0, "default"),)
    (warning,) = first.warnings
    assert (warning.kind, warning.dag_id) == (WarningKind.RUNTIME_VARYING_VALUE, "etl")
    assert "param 'x' default changes with each import" in warning.message
    assert hashes(first) == hashes(second)


@pytest.mark.parametrize("value", ["1", "'fixed'", "str(date(2026, 1, 2) + timedelta(days=1))"])
def test_a_fixed_param_is_not(parse: Parse, value: str) -> None:
    parsed = parse(PARAM.format(value=value))
    assert parsed.dags[0].volatile == ()
    assert parsed.warnings == ()


def test_a_moving_start_date_asks_for_a_fixed_one(parse: Parse) -> None:
    text = """
        from datetime import datetime, timedelta
        from orchestrator.sdk import DAG

        with DAG("etl", start_date=datetime.now() - timedelta(days=1), schedule="@daily"):
            pass
        """
    first, second = parse(text), parse(text)
    assert first.dags[0].volatile == (("start_date",),)
    assert "give a fixed start_date" in first.warnings[0].message
    assert hashes(first) == hashes(second)


def test_another_value_beside_a_volatile_one_makes_a_version(parse: Parse, write: Write) -> None:
    text = """
        from datetime import datetime
        from orchestrator.sdk import DAG
        from numbers_of_ours import retries

        with DAG("etl", start_date=datetime.now(), params={"retries": retries}):
            pass
        """
    write("numbers_of_ours.py", "retries = 1\n")
    before = hashes(parse(text))
    write("numbers_of_ours.py", "retries = 2\n")
    assert hashes(parse(text)) != before


def test_a_value_from_a_helper_module_is_seen_to_vary(parse: Parse, write: Write) -> None:
    write("stamps.py", "import time\nNOW = time.time_ns()\n")
    parsed = parse(
        """
        from orchestrator.sdk import DAG
        from stamps import NOW

        with DAG("etl", params={"now": NOW}):
            pass
        """
    )
    assert parsed.dags[0].volatile == (("params", 0, "default"),)


def test_random_tasks_are_a_warning_and_no_versions(parse: Parse) -> None:
    text = """
        import uuid
        from orchestrator.sdk import DAG, EmptyOperator

        with DAG("etl"):
            EmptyOperator(task_id=f"load_{uuid.uuid4().hex}")
        """
    first, second = parse(text), parse(text)
    assert first.dags[0].spec.tasks != second.dags[0].spec.tasks
    assert [warning.kind for warning in first.warnings] == [WarningKind.RUNTIME_VARYING_TASKS]
    assert hashes(first) == hashes(second)
    assert hashes(parse(text + "# changed\n")) != hashes(first)


def test_random_dependencies_are_a_warning_too(parse: Parse) -> None:
    parsed = parse(
        """
        import random
        from orchestrator.sdk import DAG, EmptyOperator, chain

        with DAG("etl"):
            tasks = [EmptyOperator(task_id=f"t{number}") for number in range(50)]
            random.shuffle(tasks)
            chain(*tasks)
        """
    )
    (warning,) = parsed.warnings
    assert warning.kind is WarningKind.RUNTIME_VARYING_TASKS
    assert "dependencies are not the same" in warning.message


def test_tasks_that_depend_on_the_day_are_no_variance(parse: Parse) -> None:
    parsed = parse(
        """
        from datetime import date
        from orchestrator.sdk import DAG, EmptyOperator

        with DAG("etl"):
            EmptyOperator(task_id=f"load_{date.today():%Y_%m_%d}")
        """
    )
    assert parsed.warnings == ()
    assert parsed.dags[0].volatile == ()


def test_a_date_check_at_import_is_asked_about_today_only(parse: Parse) -> None:
    end = datetime.now(UTC) + timedelta(days=100)
    parsed = parse(
        f"""
        from datetime import date
        from orchestrator.sdk import DAG

        if date.today() > date({end.year}, {end.month}, {end.day}):
            raise RuntimeError("the licence has run out")

        with DAG("etl"):
            pass
        """
    )
    assert parsed.error is None
    assert parsed.warnings == ()


def test_random_dag_ids_are_an_error(parse: Parse) -> None:
    parsed = parse(
        """
        import uuid
        from orchestrator.sdk import DAG

        with DAG(f"etl_{uuid.uuid4().hex}"):
            pass
        """
    )
    assert parsed.error is not None
    assert parsed.error.kind is ProblemKind.INVALID
    assert "two imports of the file in a row gave different DAGs" in parsed.error.message


def test_a_file_that_bears_one_import_per_process_is_compared_with_a_twin(parse: Parse) -> None:
    text = """
        import sys, uuid
        from orchestrator.sdk import DAG

        if hasattr(sys, "registered_once"):
            raise RuntimeError("duplicate registration")
        sys.registered_once = True

        with DAG("etl", params={"x": str(uuid.uuid4()), "y": 1}):
            pass
        """
    parsed = parse(text)
    assert parsed.error is None
    assert parsed.dags[0].volatile == (("params", 0, "default"),)


def test_a_file_that_hangs_when_imported_again_keeps_its_dags(parse: Parse, folder: Path) -> None:
    text = f"""
        import os, time
        from orchestrator.sdk import DAG

        with DAG("etl"):
            pass
        if os.path.exists({str(folder / "mark")!r}):
            time.sleep(3600)
        open({str(folder / "mark")!r}, "w").close()
        """
    parsed = parse(text)
    assert parsed.error is None
    assert [dag.spec.dag_id for dag in parsed.dags] == ["etl"]
    assert [warning.kind for warning in parsed.warnings] == [WarningKind.NOT_COMPARED]


SETS = """
from orchestrator.sdk import DAG, EmptyOperator

with DAG("etl"):
    for number, name in enumerate({"customers", "orders", "returns", "stores", "visits"}):
        EmptyOperator(task_id=f"load_{number}_{name}")
"""


def test_a_set_has_one_order_in_every_parser(write: Write, folder: Path) -> None:
    path = write("etl.py", SETS)
    seen = set()
    for seed in ("1", "2"):  # of the process that starts the server; its children have their own
        with ForkServer(environ={**os.environ, "PYTHONHASHSEED": seed}) as server:
            parsed = parse_file(path, folder, LIMITS, server=server)
            assert parsed.warnings == ()
            seen.add(tuple(task.task_id for task in parsed.dags[0].spec.tasks))
    assert len(seen) == 1


def test_without_that_the_order_differs() -> None:
    """The test above can fail: the same set under two seeds."""
    orders = {
        subprocess.run(
            [sys.executable, "-c", "print([*{'customers', 'orders', 'returns', 'stores'}])"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3", "4")
    }
    assert len(orders) > 1
