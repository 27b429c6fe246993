"""What another Python interpreter runs: it calls one function and says what came of that.

    python run.py FOLDER

This file is copied there, since the interpreter need not have this package, and the folder it lies
in would hide modules of Python's own. `FOLDER/call.json` names the function and holds its source;
what came is written to `FOLDER/came.json`. With a serializer other than json, arguments and result
are files beside them. It runs on every Python from 3.8 on.
"""

from __future__ import annotations
import __future__

import importlib
import json
import sys
import traceback
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

__all__ = ["CALL", "CAME", "decoded", "encoded"]

CALL, CAME, ARGUMENTS, RESULT = "call.json", "came.json", "arguments", "result"
TAG = "__orchestrator__"
"""Marks what JSON has no form for."""


def encoded(value: Any) -> Any:
    """Return a value as JSON, with instants and durations tagged; raise TypeError otherwise."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"a key of type {type(key).__name__}")
        return {key: encoded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [encoded(each) for each in value]
    if isinstance(value, datetime):
        return {TAG: "datetime", "value": value.isoformat()}
    if isinstance(value, date):
        return {TAG: "date", "value": value.isoformat()}
    if isinstance(value, timedelta):
        return {TAG: "timedelta", "value": value.total_seconds()}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"a value of type {type(value).__name__}")


def decoded(value: Any) -> Any:
    """Return what `encoded` was given, tuples as lists."""
    if isinstance(value, list):
        return [decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(TAG)
    if kind == "datetime":
        return datetime.fromisoformat(value["value"])
    if kind == "date":
        return date.fromisoformat(value["value"])
    if kind == "timedelta":
        return timedelta(seconds=value["value"])
    return {key: decoded(each) for key, each in value.items()}


def main(folder: Path) -> None:
    """Call the function. Exit code 1 and what was written tell of an exception."""
    call = json.loads((folder / CALL).read_text(encoding="utf-8"))
    # Compiled as if it stood in its own file, so that a traceback names the author's lines.
    code = compile(
        "\n" * (call["line"] - 1) + call["source"],
        call["file"],
        "exec",
        flags=__future__.annotations.compiler_flag,
        dont_inherit=True,
    )
    scope = vars(sys.modules["__main__"])
    scope["virtualenv_string_args"] = call["string_args"]
    try:
        exec(code, scope)  # noqa: S102 - to run the author's function is what this is for
        args, kwargs = _arguments(folder, call)
        _write_result(folder, call, scope[call["function"]](*args, **kwargs))
    except Exception as error:  # whatever the author's code raises
        traceback.print_exc()
        came = {"error": type(error).__name__, "message": str(error), "line": _line(error, call)}
        _write(folder, came)
        sys.exit(1)


def _arguments(folder: Path, call: dict[str, Any]) -> Any:
    if call["serializer"] == "json":
        return decoded(call["args"]), decoded(call["kwargs"])
    return importlib.import_module(call["serializer"]).loads((folder / ARGUMENTS).read_bytes())


def _write_result(folder: Path, call: dict[str, Any], result: Any) -> None:
    if call["serializer"] != "json":
        dumped = importlib.import_module(call["serializer"]).dumps(result)
        (folder / RESULT).write_bytes(dumped)
        _write(folder, {})
        return
    try:
        _write(folder, {"result": encoded(result)})
    except TypeError as error:
        raise TypeError(
            f"{call['function']} returned {error}, which does not travel as JSON; set "
            "serializer='pickle'"
        ) from None


def _write(folder: Path, came: dict[str, Any]) -> None:
    (folder / CAME).write_text(json.dumps(came), encoding="utf-8")


def _line(error: Exception, call: dict[str, Any]) -> int | None:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == call["file"]]
    return own[-1] if own else None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
