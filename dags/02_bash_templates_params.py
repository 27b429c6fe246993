"""02 Bash, templates and params: one DAG that a trigger can steer.

Try `orchestrator dags trigger greet --conf '{"name": "Ada", "times": 2}'`; a conf that breaks a
param's schema is refused before the run exists.
"""

from orchestrator.sdk import DAG, BashOperator, Param, task

with DAG(
    dag_id="greet",
    description="Params with a JSON schema, Jinja templates, values handed over by environment.",
    params={
        "name": Param(
            "world", type="string", minLength=1, maxLength=40, description="Whom to greet"
        ),
        "times": Param(1, type="integer", minimum=1, maximum=10),
    },
    tags=["tutorial"],
):
    # A value somebody typed never becomes part of the command line: it travels as a variable.
    greet = BashOperator(
        task_id="greet",
        bash_command='for i in $(seq "$TIMES"); do echo "Hello, $NAME ($i)"; done; echo "$TIMES"',
        env={"NAME": "{{ params.name }}", "TIMES": "{{ params.times }}"},
    )

    # In Python the context holds the same values, and Jinja renders strings in arguments.
    @task
    def summary(line: str, run_id: str, *, params: dict) -> str:
        return f"{run_id}: greeted {params['name']!r} {line} time(s)"

    summary(greet.output, "{{ run_id }}")
