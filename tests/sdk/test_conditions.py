"""`run_if`, `skip_if` and the hooks around `execute`: the order of an attempt."""

from typing import Any

import pytest

from orchestrator.errors import DagInvalidError
from orchestrator.sdk import DAG, BashOperator, EmptyOperator, PythonOperator, task
from orchestrator.testing import DagRunResult, run_dag


def run(*functions: Any, conf: dict[str, Any] | None = None) -> DagRunResult:
    with DAG("d") as dag:
        for each in functions:
            each()
    return run_dag(dag, conf=conf)


def asked(context: Any) -> bool:
    return bool(context["conf"].get("go"))


@task.run_if(asked)
@task
def on_request() -> int:
    return 1


@task.skip_if(asked, skip_message="somebody asked")
@task(task_id="unless")
def unless_asked() -> int:
    return 1


def test_run_if_and_skip_if_decide_by_the_context() -> None:
    result = run(on_request, unless_asked)
    assert result.states == {"on_request": "skipped", "unless": "success"}
    assert result["on_request"].reason == "run_if: asked is False"
    result = run(on_request, unless_asked, conf={"go": True})
    assert result.states == {"on_request": "success", "unless": "skipped"}
    assert result["unless"].reason == "somebody asked"


def test_a_condition_may_say_why() -> None:
    @task.run_if(lambda context: (False, f"not for {context['ti'].task_id}"), "never seen")
    @task.bash
    def command() -> str:
        raise AssertionError("not even the command is asked for")

    assert run(command)["command"].reason == "not for command"


def test_several_conditions_all_hold() -> None:
    order: list[str] = []

    def says(name: str, answer: bool) -> Any:
        def condition(_context: Any) -> bool:
            order.append(name)
            return answer

        return condition

    @task.run_if(says("outer", True))
    @task.skip_if(says("inner", False))
    @task(pre_execute=lambda _context: order.append("hook"))
    def runs() -> None:
        order.append("task")

    assert run(runs)["runs"].state == "success"
    assert order == ["outer", "inner", "hook", "task"]


def test_the_plain_function_is_not_conditional() -> None:
    assert on_request.function() == 1


def test_misuse_is_told_where_it_is_written() -> None:
    with pytest.raises(DagInvalidError, match=r"put @task.run_if above @task \(test_conditions"):
        task.run_if(asked)(lambda: 1)  # type: ignore[arg-type]
    with pytest.raises(DagInvalidError, match="the condition is True; it must be a function"):
        task.skip_if(True)  # type: ignore[arg-type]


def test_s22_the_order_of_an_attempt() -> None:
    order: list[str] = []

    class Own(BashOperator):
        def pre_execute(self, context: Any) -> None:
            order.append(f"pre_execute {self.bash_command}")

        def execute(self, context: Any) -> str:
            order.append("execute")
            return "result"

        def post_execute(self, context: Any, result: Any = None) -> None:
            order.append(f"post_execute {result} {context['ti'].pushed}")

    with DAG("d") as dag:
        Own(
            task_id="t",
            bash_command="{{ 'rendered' }}",
            pre_execute=lambda context: order.append(f"hook {context['task'].bash_command}"),
            post_execute=lambda _context, result: order.append(f"post hook {result}"),
        )
    result = run_dag(dag)
    assert order == [
        "hook rendered",
        "pre_execute rendered",
        "execute",
        "post hook result",
        "post_execute result {}",
    ]
    assert result.xcom("t") == "result"


def test_s8_sys_exit_is_a_failure_and_may_be_retried() -> None:
    tries: list[int] = []

    @task(retries=2)
    def leaves(try_number: int) -> str:
        tries.append(try_number)
        if try_number < 3:
            raise SystemExit(0)
        return "stayed"

    result = run(leaves)
    assert (result["leaves"].state, tries) == ("success", [1, 2, 3])


@pytest.mark.parametrize(("skips", "state"), [(99, "failed"), (3, "skipped"), ([1, 3], "skipped")])
def test_which_exit_codes_of_bash_mean_a_skip(skips: Any, state: str) -> None:
    with DAG("d") as dag:
        BashOperator(task_id="t", bash_command="exit 3", skip_on_exit_code=skips)
    assert run_dag(dag)["t"].state == state


def test_an_empty_task_with_a_hook_runs() -> None:
    ran: list[int] = []
    with DAG("d") as dag:
        EmptyOperator(task_id="t", pre_execute=lambda _context: ran.append(1))
        EmptyOperator(task_id="u")
    assert {each.task_id: each.needs_worker for each in dag.spec().tasks} == {
        "t": True,
        "u": False,
    }
    run_dag(dag)
    assert ran == [1]


def test_a_hook_must_be_a_function() -> None:
    with DAG("d"), pytest.raises(DagInvalidError, match="pre_execute is 'x'; it must be a func"):
        PythonOperator(task_id="t", python_callable=print, pre_execute="x")
