"""How the CLI shows rows: a table for a person, JSON for a program, the same columns in both."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = [
    "STATE_STYLES",
    "Output",
    "OutputOption",
    "a_console",
    "clock",
    "duration",
    "show_facts",
    "show_json",
    "show_rows",
]

STATE_STYLES: Mapping[str, str] = {
    "success": "green",
    "failed": "red",
    "upstream_failed": "dark_orange",
    "running": "bright_blue",
    "queued": "cyan",
    "scheduled": "cyan",
    "deferred": "magenta",
    "up_for_retry": "yellow",
    "up_for_reschedule": "yellow",
    "skipped": "bright_black",
    "removed": "bright_black",
    "none": "bright_black",
}
_PIPE_WIDTH = 10_000  # a table in a pipe is read line by line: never wrapped, never cut


class Output(StrEnum):
    """The forms a listing can take."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="`table` for people, `json` for programs.")
]


def show_rows(rows: Sequence[Mapping[str, Any]], output: Output, *, empty: str) -> None:
    """Print a listing; `empty` is what a person reads when there is nothing."""
    if output is Output.JSON:
        show_json(list(rows))
    elif not rows:
        typer.echo(empty)
    else:
        _show_table(rows)


def show_facts(facts: Mapping[str, Any], output: Output) -> None:
    """Print one thing, a line for each of its facts."""
    if output is Output.JSON:
        show_json(facts)
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        typer.echo(f"{name:<{width}}  {_words(value)}")


def show_json(value: Any) -> None:
    """Print a value as indented JSON, instants in ISO 8601."""
    typer.echo(json.dumps(value, indent=2, default=_jsonable, ensure_ascii=False))


def a_console() -> "Console":
    """Return where tables and trees go: as wide as the terminal, unbounded in a pipe."""
    from rich.console import Console  # noqa: PLC0415 - half of what a plain command costs

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    return console


def clock(instant: datetime | None) -> str:
    """Write an instant for a person, to the second, in UTC."""
    return "" if instant is None else instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float | None) -> str:
    """Write a duration for a person: `0.4 s`, `2 min 5 s`, `1 h 3 min`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def _show_table(rows: Sequence[Mapping[str, Any]]) -> None:
    console = a_console()
    if not console.is_terminal:
        _print_columns(rows)
        return
    from rich.table import Table  # noqa: PLC0415 - half of what a plain command costs

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(name.upper().replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*[_cell(value) for value in row.values()])
    console.print(table)


def _print_columns(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table into a pipe, a row a line: nothing is folded, so thousands cost little."""
    from rich.cells import cell_len  # noqa: PLC0415 - half of what a plain command costs

    lines = [[name.upper().replace("_", " ") for name in rows[0]]]
    lines += [[" ".join(_words(value).splitlines()) for value in row.values()] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            word + " " * (width - cell_len(word)) for word, width in zip(line, widths, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())


def _cell(value: Any) -> "Text":
    from rich.text import Text  # noqa: PLC0415 - half of what a plain command costs

    # A Text, not a str: an error message may hold what looks like markup.
    words = _words(value)
    return Text(words, style=STATE_STYLES.get(words, "") if isinstance(value, StrEnum) else "")


def _words(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return clock(value)
        case float():
            return f"{value:.1f}"
        case list() | tuple():
            return ", ".join(_words(item) for item in value)
        case dict():
            return json.dumps(value, default=_jsonable, ensure_ascii=False)
        case _:
            return str(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
