"""Does a value fit a JSON schema, whoever wrote either of them?

A schema fetches nothing from elsewhere, and no value can keep a pattern busy for long: patterns are
matched by an engine whose time grows with the text alone.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

__all__ = ["schema_problem", "value_problem"]

_PATTERNS_MAX = 1_000
"""Compiled patterns that are kept."""


def schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a schema, or None."""
    if not schema:
        return None
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 - slow to import

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = "".join(f"[{step!r}]" for step in error.absolute_path)
        return f"{where or 'it'}: {error.message}"
    patterns = list(_patterns_in(schema))
    for where, pattern in patterns:
        reason = _refusal(pattern)
        if reason is not None:
            return f"{where}: {reason}"
    if any(where.endswith("['patternProperties']") for where, _ in patterns) and _uses(
        schema, "unevaluatedProperties"
    ):
        return "unevaluatedProperties beside patternProperties; use additionalProperties"
    return None


def value_problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Say where a value does not fit, as `['key'] is invalid: why`, or None."""
    if not schema:
        return None
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - slow to import
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    # An empty registry: a schema may not fetch others over the network.
    validator = _validator()(schema, registry=Registry(), format_checker=_format_checker())
    try:
        error = best_match(validator.iter_errors(value))
    except Unresolvable as unresolvable:
        return f" cannot be checked: its schema refers to {unresolvable.ref!r}, which it has not"
    except _PatternError as wrong:
        return f" cannot be checked: {wrong}"
    except RecursionError:
        return " cannot be checked: its schema refers to itself without end"
    if error is None:
        return None
    part = "".join(f"[{step!r}]" for step in error.absolute_path)
    return f"{part} is invalid: {error.message}"


# --- patterns


class _PatternError(Exception):
    """A pattern that cannot be used, and why."""


def _patterns_in(schema: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(schema, list):
        for index, each in enumerate(schema):
            yield from _patterns_in(each, f"{where}[{index}]")
    if not isinstance(schema, Mapping):
        return
    for key, value in schema.items():
        here = f"{where}[{key!r}]"
        if key == "pattern" and isinstance(value, str):
            yield here, value
        elif key == "patternProperties" and isinstance(value, Mapping):
            yield from ((here, pattern) for pattern in value)
        if key not in ("const", "enum", "default", "examples"):
            yield from _patterns_in(value, here)


def _uses(schema: Any, keyword: str) -> bool:
    if isinstance(schema, list):
        return any(_uses(each, keyword) for each in schema)
    if not isinstance(schema, Mapping):
        return False
    return keyword in schema or any(_uses(each, keyword) for each in schema.values())


def _refusal(pattern: str) -> str | None:
    """Why a pattern cannot be used, or None."""
    try:
        _matcher(pattern)
    except _PatternError as error:
        return str(error)
    return None


@lru_cache(maxsize=_PATTERNS_MAX)
def _matcher(pattern: str) -> Callable[[str], bool]:
    """Return what searches for a pattern, in a time that grows with the text alone; raise
    _PatternError for one that no such engine knows."""
    from pydantic_core import SchemaError, SchemaValidator, core_schema  # noqa: PLC0415 - slow

    try:
        validator = SchemaValidator(
            core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True)
        )
    except SchemaError:
        raise _PatternError(
            f"the pattern {pattern!r} is wrong, too large, or looks around or refers back, which "
            "can keep a check busy for ever; write it without (?=, (?!, (?<, \\1"
        ) from None
    return validator.isinstance_python


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError  # noqa: PLC0415 - slow to import

    if validator.is_type(instance, "string") and not _matcher(pattern)(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any
) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in patterns.items():
        for key, value in instance.items():
            if _matcher(pattern)(key):
                yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, rest: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[Any]:
    from jsonschema import ValidationError  # noqa: PLC0415 - slow to import

    if not validator.is_type(instance, "object"):
        return
    patterns = schema.get("patternProperties", {})
    extra = [
        key
        for key in instance
        if key not in schema.get("properties", {})
        and not any(_matcher(pattern)(key) for pattern in patterns)
    ]
    if validator.is_type(rest, "object"):
        for key in extra:
            yield from validator.descend(instance[key], rest, path=key)
    elif not rest and extra:
        named = ", ".join(repr(key) for key in sorted(extra))
        yield ValidationError(f"it has {named}, which it may not have")


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415 - slow to import

    extend: Any = validators.extend
    return extend(
        Draft202012Validator,
        {
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
        },
    )


@cache
def _format_checker() -> Any:
    from jsonschema import FormatChecker  # noqa: PLC0415 - slow to import

    checker = FormatChecker()

    @checker.checks("date-time", raises=ValueError)
    def _is_date_time(value: object) -> bool:
        return not isinstance(value, str) or bool(datetime.fromisoformat(value))

    return checker
