"""How a try's log is printed, while it is written too."""

import json
import time
from collections.abc import Mapping
from typing import Any

import typer

from orchestrator.bootstrap import Services
from orchestrator.cli.instances import Named
from orchestrator.errors import NotFoundError

__all__ = ["print_log"]

_POLL_S = 0.2
_FIRST_FIELDS = ("timestamp", "level", "event")


def print_log(
    services: Services, named: Named, try_number: int | None, *, follow: bool, as_json: bool
) -> None:
    """Print one try's log from its start; with `follow`, until nothing more can come."""
    if try_number is None:
        try_number = _newest_try(services, named, follow=follow)
    key, offset = named.key, 0
    while True:
        page = services.reads.read_log(
            key.dag_id,
            key.run_id,
            key.task_id,
            try_number,
            map_index=key.map_index,
            offset=offset,
        )
        for line in page.lines:
            typer.echo(json.dumps(line, ensure_ascii=False) if as_json else _words(line))
        has_more = page.next_offset > offset and not page.is_complete
        offset = page.next_offset
        if page.is_complete or not (follow or has_more):
            return
        if not has_more:
            time.sleep(_POLL_S)


def _newest_try(services: Services, named: Named, *, follow: bool) -> int:
    key = named.key
    while True:
        ti = services.reads.task_instance(*key[:3], map_index=key.map_index)
        if ti.try_number:
            return ti.try_number
        if not follow:
            raise NotFoundError(
                f"{named} is {ti.state} and has not been tried yet; `--follow` waits for it, "
                "`orchestrator tasks explain` says what it waits for"
            )
        time.sleep(_POLL_S)


def _words(line: Mapping[str, Any]) -> str:
    """Write a line for a person: when, how severe, what, and whatever else it says."""
    at = str(line.get("timestamp", ""))[:23].replace("T", " ")
    level = str(line.get("level", "info"))
    rest = " ".join(f"{name}={value}" for name, value in line.items() if name not in _FIRST_FIELDS)
    shown = f"{at}  {level.upper():<7}  " if at else f"{level.upper():<7}  "
    return f"{shown}{line.get('event', '')}" + (f"  {rest}" if rest else "")
