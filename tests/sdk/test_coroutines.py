"""An `async def` is a task like any other; what cuts it short reaches it as a cancellation."""

import asyncio
import signal
import threading
from typing import Any

import pytest

from orchestrator.sdk import DAG, BaseOperator, BaseSensorOperator, PythonOperator, task
from orchestrator.sdk.coroutines import finished
from orchestrator.sdk.interruption import interrupt
from orchestrator.testing import run_dag


class CutShort(BaseException):
    """As a cancellation is."""


def test_s24_async_functions_are_tasks() -> None:
    @task
    async def add(a: int, b: int, ds: str) -> str:
        await asyncio.sleep(0)
        both = await asyncio.gather(asyncio.sleep(0, a), asyncio.sleep(0, b))
        return f"{sum(both)} {ds}"

    @task.branch
    async def choose(value: str) -> str:
        return "left" if value.startswith("3") else "right"

    @task.sensor(poke_interval=1)
    async def wait() -> bool:
        return True

    class Own(BaseOperator):
        async def execute(self, context: Any) -> str:
            await asyncio.sleep(0)
            return str(context["ti"].task_id)

    class Looks(BaseSensorOperator):
        async def poke(self, context: Any) -> bool:  # type: ignore[override]
            return bool(context)

    with DAG("d") as dag:
        branch = choose(add(1, 2))
        left, right = Own(task_id="left"), Own(task_id="right")
        branch >> [left, right]
        wait() >> Looks(task_id="looks")
        PythonOperator(task_id="plain", python_callable=add.function, op_args=[2, 2])
    result = run_dag(dag)
    assert result.state == "success"
    assert str(result.xcom("add")).startswith("3 2")
    assert (result.xcom("left"), result["right"].state) == ("left", "skipped")


def test_what_it_raises_is_how_the_try_ends() -> None:
    @task
    async def broken() -> None:
        raise ValueError("odd")

    with DAG("d") as dag:
        broken()
    reason = str(run_dag(dag)["broken"].reason)
    assert reason.startswith("ValueError: odd (test_coroutines.py:")


def test_a_time_limit_cancels_the_coroutine_and_its_own_tasks() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("background")

    @task(execution_timeout=0.05)
    async def slow() -> None:
        own = asyncio.create_task(background())
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("main")
        await own

    with DAG("d") as dag:
        slow()
    assert str(run_dag(dag)["slow"].reason).startswith("timed out after 0.05 s")
    assert ended == ["main", "background"]


def interrupted(make: Any) -> None:
    """Run a coroutine that is interrupted by a signal once it says that it waits."""
    before = signal.signal(signal.SIGUSR2, lambda *_: interrupt(CutShort()))
    try:
        waits = threading.Event()

        def send() -> None:
            waits.wait(10)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            finished(make(waits))
        finally:
            waits.set()
            thread.join()
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_an_interruption_wakes_a_loop_that_sleeps() -> None:
    seen: list[type[BaseException]] = []

    async def sleeps(waits: threading.Event) -> None:
        asyncio.get_running_loop().call_soon(waits.set)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            seen.append(type(error))
            raise

    with pytest.raises(CutShort):
        interrupted(sleeps)
    assert seen == [asyncio.CancelledError]


def test_who_swallows_the_cancellation_is_cut_short_all_the_same() -> None:
    async def stubborn(waits: threading.Event) -> str:
        asyncio.get_running_loop().call_soon(waits.set)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "as if nothing had been"
        return ""

    with pytest.raises(CutShort):
        interrupted(stubborn)


def test_outside_of_a_loop_it_is_an_exception_where_the_code_is() -> None:
    with pytest.raises(CutShort):
        interrupt(CutShort())
    assert finished(7) == 7


def test_a_cancellation_of_its_own_making_stays_one() -> None:
    async def gives_up() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        finished(gives_up())
