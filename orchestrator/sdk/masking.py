"""Which texts must nobody read in a log, an error or a value that is shown?

What a task reads from Connections and sensitive Variables is registered here, and `mask` replaces
it, also where it stands escaped as JSON, quoted as in a URL, or in base64. Registering is for the
process and lasts as long as the `secret_scope` it happened in: user code may read a password in
one thread and log it in another.
"""

import base64
import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

__all__ = [
    "MASK",
    "MaskingFilter",
    "is_sensitive_name",
    "mask",
    "mask_secret",
    "masked_values",
    "redact",
    "secret_scope",
    "secrets_known",
    "watch_secrets",
]

MASK = "***"
LENGTH_MIN = 3
"""Shorter secrets are not masked: every second line would be stars, and tell what they are."""
LINE_LENGTH_MIN = 8
"""A line of a secret of several lines is masked by itself from this length on: logs have lines."""

_SENSITIVE = (
    "access_key",
    "access_token",
    "api_key",
    "apikey",
    "authorization",
    "connection_string",
    "keyfile_dict",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "proxies",
    "proxy_password",
    "secret",
    "service_account",
    "token",
)
"""Airflow's list: a name that contains one of them, in whatever case, names a secret."""
_ORDINARY = frozenset({"airflow", "false", "none", "null", "true", "***"})
"""Masking these would hide half of a log and no secret."""

_lock = threading.RLock()
_known: dict[str, int] = {}
"""Every form of every secret, by how many scopes from outermost it was registered in."""
_depth = 0
_pattern: re.Pattern[str] | None = None
_version = 0
_on_change: Callable[[tuple[str, ...]], None] | None = None


def is_sensitive_name(name: str) -> bool:
    """Say whether what has this name must not be shown."""
    plain = name.strip().lower().replace("-", "_")
    return any(each in plain for each in _SENSITIVE)


def mask_secret(secret: object, name: str | None = None) -> None:
    """Have a secret shown as *** from now on: in the task's log, in errors, in XComs and rendered
    fields that people look at.

    Of a dict, those values are secret whose names are sensitive (password, token ...); with `name`,
    a text is secret only if that name is sensitive.
    """
    forms = [form for text in _secrets_in(secret, name) for form in _forms(text)]
    if forms:
        _register(forms)


def mask(text: str) -> str:
    """Return a text with every known secret replaced. Mask before cutting: half a secret is none
    that could be recognised."""
    pattern = _pattern
    return text if pattern is None else pattern.sub(MASK, text)


def redact(value: Any, name: str | None = None) -> Any:
    """Return a value as it may be shown: known secrets replaced in every text of it, and all that
    stands under a sensitive name."""
    if name is not None and value is not None and is_sensitive_name(name):
        return dict.fromkeys(value, MASK) if isinstance(value, Mapping) else MASK
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {
            mask(key) if isinstance(key, str) else key: redact(each, str(key))
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and _pattern is not None:
        return MASK if str(value) in _known else value
    return value


def masked_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return, as they may be shown, those of these values that hold a secret."""
    shown = {name: redact(value, name) for name, value in values.items()}
    return {name: each for name, each in shown.items() if each != values[name]}


@contextmanager
def secret_scope() -> Iterator[None]:
    """Forget at the end of the block what was registered in it: one task's secrets are no other's,
    and '123' must not be hidden for ever because somebody once chose it."""
    global _depth  # noqa: PLW0603 - one process, one set of secrets
    with _lock:
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            for form in [form for form, depth in _known.items() if depth > _depth]:
                del _known[form]
            _compile()


def secrets_known() -> tuple[int, tuple[str, ...]]:
    """Return every form that is masked now, and a number that changes when they do."""
    with _lock:
        return _version, tuple(_known)


class MaskingFilter(logging.Filter):
    """For a handler of `logging`: masks messages and tracebacks before they are formatted."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask a record; keep it in any case."""
        if _pattern is None:
            return True
        record.msg, record.args = mask(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = mask(logging.Formatter().formatException(record.exc_info))
        return True


def watch_secrets(on_change: Callable[[tuple[str, ...]], None]) -> None:
    """Have one function told of all that is to be masked, whenever that changes."""
    global _on_change  # noqa: PLW0603 - one process, one set of secrets
    _on_change = on_change


def mask_with(forms: Iterable[str], text: str) -> str:
    """Mask on behalf of another process, which knows these forms."""
    pattern = _compiled(tuple(forms))
    return text if pattern is None else pattern.sub(MASK, text)


def _secrets_in(secret: object, name: str | None) -> Iterator[str]:
    if isinstance(secret, Mapping):
        for key, each in secret.items():
            yield from _secrets_in(each, str(key) if name is None else f"{name}.{key}")
    elif isinstance(secret, list | tuple | set):
        for each in secret:
            yield from _secrets_in(each, name)
    elif isinstance(secret, bytes):
        yield from _secrets_in(secret.decode("utf-8", "replace"), name)
    elif isinstance(secret, str) and (name is None or is_sensitive_name(name)):
        text = secret.strip()
        if len(text) >= LENGTH_MIN and text.lower() not in _ORDINARY:
            yield text


def _forms(secret: str) -> set[str]:
    """Every way in which a secret is met."""
    raw = secret.encode("utf-8", "surrogatepass")
    lines = [line.strip() for line in secret.splitlines()]
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        *([line for line in lines if len(line) >= LINE_LENGTH_MIN] if len(lines) > 1 else ()),
    }


def _register(forms: Iterable[str]) -> None:
    with _lock:
        before = len(_known)
        for form in forms:
            _known[form] = min(_known.get(form, _depth), _depth)
        if len(_known) != before:
            _compile()


def _compile() -> None:
    global _pattern, _version  # noqa: PLW0603 - one process, one set of secrets
    _version += 1
    _pattern = _compiled(tuple(_known))
    if _on_change is not None:
        _on_change(tuple(_known))


@lru_cache(maxsize=8)
def _compiled(forms: tuple[str, ...]) -> re.Pattern[str] | None:
    # The longest first: where one secret is part of another, the whole goes.
    ordered = sorted(forms, key=lambda form: (-len(form), form))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None
