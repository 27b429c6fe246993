"""Is this value fit for that argument?

A `Subject` is what an error is about: the DAG and task by name, and the author's line.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar, cast

from orchestrator.errors import DagInvalidError, did_you_mean
from orchestrator.sdk.callsite import CallSite, invalid

ID_LENGTH_MAX = 250
_ID = re.compile(r"[A-Za-z0-9_.~:+-]+")
_E = TypeVar("_E", bound=StrEnum)

_UNAVAILABLE: Mapping[str, tuple[object, ...]] = MappingProxyType(
    {
        "email_on_failure": (False, None),
        "email_on_retry": (False, None),
        "email": (None, "", []),
        "sla": (None,),
        "sla_miss_callback": (None, []),
        "inlets": (None, []),
        "outlets": (None, []),
        "run_as_user": (None,),
        "executor": (None,),
        "executor_config": (None, {}),
        "access_control": (None, {}),
        "resources": (None, {}),
        "jinja_environment_kwargs": (None, {}),
        "allowed_run_types": (None, []),
        "rerun_with_latest_version": (False, None),
        "max_consecutive_failed_dag_runs": (0, None),
    }
)
"""Airflow's arguments that this version does not have, with the values that ask for nothing."""
_REPLACED: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        ("sla", "sla_miss_callback"),
        "SLAs are gone, as in Airflow 3; give the DAG deadline=DeadlineAlert("
        "reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=..., callback=...)",
    )
)
"""What some of them became."""
_COSMETIC = frozenset(
    {
        "default_view",
        "doc",
        "doc_json",
        "doc_rst",
        "doc_yaml",
        "orientation",
        "owner_links",
        "show_return_value_in_logs",  # returned values are not logged anyway
        "ui_color",
        "ui_fgcolor",
    }
)
"""Airflow's arguments about looks, and others that change nothing here."""
_RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "concurrency": "it is called max_active_tasks",
        "provide_context": "leave it out: functions are given the context they name",
        "schedule_interval": "did you mean 'schedule'?",
        "task_concurrency": "it is called max_active_tis_per_dag",
        "timetable": "did you mean 'schedule'?",
    }
)
"""Arguments of older Airflow versions, by what to write today."""


class Subject(NamedTuple):
    """What an argument belongs to, and where the author wrote it."""

    where: str
    site: CallSite

    def error(self, message: str) -> DagInvalidError:
        """Build the error that names the subject and the line."""
        return invalid(self.where, message, self.site)

    def unknown(
        self, name: str, value: object, known: Iterable[str], *, place: str = ""
    ) -> DagInvalidError | None:
        """Build the error for an argument nobody has; None where an argument of Airflow's asks
        for nothing that could be missed."""
        if name in _COSMETIC:
            return None
        if name in _RENAMED:
            return self.error(f"unknown argument {name!r}{place}; {_RENAMED[name]}")
        if name not in _UNAVAILABLE:
            return self.error(f"unknown argument {name!r}{place}{did_you_mean(name, known)}")
        if value in _UNAVAILABLE[name]:
            return None
        if name in _REPLACED:
            return self.error(f"{name}={shown_value(value)}{place}: {_REPLACED[name]}")
        return self.error(
            f"{name}={shown_value(value)}: this version does not have {name} yet; remove the "
            "argument"
        )

    def whole(self, name: str, value: object, *, least: int | None) -> int:
        """Return a whole number that is at least `least`."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(f"{name} is {value!r}; it must be a whole number")
        if least is not None and value < least:
            raise self.error(f"{name} is {value}; it must be at least {least}")
        return value

    def whole_or_none(self, name: str, value: object, *, least: int) -> int | None:
        """Return a whole number, or None for no limit."""
        return None if value is None else self.whole(name, value, least=least)

    def duration(self, name: str, value: object, *, zero: bool) -> timedelta:
        """Return a duration given as a timedelta or as seconds; `zero` says whether 0 is fine."""
        if isinstance(value, timedelta):
            duration = value
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"{name} is {value!r}; it must be a timedelta, or a number of seconds")
        elif not math.isfinite(value):
            raise self.error(f"{name} is {value!r}; it must be finite")
        else:
            duration = timedelta(seconds=value)
        if duration < timedelta(0) or (not zero and not duration):
            raise self.error(f"{name} is {duration}; it must be {'0 or ' if zero else ''}more")
        return duration

    def duration_or_none(self, name: str, value: object) -> timedelta | None:
        """Return a duration above zero, or None for no limit."""
        return None if value is None else self.duration(name, value, zero=False)

    def choice(self, name: str, value: object, choices: type[_E]) -> _E:
        """Return one of an enumeration's values, given as itself or as its text."""
        try:
            return choices(cast(str, value))
        except ValueError:
            known = sorted(choice.value for choice in choices)
            raise self.error(
                f"{name} is {value!r}{did_you_mean(str(value), known)}; it must be one of "
                f"{', '.join(known)}"
            ) from None

    def text(self, name: str, value: object) -> str:
        """Return a string that is not empty."""
        if not isinstance(value, str) or not value:
            raise self.error(f"{name} is {value!r}; it must be a text that is not empty")
        return value

    def text_or_none(self, name: str, value: object) -> str | None:
        """Return a string that is not empty, or None."""
        return None if value is None else self.text(name, value)

    def prose(self, name: str, value: object) -> str | None:
        """Return a string, which may be empty, or None."""
        if value is not None and not isinstance(value, str):
            raise self.error(f"{name} is {value!r}; it must be a text")
        return value

    def named(self, name: str, value: object) -> dict[str, Any]:
        """Return a dict with text keys; None is an empty one."""
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self.error(f"{name} is {value!r}; it must be a dict with text keys")
        return dict(value)

    def flag(self, name: str, value: object) -> bool:
        """Return a boolean."""
        if not isinstance(value, bool):
            raise self.error(f"{name} is {value!r}; it must be True or False")
        return value

    def function_or_none(self, name: str, value: object) -> Callable[..., Any] | None:
        """Return a function, or None."""
        if value is not None and not callable(value):
            raise self.error(f"{name} is {value!r}; it must be a function")
        return value

    def identifier(self, name: str, value: object) -> str:
        """Return an id: 1 to 250 letters, digits and `_ . ~ : + -`, not only dots."""
        if value is None or value == "":
            raise self.error(f"missing argument {name!r}")
        if not isinstance(value, str):
            raise self.error(f"{name} is {value!r}; it must be a text")
        if len(value) > ID_LENGTH_MAX:
            raise self.error(
                f"{name} has {len(value)} characters; at most {ID_LENGTH_MAX} are allowed"
            )
        if not _ID.fullmatch(value) or not value.strip("."):
            raise self.error(
                f"{name} is {value!r}; only letters, digits and _ . ~ : + - are allowed, and "
                "something other than dots"
            )
        return value

    def default_args(self, value: object) -> dict[str, Any]:
        """Return default arguments: a dict with text keys."""
        if value is None:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self.error(f"default_args is {value!r}; it must be a dict of argument names")
        return dict(value)


def shown_value(value: object) -> str:
    """Return a value as text without a memory address, so that each import says the same."""
    if isinstance(value, list):
        return f"[{', '.join(shown_value(each) for each in value)}]"
    if type(value).__repr__ is object.__repr__ or callable(value):
        return f"<{getattr(value, '__name__', type(value).__name__).strip('<>')}>"
    return repr(value)


def is_address_only(name: str, arguments: Mapping[str, Any]) -> bool:
    """Say whether `email` is given while mail on failure is off: it then asks for nothing."""
    return name == "email" and arguments.get("email_on_failure") is False
