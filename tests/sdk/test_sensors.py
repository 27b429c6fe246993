"""A sensor looks and looks again; how it ends is as S16 says. Waits take no time here."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.outcomes import Failed, Rescheduled, Succeeded
from orchestrator.core.states import TaskState
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    BashSensor,
    Connection,
    DateTimeSensor,
    DayOfWeekSensor,
    FileSensor,
    PokeReturnValue,
    PythonSensor,
    TimeDeltaSensor,
    TimeSensor,
    task,
)
from orchestrator.sdk.weekdays import WeekDay
from orchestrator.testing import DagRunResult, run_dag
from tests.sdk.tries import try_task

DAY = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


def after(looks: int) -> Iterator[bool]:
    """Answers: not yet, not yet, now."""
    yield from [False] * looks
    while True:
        yield True


class Waits(BaseSensorOperator):
    """Pokes what it is given, and remembers when."""

    def __init__(self, *, answers: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.answers = answers
        self.times: list[datetime] = []

    def poke(self, context: Any) -> Any:
        from orchestrator.sdk.services import current_services

        self.times.append(current_services().clock.now())
        answer = next(self.answers) if hasattr(self.answers, "__next__") else self.answers
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def waits_s(self) -> list[float]:
        return [(b - a).total_seconds() for a, b in zip(self.times, self.times[1:], strict=False)]


def run_sensor(sensor: Any = Waits, **arguments: Any) -> tuple[DagRunResult, Any]:
    with DAG("d") as dag:
        made = sensor(task_id="wait", **arguments)
    return run_dag(dag, logical_date=DAY), made


def state_of(**arguments: Any) -> TaskState:
    result, _ = run_sensor(**arguments)
    return result["wait"].state


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_s16_it_looks_every_poke_interval(mode: str) -> None:
    result, sensor = run_sensor(answers=after(3), poke_interval=30, mode=mode)
    assert (result.state, result["wait"].tries) == ("success", 1)
    assert sensor.waits_s == pytest.approx([30, 30, 30], abs=1)


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_s16_the_defaults_are_a_minute_and_a_week(mode: str) -> None:
    result, sensor = run_sensor(answers=False, mode=mode, retries=3, poke_interval=6 * 3600)
    assert result["wait"].state == "failed"
    assert "did not come within its timeout of 604800 s" in str(result["wait"].reason)
    assert result["wait"].tries == 1, "a timeout is not retried"
    assert sum(sensor.waits_s) == pytest.approx(7 * 86_400, abs=5)
    with DAG("d"):
        assert BaseSensorOperator(task_id="plain").poke_interval == 60


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_s16_the_timeout_counts_from_the_start_of_the_try(mode: str) -> None:
    answers = iter([False, ValueError("broken"), False, False, True])
    result, sensor = run_sensor(
        answers=answers, mode=mode, poke_interval=40, timeout=100, retries=1, retry_delay=1000
    )
    # Looks at 0 and 40 (fails); the second try at 0, 40, 80 of its own: 100 are never over.
    assert (result.state, result["wait"].tries) == ("success", 2)
    assert sensor.waits_s == pytest.approx([40, 1000, 40, 40], abs=1)


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize(
    ("answers", "flags", "state"),
    [
        (False, {}, "failed"),
        (False, {"soft_fail": True}, "skipped"),
        (False, {"never_fail": True}, "failed"),
        (AirflowFailException("no"), {}, "failed"),
        (AirflowFailException("no"), {"soft_fail": True}, "skipped"),
        (AirflowFailException("no"), {"never_fail": True}, "skipped"),
        (AirflowSensorTimeout("late"), {"soft_fail": True}, "skipped"),
        (AirflowSensorTimeout("late"), {"never_fail": True}, "skipped"),
        (ValueError("odd"), {}, "failed"),
        (ValueError("odd"), {"soft_fail": True}, "failed"),
        (ValueError("odd"), {"never_fail": True}, "skipped"),
        (AirflowSkipException("enough"), {}, "skipped"),
    ],
)
def test_s16_how_it_ends(mode: str, answers: object, flags: dict[str, bool], state: str) -> None:
    assert state_of(answers=answers, mode=mode, poke_interval=10, timeout=60, **flags) == state


def test_s16_a_task_timeout_is_a_skip_with_soft_fail() -> None:
    given: dict[str, Any] = {"answers": False, "poke_interval": 10, "execution_timeout": 35}
    result, sensor = run_sensor(**given)
    assert (result["wait"].state, result["wait"].reason) == ("failed", "timed out after 35 s")
    assert len(sensor.times) == 4, "looks at 0, 10, 20, 30"
    assert state_of(**given, soft_fail=True) == "skipped"


def test_s16_silent_fail_goes_on_looking(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([ValueError("odd"), ValueError("odd"), True])
    result, sensor = run_sensor(answers=answers, silent_fail=True)
    assert (result.state, len(sensor.times)) == ("success", 3)
    assert "ValueError: odd" in caplog.text


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_s16_exponential_backoff_doubles_within_its_jitter(mode: str) -> None:
    _, sensor = run_sensor(
        answers=after(6), poke_interval=10, exponential_backoff=True, mode=mode, timeout=10_000
    )
    for number, wait_s in enumerate(sensor.waits_s):
        base = max(1, int(10 * 2.0 ** (number - 1)))
        assert base - 1 < wait_s < 2 * base + 1


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_s16_backoff_stays_below_max_wait_and_the_time_left(mode: str) -> None:
    result, sensor = run_sensor(
        answers=False,
        poke_interval=10,
        exponential_backoff=True,
        max_wait=timedelta(seconds=50),
        mode=mode,
        timeout=220,
    )
    assert result["wait"].state == "failed"
    assert max(sensor.waits_s) <= 51
    assert sum(sensor.waits_s) == pytest.approx(220, abs=2)


def test_s16_a_reschedule_gives_the_worker_back_and_keeps_the_try() -> None:
    with DAG("d") as dag:
        Waits(task_id="wait", answers=False, mode="reschedule", poke_interval=90)
    outcome = try_task(dag, "wait", began_at=datetime.now(UTC))
    assert isinstance(outcome, Rescheduled)
    assert outcome.wait_s == pytest.approx(90, abs=1)
    late = try_task(dag, "wait", began_at=datetime.now(UTC) - timedelta(days=8))
    assert isinstance(late, Failed)
    assert not late.retryable


def test_any_task_may_ask_to_be_rescheduled() -> None:
    times: list[datetime] = []

    @task
    def twice(ti: Any) -> int:
        times.append(ti.began_at)
        if len(times) == 1:
            raise AirflowRescheduleException(datetime.now(UTC) + timedelta(hours=1))
        return len(times)

    with DAG("d") as dag:
        twice()
    result = run_dag(dag)
    assert (result.xcom("twice"), result["twice"].tries) == (2, 1)
    assert times[0] == times[1], "it is the same try"


def test_a_naive_reschedule_date_is_refused() -> None:
    @task
    def when() -> None:
        raise AirflowRescheduleException(datetime(2026, 1, 1))  # noqa: DTZ001

    with DAG("d") as dag:
        when()
    assert "must be a datetime with a time zone" in str(run_dag(dag)["when"].reason)


def test_s16_a_poke_return_value_is_pushed() -> None:
    result, _ = run_sensor(answers=iter([PokeReturnValue(False, "no"), PokeReturnValue(True, 7)]))
    assert result.xcom("wait") == 7


def test_task_sensor_takes_arguments_and_context() -> None:
    found: list[str] = []

    @task.sensor(poke_interval=5, timeout=100, mode="reschedule")
    def arrived(name: str, ds: str) -> PokeReturnValue:
        found.append(name)
        return PokeReturnValue(is_done=len(found) > 2, xcom_value=f"{name} {ds}")

    @task
    def use(value: str) -> str:
        return value

    with DAG("d") as dag:
        use(arrived("file"))
    result = run_dag(dag, logical_date=DAY)
    assert result.xcom("use") == "file 2026-03-04"
    assert len(found) == 3
    assert dag.spec().tasks[0].operator == "@task.sensor"


def test_a_sensor_in_a_plain_function() -> None:
    answers = after(2)
    result, _ = run_sensor(PythonSensor, python_callable=lambda: next(answers))
    assert result.state == "success"
    assert result.xcom("wait") is None


def test_a_file_sensor_finds_files_patterns_and_filled_folders(tmp_path: Path) -> None:
    def found(path: str, **arguments: Any) -> bool:
        result, _ = run_sensor(FileSensor, filepath=path, timeout=1, **arguments)
        return result.state == "success"

    (tmp_path / "deep" / "er").mkdir(parents=True)
    assert not found(f"{tmp_path}/deep"), "an empty folder is not enough"
    (tmp_path / "deep" / "er" / "a.csv").touch()
    assert found(f"{tmp_path}/deep")
    assert found(f"{tmp_path}/deep/er/a.csv")
    assert found(f"{tmp_path}/deep/er/*.csv")
    assert not found(f"{tmp_path}/deep/er/*.txt")
    assert not found(f"{tmp_path}/**/deep/**/*.csv")
    assert found(f"{tmp_path}/**/*.csv", recursive=True)
    assert found(f"{tmp_path}/{{{{ 'deep' }}}}/er/a.csv"), "the path is a template"


def test_a_bash_sensor_goes_by_the_exit_code(tmp_path: Path) -> None:
    count = f"echo x >> {tmp_path}/looks; test $(wc -l < {tmp_path}/looks) -ge 3"
    result, _ = run_sensor(BashSensor, bash_command=count)
    assert result.state == "success"
    assert (tmp_path / "looks").read_text() == "x\nx\nx\n"
    result, _ = run_sensor(BashSensor, bash_command="echo broken; exit 2", retry_exit_code=1)
    assert result["wait"].state == "failed"
    assert "bash exited with code 2; only 0 (done) and 1 (not yet)" in str(result["wait"].reason)
    assert "broken" in str(result["wait"].reason)
    result, _ = run_sensor(BashSensor, bash_command="exit 1", retry_exit_code=1, timeout=90)
    assert "did not come within" in str(result["wait"].reason)


def test_a_time_delta_sensor_counts_from_the_interval(caplog: pytest.LogCaptureFixture) -> None:
    soon = datetime.now(UTC) - timedelta(minutes=1)
    with DAG("d") as dag:
        TimeDeltaSensor(task_id="wait", delta=timedelta(hours=2), mode="reschedule")
    changes: list[Any] = []
    result = run_dag(dag, logical_date=soon, on_event=changes.append)
    assert result.state == "success"
    assert (changes[-1].at - soon).total_seconds() == pytest.approx(7200, abs=61)


@pytest.mark.parametrize("aware", [True, False])
def test_a_date_time_sensor_takes_a_date_or_a_template(aware: bool) -> None:
    target = (datetime.now(UTC) + timedelta(hours=3)).replace(tzinfo=UTC if aware else None)
    assert run_sensor(DateTimeSensor, target_time=target)[0].state == "success"
    assert run_sensor(DateTimeSensor, target_time="{{ ts }}")[0].state == "success"
    wrong, _ = run_sensor(DateTimeSensor, target_time="{{ 'soon' }}")
    assert "target_time is 'soon'; it must be a date and time" in str(wrong["wait"].reason)


def test_a_time_sensor_means_the_clock_of_the_dag() -> None:
    began: list[datetime] = []
    with DAG("d", timezone="Asia/Tokyo") as dag:
        TimeSensor(task_id="wait", target_time=time(23, 59, 59, 999_999))
    run_dag(dag, on_event=lambda change: began.append(change.at))
    day_in_tokyo = began[-1].astimezone(__import__("zoneinfo").ZoneInfo("Asia/Tokyo"))
    assert (day_in_tokyo.hour, day_in_tokyo.minute) in [(0, 0), (23, 59)]


def test_a_day_of_week_sensor_waits_for_its_day() -> None:
    tomorrow = WeekDay((datetime.now(UTC) + timedelta(days=1)).isoweekday())
    changes: list[Any] = []
    with DAG("d") as dag:
        DayOfWeekSensor(task_id="wait", week_day=tomorrow, poke_interval=1800)
    assert run_dag(dag, on_event=changes.append).state == "success"
    assert changes[-1].at.isoweekday() == tomorrow
    # 2026-03-04 is a Wednesday.
    by_date: dict[str, Any] = {
        "use_task_logical_date": True,
        "timeout": 10,
        "sensor": DayOfWeekSensor,
    }
    assert run_sensor(week_day={"Wednesday", "friday"}, **by_date)[0].state == "success"
    assert run_sensor(week_day=WeekDay.TUESDAY, **by_date)[0].state == "failed"


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Waits, {"answers": 1, "mode": "rescheduel"}, "mode is 'rescheduel'; did you mean 'resch"),
        (Waits, {"answers": 1, "poke_interval": -1}, "poke_interval is"),
        (Waits, {"answers": 1, "timeout": "1h"}, "timeout is '1h'; it must be a timedelta, or a"),
        (Waits, {"answers": 1, "soft_fail": True, "never_fail": True}, "exclude each other"),
        (Waits, {"answers": 1, "max_wait": 0}, "max_wait is 0:00:00; it must be more"),
        (BashSensor, {"bash_command": " "}, "bash_command is empty"),
        (BashSensor, {"bash_command": "x", "output_encoding": "utf9"}, "encoding such as 'utf-8'"),
        (FileSensor, {"filepath": 3}, "filepath is 3; it must be a path or a pattern"),
        (TimeDeltaSensor, {"delta": 5}, "delta is 5; it must be a timedelta"),
        (DateTimeSensor, {"target_time": 5}, "target_time is 5; it must be a datetime or an ISO"),
        (TimeSensor, {"target_time": "8:30"}, "target_time is '8:30'; it must be a datetime.time"),
        (DayOfWeekSensor, {"week_day": "Mondey"}, "'Mondey'; did you mean 'Monday'?"),
        (DayOfWeekSensor, {"week_day": []}, "week_day names no day"),
    ],
)
def test_wrong_arguments_are_refused_where_they_are_written(
    kind: Any, arguments: dict[str, Any], message: str
) -> None:
    with DAG("d"), pytest.raises(DagInvalidError) as caught:
        kind(task_id="wait", **arguments)
    assert message in str(caught.value)
    assert "DAG 'd', task 'wait'" in str(caught.value)


def test_without_poke_there_is_nothing_to_look_at() -> None:
    result, _ = run_sensor(BaseSensorOperator)
    assert "does not define poke(context)" in str(result["wait"].reason)


def test_a_succeeded_sensor_pushes_nothing() -> None:
    with DAG("d") as dag:
        Waits(task_id="wait", answers=True)
    assert try_task(dag, "wait") == Succeeded()


def test_a_deferrable_sensor_keeps_no_worker_between_two_looks() -> None:
    with DAG("d"):
        sensor = PythonSensor(task_id="t", python_callable=lambda: True, deferrable=True)
    assert sensor.reschedule


def test_a_file_sensor_looks_in_the_folder_of_its_connection(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()

    def state(**arguments: Any) -> TaskState:
        with DAG("d") as dag:
            FileSensor(**{"task_id": "wait", "filepath": "*.csv", "timeout": 1, **arguments})
        landing = Connection(conn_id="landing", conn_type="fs", extra={"path": str(tmp_path)})
        return run_dag(dag, connections={"landing": landing})["wait"].state

    assert state(fs_conn_id="landing") is TaskState.SUCCESS
    assert state() is TaskState.FAILED
    everywhere = {"fs_conn_id": "fs_default", "filepath": str(tmp_path / "a.csv")}
    assert state(**everywhere) is TaskState.SUCCESS
    assert state(fs_conn_id="nowhere") is TaskState.FAILED
