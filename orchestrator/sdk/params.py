"""Which values do a run's params have?"""

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.core.specs import ParamSpec
from orchestrator.errors import ParamInvalidError
from orchestrator.sdk.arguments import Subject
from orchestrator.sdk.jsonvalues import NotJsonError, json_value
from orchestrator.sdk.schemas import schema_problem, value_problem

__all__ = ["Param", "freeze_params", "resolve_params"]

_NO_DEFAULT = object()


class Param:
    """A value that whoever triggers a run may set: its default, its description, and the keywords
    of its JSON schema (`type="integer", minimum=1, enum=[...], title=...`).

    A param without default must be given by whoever triggers a run; a scheduled DAG can have none.
    """

    def __init__(
        self,
        default: Any = _NO_DEFAULT,
        description: str | None = None,
        schema: Mapping[str, Any] | None = None,
        **keywords: Any,
    ) -> None:
        self.default = default
        self.description = description
        self.schema = {**(schema or {}), **keywords}

    @property
    def has_default(self) -> bool:
        """Say whether a run may leave it out."""
        return self.default is not _NO_DEFAULT


def freeze_params(
    params: Mapping[str, Any] | None, subject: Subject, *, is_scheduled: bool
) -> tuple[ParamSpec, ...]:
    """Turn authored params (Param or plain default) into specs, sorted by name.

    Raise DagInvalidError for a default that is not JSON, a schema that is none, and (where the
    schedule starts runs that nobody gives values) a default that is missing or breaks its schema.
    """
    if params is None:
        return ()
    if not isinstance(params, Mapping):
        raise subject.error(f"params is {params!r}; it must be a dict of name to default or Param")
    specs = tuple(_freeze(name, params[name], subject) for name in sorted(params, key=str))
    for spec in specs:
        problem = schema_problem(spec.schema)
        if problem is not None:
            raise subject.error(f"param {spec.name!r} has an invalid JSON schema: {problem}")
        if not is_scheduled:
            continue
        if not spec.has_default:
            raise subject.error(
                f"param {spec.name!r} has no default, but scheduled runs have nobody to give it a "
                "value; give it a default or set schedule=None"
            )
        problem = value_problem(spec.default, spec.schema)
        if problem is not None:
            raise subject.error(
                f"param {spec.name!r}{problem}; scheduled runs would use this default"
            )
    return specs


def resolve_params(params: Iterable[ParamSpec], conf: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params of a run: defaults, overridden by its conf, whose other keys come along.

    Raise ParamInvalidError naming the param that has no value or breaks its schema.
    """
    values: dict[str, Any] = {}
    for spec in params:
        if spec.name in conf:
            values[spec.name] = conf[spec.name]
        elif spec.has_default:
            values[spec.name] = spec.default
        else:
            raise ParamInvalidError(
                f"param {spec.name!r} has no default; give it a value in the run's conf, as in "
                f'{{"{spec.name}": ...}}'
            )
        problem = value_problem(values[spec.name], spec.schema)
        if problem is not None:
            raise ParamInvalidError(f"param {spec.name!r}{problem}")
    return {**values, **conf}


def _freeze(name: object, param: object, subject: Subject) -> ParamSpec:
    if not isinstance(name, str) or not name:
        raise subject.error(f"params has the key {name!r}; the name of a param is a text")
    param = param if isinstance(param, Param) else Param(param)
    try:
        return ParamSpec(
            name=name,
            has_default=param.has_default,
            default=json_value(param.default, name=f"the default of param {name!r}")
            if param.has_default
            else None,
            schema=json_value(_text_keys(param.schema), name=f"the schema of param {name!r}"),
            description=param.description,
        )
    except NotJsonError as error:
        raise subject.error(str(error).replace("; return ", "; use ")) from None


def _text_keys(schema: Any) -> Any:
    """JSON has no other keys than text; `values_display={1: "one"}` is common, and clear."""
    if isinstance(schema, Mapping):
        return {_text_key(key): _text_keys(value) for key, value in schema.items()}
    if isinstance(schema, list | tuple):
        return [_text_keys(each) for each in schema]
    return schema


def _text_key(key: Any) -> Any:
    if key is None:
        return "null"
    return str(key) if isinstance(key, int | float) else key
