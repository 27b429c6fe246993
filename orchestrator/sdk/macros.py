"""What templates can call under the name `macros`."""

import datetime as _dt
import json
import time
import uuid
from datetime import datetime, timedelta
from random import random

__all__ = ["datetime", "ds_add", "ds_format", "json", "random", "time", "timedelta", "uuid"]


def ds_add(ds: str, days: int) -> str:
    """Return the date `days` after (negative: before) a date written YYYY-MM-DD."""
    return str(_dt.date.fromisoformat(ds) + timedelta(days=days))


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """Return a date written in one strftime format written in another."""
    return datetime.strptime(ds, input_format).strftime(output_format)  # noqa: DTZ007 - a bare date
