"""19 Other Pythons: functions in an interpreter, an environment or a process of their own.

`@task.virtualenv(requirements=["pandas==2.2"])` builds an environment once and keeps it;
`@task.external_python` uses one that is there. Such a function sees its arguments and what it
imports itself, nothing of this file. `isolation="process"` is for code that leaks or crashes: the
same interpreter, started for one try.
"""

import sys

from orchestrator.sdk import DAG, task

with DAG(
    dag_id="other_pythons",
    description="virtualenv, external_python, a branch in one of them, isolation=process.",
    tags=["tutorial"],
):

    @task.virtualenv(system_site_packages=False)
    def in_its_own_environment(numbers: list[int]) -> dict:
        import statistics  # noqa: PLC0415 - nothing of this file is there
        import sys  # noqa: PLC0415

        print(f"{sys.prefix} has nothing installed but what this task asked for")
        return {"mean": statistics.mean(numbers), "is_isolated": sys.prefix != sys.base_prefix}

    @task.external_python(python=sys.executable)
    def in_an_interpreter_that_is_there(result: dict) -> float:
        return result["mean"] * 2

    @task.branch_external_python(python=sys.executable)
    def choose(doubled: float) -> str:
        return "high" if doubled > 3 else "low"

    # Its memory goes back to the system with it, and what it does to its process harms nobody.
    @task(isolation="process")
    def high() -> str:
        sys.setrecursionlimit(10_000)
        return "high"

    @task
    def low() -> str:
        return "low"

    doubled = in_an_interpreter_that_is_there(in_its_own_environment([1, 2, 3]))
    choose(doubled) >> [high(), low()]
