"""Which task instances share a limit of their own: keyed concurrency and rate limits.

A key is text with holes for what a run knows (`{{ params.tenant }}`). It is no Jinja template: the
scheduler fills it in, and the scheduler runs nothing that an author wrote.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.core.specs import RateLimit, TaskSpec

KEY_LENGTH_MAX = 250
"""A longer key is cut and told apart by a hash."""

_HOLE = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_ROOTS = ("params.", "dag_run.conf.")
_WHOLE = frozenset({"dag_id", "run_id", "task_id"})
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What a key may be made of. `params` are the run's, its conf merged in."""

    dag_id: str
    run_id: str
    params: Mapping[str, Any]
    conf: Mapping[str, Any]


def flaw_of_key(template: str) -> str | None:
    """Say what is wrong with a concurrency_key, or nothing."""
    if not template.strip():
        return "it is empty"
    for hole in _HOLE.findall(template):
        if hole not in _WHOLE and not (hole.startswith(_ROOTS) and _PATH.fullmatch(hole)):
            return (
                f"{{{{ {hole} }}}} cannot be filled in: it may hold params.name, "
                f"dag_run.conf.name, {', '.join(sorted(_WHOLE))}, and no expression"
            )
    rest = _HOLE.sub("", template)
    for stray in ("{{", "}}", "{%", "%}"):
        if stray in rest:
            return f"{stray!r} stands alone; write {{{{ params.name }}}}"
    return None


def key_of(task: TaskSpec, facts: KeyFacts) -> str | None:
    """Fill in a task's concurrency_key for a run; None if it has none. It is the same for all of
    the task's instances in the run. What a run does not know is left empty."""
    if task.concurrency_key is None:
        return None

    def fill(hole: re.Match[str]) -> str:
        match hole[1]:
            case "dag_id":
                return facts.dag_id
            case "run_id":
                return facts.run_id
            case "task_id":
                return task.task_id
            case path:
                return _text(_look_up(path, facts))

    key = _HOLE.sub(fill, task.concurrency_key)
    if len(key) <= KEY_LENGTH_MAX:
        return key
    from hashlib import sha256  # noqa: PLC0415 - slow to import, and few keys are that long

    return f"{key[: KEY_LENGTH_MAX - 17]}#{sha256(key.encode()).hexdigest()[:16]}"


def rate_name_of(task: TaskSpec, dag_id: str, key: str | None) -> str | None:
    """Name what a task's rate limit is counted over: its key, else the task in its DAG."""
    if task.rate_limit is None:
        return None
    return f"task {dag_id}.{task.task_id}" if key is None else f"key {key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RateUse:
    """Starts under one rate limit within its time, those included that may start any moment (they
    are queued), and when the oldest of the others leaves it."""

    starts: int
    free_at: datetime | None


def rate_in_words(limit: RateLimit) -> str:
    """Say a rate limit as an author would."""
    return f"{limit.count} in {limit.per_s:g} s"


def _look_up(path: str, facts: KeyFacts) -> Any:
    if path.startswith("params."):
        value: Any = facts.params
        steps = path.split(".")[1:]
    else:
        value = facts.conf
        steps = path.split(".")[2:]
    for step in steps:
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
