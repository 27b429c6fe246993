"""What becomes of templates in a task's arguments."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.outcomes import Failed, Skipped, Succeeded
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import (
    DAG,
    BaseOperator,
    EmptyOperator,
    Param,
    PythonOperator,
    SkipException,
    literal,
)
from tests.sdk.tries import LOGICAL_DATE, RUN_ID, stored, try_task


class Echo(BaseOperator):
    """Returns its argument as it is after rendering."""

    template_fields = ("value",)
    template_ext = (".sql",)

    def __init__(self, *, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value

    def execute(self, context: Any) -> Any:
        return self.value


def outcome_of(value: Any, conf: dict[str, Any] | None = None, **arguments: Any) -> Any:
    with DAG("d", **arguments) as dag:
        EmptyOperator(task_id="up") >> Echo(task_id="t", value=value)
    return try_task(dag, "t", conf=conf, xcoms=stored(up=[1, 2]))


def rendered(value: Any, conf: dict[str, Any] | None = None, **arguments: Any) -> Any:
    outcome = outcome_of(value, conf, **arguments)
    assert not isinstance(outcome, Failed), outcome.reason
    return outcome.xcoms["return_value"]


TEMPLATES: list[tuple[Any, Any]] = [
    ("plain", "plain"),
    ("{{ ds }}", "2024-05-06"),
    ("{{ ts }} {{ ds_nodash }}", f"{LOGICAL_DATE.isoformat()} 20240506"),
    ("{{ data_interval_start | ds }} {{ ts_nodash }}", "2024-05-06 20240506T070809"),
    ("{{ data_interval_end | ts_nodash }}", "20240506T070809"),
    ("{{ logical_date.year }}", "2024"),
    ("{{ run_id }}", RUN_ID),
    ("{{ dag.dag_id }}.{{ task.task_id }} {{ ti.try_number }}", "d.t 1"),
    ("{{ ti.xcom_pull('up') }}", "[1, 2]"),
    ("{{ macros.ds_add(ds, -1) }}", "2024-05-05"),
    ("{{ macros.ds_format(ds, '%Y-%m-%d', '%d.%m.%y') }}", "06.05.24"),
    ("{{ macros.datetime(2024, 1, 1) + macros.timedelta(days=1) }}", "2024-01-02 00:00:00"),
    ("{{ macros.json.dumps({'a': 1}) }}", '{"a": 1}'),
    ("{% for x in range(3) %}{{ x }}{% endfor %}\n", "012\n"),
    (["{{ ds }}", {"k": ["{{ run_id }}", 1]}], ["2024-05-06", {"k": [RUN_ID, 1]}]),
    ({"{{ ds }}": "{{ ds }}"}, {"{{ ds }}": "2024-05-06"}),
    (literal("{{ ds }}"), "{{ ds }}"),
    (["{{ ds }}", literal("{{ ds }}")], ["2024-05-06", "{{ ds }}"]),
    (7, 7),
]  # fmt: skip


@pytest.mark.parametrize(("template", "value"), TEMPLATES)
def test_templates_become_values(template: Any, value: Any) -> None:
    assert rendered(template) == value


def test_rendered_text_is_never_rendered_again() -> None:
    assert rendered("{{ conf.x }}", conf={"x": "{{ ds }}"}) == "{{ ds }}"
    assert rendered("{{ params.x }}", conf={"x": "{{ ds }}"}, params={"x": ""}) == "{{ ds }}"


def test_params_and_conf_are_there() -> None:
    value = rendered(
        "{{ params.n }} {{ params.m }} {{ conf.n }} {{ dag_run.conf['n'] }}",
        conf={"n": 2},
        params={"n": 1, "m": Param(3)},
    )
    assert value == "2 3 2 2"


def test_native_objects_keep_their_type() -> None:
    native: dict[str, Any] = {"render_template_as_native_obj": True}
    assert rendered("{{ ti.xcom_pull('up') }}", **native) == [1, 2]
    assert rendered("{{ params.n }}", conf={"n": 5}, **native) == 5


def test_own_macros_and_filters() -> None:
    value = rendered(
        "{{ twice(2) }} {{ 'x' | shout }} {{ team }}",
        user_defined_macros={"twice": lambda n: 2 * n, "team": "data"},
        user_defined_filters={"shout": lambda text: f"{text.upper()}!"},
    )
    assert value == "4 X! data"


BROKEN: list[tuple[str, str]] = [
    ("{{ dss }}", "TemplateError: task 't', template in value: 'dss' is undefined; did you mea"),
    ("{{ execution_date }}", "'execution_date' is undefined; use logical_date"),
    ("{{ next_ds }}", "'next_ds' is undefined; use data_interval_end | ds"),
    ("{{ var.value.x }}", "there is no Variable 'x'; looked in the environment"),
    ("{{ var.vale.x }}", "var has no 'vale'; did you mean 'value'?"),
    ("{{ conn.db.host }}", "there is no Connection 'db'; looked in the environment"),
    ("{{ ds + 1 }}", "task 't', template in value: TypeError: can only concatenate str"),
    ("{{ conf.a.b }}", "has no attribute 'a'"),
    ("{{ params.missing }}", "has no attribute 'missing'"),
    ("{{ ti.__class__ }}", "access to attribute '__class__' of 'TaskInstance' object is unsafe"),
    ("{{ ''.__class__.__mro__ }}", "is unsafe; templates run in a sandbox"),
    ("{{ macros.json.dumps.__globals__ }}", "is unsafe; templates run in a sandbox"),
    ("{{ macros.json.codecs }}", "has no attribute 'codecs'"),
    ("{{ macros.uuid.os }}", "has no attribute 'os'"),
    ("{{ range(10**9) | list }}", "OverflowError: Range too big."),
    ("{{ 1 // 0 }}", "ZeroDivisionError"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "message"), BROKEN)
def test_what_cannot_be_rendered_fails_with_field_and_cause(template: str, message: str) -> None:
    outcome = outcome_of(template)
    assert isinstance(outcome, Failed)
    assert message in outcome.reason


@pytest.mark.parametrize("native", [True, False])
def test_the_sandbox_holds_for_native_objects_too(native: bool) -> None:
    outcome = outcome_of(
        "{{ ().__class__.__base__.__subclasses__() }}", render_template_as_native_obj=native
    )
    assert isinstance(outcome, Failed)
    assert "is unsafe" in outcome.reason


def test_a_template_file_is_found_on_the_search_path(tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("select '{{ ds }}';\n")
    path = str(tmp_path)
    assert rendered("q.sql", template_searchpath=path) == "select '2024-05-06';\n"
    assert rendered("q.sql ", template_searchpath=[path]) == "q.sql "
    reason = outcome_of("other.sql", template_searchpath=path).reason
    assert f"there is no template file 'other.sql' in {Path(__file__).parent}, {path};" in reason


def test_a_template_file_cannot_be_outside_the_search_path(tmp_path: Path) -> None:
    (tmp_path / "q.sql").write_text("secret")
    (tmp_path / "inner").mkdir()
    outcome = outcome_of("../q.sql", template_searchpath=str(tmp_path / "inner"))
    assert "there is no template file '../q.sql'" in outcome.reason


def test_the_authored_task_keeps_its_templates() -> None:
    with DAG("d") as dag:
        authored = PythonOperator(task_id="t", python_callable=lambda x: x, op_args=["{{ ds }}"])
    for _ in range(2):
        assert try_task(dag, "t").xcoms == {"return_value": "2024-05-06"}
    assert authored.op_args == ["{{ ds }}"]


def test_a_template_field_must_exist() -> None:
    class Forgetful(EmptyOperator):
        template_fields = ("sql",)

    with DAG("d") as dag:
        Forgetful(task_id="t")
    with pytest.raises(DagInvalidError, match="names 'sql', but Forgetful has no such attribute"):
        dag.spec()


def test_template_fields_are_several_names_not_one_text() -> None:
    class Unclosed(EmptyOperator):
        template_fields = "sql"

    with DAG("d") as dag:
        Unclosed(task_id="t")
    with pytest.raises(DagInvalidError, match=r"must be a tuple of names, as in \('sql',\)"):
        dag.spec()


def test_a_macro_says_itself_how_the_try_ends() -> None:
    def nothing_to_do() -> None:
        raise SkipException("nothing to do")

    outcome = outcome_of("{{ stop() }}", user_defined_macros={"stop": nothing_to_do})
    assert outcome == Skipped(reason="nothing to do")


def test_templates_exts_names_the_endings_of_template_files(tmp_path: Path) -> None:
    (tmp_path / "query.sql").write_text("select {{ 1 + 1 }}")
    with DAG("d", template_searchpath=str(tmp_path)) as made:
        PythonOperator(
            task_id="t",
            python_callable=lambda templates_dict: templates_dict["query"],
            templates_dict={"query": "query.sql"},
            templates_exts=[".sql"],
        )
    outcome = try_task(made, "t")
    assert isinstance(outcome, Succeeded)
    assert outcome.xcoms["return_value"] == "select 2"
