"""How do secrets come into a command, and out of one, without standing in its arguments?

Every process of a machine may read the arguments of every other one. So a value may be `-`, which
is standard input, or `@FILE`.
"""

import json
import os
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from orchestrator.errors import RequestInvalidError

__all__ = ["OnExisting", "read_file", "read_secret", "write_file"]

STDIN = "-"


class OnExisting(StrEnum):
    """What an import does with what is there already."""

    OVERWRITE = "overwrite"
    SKIP = "skip"
    FAIL = "fail"


def read_secret(text: str | None, *, option: str) -> str | None:
    """Return an option's value: itself, or what standard input or a file holds, without the last
    line end."""
    if text == STDIN:
        if sys.stdin.isatty():
            typer.echo(f"{option}: type it, then Ctrl-D", err=True)
        return sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if text is not None and text.startswith("@"):
        return _read(text[1:]).removesuffix("\n").removesuffix("\r")
    return text


def read_file(path: str) -> dict[str, Any]:
    """Return what is to be imported, by name: a JSON object, or lines of NAME=VALUE in a file that
    ends in .env."""
    text = sys.stdin.read() if path == STDIN else _read(path)
    if path.endswith(".env"):
        return _env_lines(path, text)
    try:
        held = json.loads(text)
    except ValueError as error:
        # Not its text: what is to be imported is secret.
        said = getattr(error, "msg", "it cannot be read")
        line = getattr(error, "lineno", "?")
        raise RequestInvalidError(
            f"{path} is not JSON ({said}, line {line}); it must hold an object of values by name, "
            "or be an .env file of NAME=VALUE lines"
        ) from None
    if not isinstance(held, dict):
        raise RequestInvalidError(f"{path} holds no JSON object; write {{name: value, ...}}")
    return held


def write_file(path: str, values: Mapping[str, Any]) -> None:
    """Write what is exported to a file that only its owner may read, or into a pipe."""
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    if path == STDIN:
        if sys.stdout.isatty():
            raise RequestInvalidError(
                "an export holds secrets and is not shown on a terminal; name a file, or pipe it "
                "into a program"
            )
        typer.echo(text, nl=False)
        return
    target = Path(path).expanduser()
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)  # also of a file that was there
            file.write(text)
    except OSError as error:
        raise RequestInvalidError(f"{target} cannot be written: {error.strerror}") from None


def _read(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not text"
        raise RequestInvalidError(f"{path} cannot be read: {said}") from None


def _env_lines(path: str, text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, mark, value = line.partition("=")
        if not mark or not name.strip():
            raise RequestInvalidError(f"{path}, line {number}, does not read NAME=VALUE")
        values[name.strip()] = value.strip()
    return values
