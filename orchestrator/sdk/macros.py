"""What templates can call under the name `macros`.

Functions and classes, never modules: through a module a template would reach all that it imports,
and so leave the sandbox.
"""

import json
import time
import uuid
from datetime import date, datetime, timedelta
from random import random
from types import SimpleNamespace

__all__ = ["MACROS"]


def _ds_add(ds: str, days: int) -> str:
    """Return the date `days` after (negative: before) a date written YYYY-MM-DD."""
    return str(date.fromisoformat(ds) + timedelta(days=days))


def _ds_format(ds: str, input_format: str, output_format: str) -> str:
    """Return a date written in one strftime format written in another."""
    return datetime.strptime(ds, input_format).strftime(output_format)  # noqa: DTZ007 - a bare date


MACROS = SimpleNamespace(
    datetime=datetime,
    ds_add=_ds_add,
    ds_format=_ds_format,
    json=SimpleNamespace(dumps=json.dumps, loads=json.loads),
    random=random,
    time=SimpleNamespace(monotonic=time.monotonic, strftime=time.strftime, time=time.time),
    timedelta=timedelta,
    uuid=SimpleNamespace(
        UUID=uuid.UUID, uuid1=uuid.uuid1, uuid3=uuid.uuid3, uuid4=uuid.uuid4, uuid5=uuid.uuid5
    ),
)
