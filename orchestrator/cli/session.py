"""How a command gets at the settings and services, and only then pays for their import."""

import json
import os
import pwd
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from orchestrator.bootstrap import Services
    from orchestrator.settings import Settings

__all__ = [
    "current_user",
    "open_session",
    "parse_conf",
    "parse_instant",
    "program",
    "read_settings",
]


def read_settings() -> "Settings":
    """Return the settings of this process's environment."""
    from orchestrator.settings import load_settings  # noqa: PLC0415 - 0.3 s that --help saves

    return load_settings()


@contextmanager
def open_session() -> Iterator["Services"]:
    """Open the store and the broker for one command."""
    from orchestrator.bootstrap import (  # noqa: PLC0415 - a second that --help saves
        configure_logging,
        open_services,
    )

    settings = read_settings()
    # What a service would log, a command says itself.
    configure_logging(settings.model_copy(update={"log_level": "error"}))
    services = open_services(settings)
    try:
        yield services
    finally:
        services.close()


def program() -> str:
    """Return how this very command is typed here: by its name if a shell finds it so, otherwise by
    its path (`make run` does not put `.venv/bin` on PATH)."""
    script = Path(sys.executable).with_name("orchestrator")
    if not script.is_file():
        return f"{shlex.quote(sys.executable)} -m orchestrator.cli"
    found = shutil.which(script.name)
    if found is not None and script.samefile(found):
        return script.name
    beside = os.path.relpath(script)
    return shlex.quote(str(script) if beside.startswith(os.pardir) else beside)


def current_user() -> str:
    """Return who asks: the name of this process's user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())


def parse_conf(text: str | None) -> dict[str, Any] | None:
    """Read --conf: a JSON object, or `@file` that holds one."""
    if text is None:
        return None
    if text.startswith("@"):
        try:
            text = Path(text[1:]).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            raise typer.BadParameter(f"{text[1:]} cannot be read: {error.strerror}") from None
    try:
        conf = json.loads(text)
    except json.JSONDecodeError as error:
        raise typer.BadParameter(
            f"{text!r} is not JSON ({error}); write it like '{{\"year\": 2024}}'"
        ) from None
    if not isinstance(conf, dict):
        raise typer.BadParameter(
            f"{text!r} is not a JSON object; write it like '{{\"year\": 2024}}'"
        )
    return conf


def parse_instant(text: str | None) -> datetime | None:
    """Read a date or time in ISO 8601; without an offset it is UTC."""
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not a date or time; write it like 2024-05-31 or 2024-05-31T06:00:00+00:00"
        ) from None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
