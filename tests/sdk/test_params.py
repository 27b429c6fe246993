"""S20: which values params have, and which are refused where."""

from datetime import datetime
from typing import Any

import pytest

from orchestrator.errors import DagInvalidError, ParamInvalidError
from orchestrator.sdk import DAG, Param, task
from orchestrator.sdk.params import resolve_params
from orchestrator.testing import run_dag


def resolved(param: Param, **conf: Any) -> Any:
    with DAG("d", params={"p": param}) as dag:
        pass
    return resolve_params(dag.spec().params, conf)["p"]


def refusal(param: Param, value: Any) -> str:
    with pytest.raises(ParamInvalidError) as error:
        resolved(param, p=value)
    return str(error.value)


def test_s20_conf_comes_before_the_default() -> None:
    assert resolved(Param(1, type="integer")) == 1
    assert resolved(Param(1, type="integer"), p=2) == 2


def test_s20_a_value_below_the_minimum_is_refused_when_the_run_is_made() -> None:
    with DAG("d", params={"p": Param(5, type="integer", minimum=3)}) as dag:
        task(lambda: 1, task_id="t")()
    with pytest.raises(ParamInvalidError, match="param 'p' is invalid: 2 is less than the minimum"):
        run_dag(dag, conf={"p": 2})


def test_s20_a_param_without_default_and_value_refuses_the_run() -> None:
    with DAG("d", params={"p": Param(type="string")}) as dag:
        task(lambda: 1, task_id="t")()
    with pytest.raises(ParamInvalidError, match=r"param 'p' has no default; give it a value in th"):
        run_dag(dag)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        (Param(type="string"), "param 'p' has no default, but scheduled runs have nobody to give"),
        (Param(1, minimum=3), "param 'p' is invalid: 1 is less than the minimum of 3; scheduled r"),
        (Param(None, type="string"), "param 'p' is invalid: None is not of type 'string'"),
    ],
)
def test_s20_a_schedule_needs_valid_defaults(param: Param, message: str) -> None:
    with pytest.raises(DagInvalidError) as error:
        DAG("d", schedule="@daily", start_date=datetime(2024, 1, 1), params={"p": param})  # noqa: DTZ001
    assert message in str(error.value)
    DAG("d", schedule=None, params={"p": param})


def test_s20_params_of_a_task_follow_the_same_rules() -> None:
    @task(params={"p": Param(1, type="integer", maximum=5)})
    def show(params: Any = None) -> Any:
        return params["p"]

    with DAG("d", params={"p": "of the DAG"}) as dag:
        show()
    assert run_dag(dag).xcom("show") == 1
    assert run_dag(dag, conf={"p": 4}).xcom("show") == 4
    failed = run_dag(dag, conf={"p": 6})["show"]
    assert (
        failed.reason
        == "ParamInvalidError: param 'p' is invalid: 6 is greater than the maximum of 5"
    )


@pytest.mark.parametrize(
    ("param", "fine", "wrong"),
    [
        (Param("a", enum=["a", "b"]), "b", "c"),
        (Param("2024-01-01", type="string", format="date"), "2024-02-29", "2024-02-30"),
        (Param("10:00:00", type="string", format="time"), "23:59:59", "24:00:00"),
        (Param(None, type=["null", "string"], format="date-time"), None, 5),
        (Param("x@y.z", format="email"), "a@b", "nobody"),
        (Param("ab", type="string", pattern="^a[a-z]+$"), "abc", "b"),
        (Param("ab", type="string", minLength=2, maxLength=3), "abc", "abcd"),
        (Param(["a"], type="array", items={"pattern": "^a"}), ["ab"], ["ab", "b"]),
        (Param({}, additionalProperties=False, properties={"a": {}}), {"a": 1}, {"b": 1}),
        (Param({}, patternProperties={"^n_": {"type": "number"}}), {"n_a": 1}, {"n_a": "1"}),
        (
            Param({}, patternProperties={"^n_": {}}, additionalProperties=False),
            {"n_a": 1},
            {"n_a": 1, "m": 2},
        ),
        (Param({}, additionalProperties={"type": "number"}), {"x": 1}, {"x": "1"}),
    ],
)
def test_s20_kinds_of_params(param: Param, fine: Any, wrong: Any) -> None:
    assert resolved(param, p=fine) == fine
    assert refusal(param, wrong).startswith("param 'p'")


def test_a_pattern_is_searched_for_like_json_schema_says() -> None:
    param = Param("x", pattern="b+")
    assert resolved(param, p="abc") == "abc"
    assert refusal(param, "ac") == "param 'p' is invalid: 'ac' does not match 'b+'"
    assert resolved(param, p=5) == 5, "a pattern says nothing of numbers"


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(x+x+)+y"])
def test_s20_no_pattern_keeps_a_check_busy(pattern: str) -> None:
    """Python's own engine takes longer than the age of the universe for these."""
    assert "does not match" in refusal(Param("a", pattern=pattern), "a" * 5_000 + "x" * 50 + "!")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"pattern": "("}, "['pattern']: '(' is not a 'regex'"),
        (
            {"pattern": "(?=a)b"},
            "['pattern']: the pattern '(?=a)b' is wrong, too large, or looks around or refers back",
        ),
        ({"items": {"pattern": r"(a)\1"}}, "['items']['pattern']: the pattern '(a)"),
        (
            {"anyOf": [{"patternProperties": {"(?!x)": {}}}]},
            "['anyOf'][0]['patternProperties']: the pattern '(?!x)'",
        ),
        (
            {"patternProperties": {"a": {}}, "unevaluatedProperties": False},
            "unevaluatedProperties beside patternProperties; use additionalProperties",
        ),
        ({"type": "int"}, "['type']: 'int' is not valid"),
    ],
)
def test_a_schema_that_cannot_be_used_is_told_where_it_is_written(
    schema: dict[str, Any], message: str
) -> None:
    with pytest.raises(DagInvalidError) as error:
        DAG("d", params={"p": Param("x", schema=schema)})
    assert f"param 'p' has an invalid JSON schema: {message}" in str(error.value)


def test_values_that_look_like_patterns_are_none() -> None:
    assert resolved(Param("(", enum=["(", {"pattern": "("}])) == "("


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "http://example.com/x"}, "its schema refers to 'http://example.com/x', which it"),
        ({"$ref": "#"}, "cannot be checked: its schema refers to itself without end"),
    ],
)
def test_a_schema_fetches_nothing_and_comes_to_an_end(schema: Any, message: str) -> None:
    assert message in refusal(Param(1, schema=schema), 2)
