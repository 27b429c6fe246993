"""What would this import see on another day, in another process, on another host?

Two imports a millisecond apart agree on `date.today()`, on the host's name and, when they are
unlucky, on `random.choice`. So the second one runs with a shifted clock, another seed and another
name: whatever depends on them differs, and is known to vary. What a C extension reads by itself (a
data frame library's clock) is beyond this.
"""

import datetime as datetime_module
import os
import platform
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta, tzinfo
from types import ModuleType
from typing import Any

_SHIFT = timedelta(days=397, hours=1, minutes=1, seconds=1, microseconds=1)
"""Moves every part of a date: year, month, day, weekday, hour, minute, second."""

_SEED_HERE, _SEED_ELSEWHERE = 0, 1
"""Each import starts from a known seed, so that even an unnoticed `random` value stays the same."""

_Datetime = datetime_module.datetime
_Date = datetime_module.date


def here() -> None:
    """Make `random` start alike in every first import."""
    random.seed(_SEED_HERE)


def here_again() -> None:
    """Make `random` start otherwise, and leave everything else as it is."""
    random.seed(_SEED_ELSEWHERE)


@contextmanager
def elsewhen() -> Iterator[None]:
    """Shift clock, seed, process id and host name until the block ends."""
    here_again()
    replaced = [
        (module, name, getattr(module, name), replacement)
        for module, replacements in _replacements().items()
        for name, replacement in replacements.items()
    ]
    for module, name, _, replacement in replaced:
        setattr(module, name, replacement)
    try:
        yield
    finally:
        for module, name, original, _ in replaced:
            setattr(module, name, original)


def _replacements() -> Mapping[ModuleType, Mapping[str, object]]:
    shift_s, pid, host = _SHIFT.total_seconds(), os.getpid(), f"{socket.gethostname()}-elsewhere"
    real = time.time
    real_ns = time.time_ns

    def then(seconds: float | None) -> float:
        return real() + shift_s if seconds is None else seconds

    def struct_then(moment: Any) -> Any:
        return time_localtime(real() + shift_s) if moment is None else moment

    time_localtime, time_gmtime, time_ctime = time.localtime, time.gmtime, time.ctime
    time_strftime, time_asctime = time.strftime, time.asctime
    times: dict[str, Callable[..., object]] = {
        "time": lambda: real() + shift_s,
        "time_ns": lambda: real_ns() + int(shift_s * 1e9),
        "localtime": lambda seconds=None: time_localtime(then(seconds)),
        "gmtime": lambda seconds=None: time_gmtime(then(seconds)),
        "ctime": lambda seconds=None: time_ctime(then(seconds)),
        "strftime": lambda text, moment=None: time_strftime(text, struct_then(moment)),
        "asctime": lambda moment=None: time_asctime(struct_then(moment)),
    }
    return {
        datetime_module: {"datetime": _ShiftedDatetime, "date": _ShiftedDate},
        time: times,
        os: {"getpid": lambda: pid + 1},
        socket: {"gethostname": lambda: host},
        platform: {"node": lambda: host},
    }


class _SeesDatetimes(type):
    """`isinstance(x, datetime)` stays true of real ones under the shifted name."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _Datetime)


class _SeesDates(type):
    """`isinstance(x, date)` stays true of real ones under the shifted name."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Date)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _Date)


class _ShiftedDatetime(_Datetime, metaclass=_SeesDatetimes):
    """`datetime` whose now is elsewhen; what it makes are real datetimes."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made_by = _Datetime if cls is _ShiftedDatetime else cls
        return _Datetime.__new__(made_by, *args, **kwargs)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return _Datetime.now(tz) + _SHIFT

    @classmethod
    def utcnow(cls) -> Any:
        return _Datetime.now(datetime_module.UTC).replace(tzinfo=None) + _SHIFT

    @classmethod
    def today(cls) -> Any:
        return cls.now()


class _ShiftedDate(_Date, metaclass=_SeesDates):
    """`date` whose today is elsewhen; what it makes are real dates."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made_by = _Date if cls is _ShiftedDate else cls
        return _Date.__new__(made_by, *args, **kwargs)

    @classmethod
    def today(cls) -> Any:
        return (_Datetime.now() + _SHIFT).date()
