"""What is known of a Connection or a Variable: whole for tasks, without its secrets for people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["ConnectionFields", "ConnectionView", "VariableFields", "VariableView"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionFields:
    """A Connection with its secrets, as it is stored; `extra` is JSON text."""

    conn_id: str
    conn_type: str
    description: str | None = None
    host: str | None = None
    port: int | None = None
    login: str | None = None
    schema: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionView:
    """A Connection as people see it: what is secret by its name in `extra` reads ***."""

    conn_id: str
    conn_type: str
    description: str | None
    host: str | None
    port: int | None
    login: str | None
    schema: str | None
    has_password: bool
    extra: Mapping[str, Any] | None
    updated_at: datetime
    updated_by: str | None
    problem: str | None = None
    """Why its secrets cannot be read, when they cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableFields:
    """A Variable with its value, as it is stored."""

    key: str
    value: str = field(repr=False)
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableView:
    """A Variable as people see it: *** if it is sensitive by its key."""

    key: str
    value: str
    is_sensitive: bool
    description: str | None
    updated_at: datetime
    updated_by: str | None
    problem: str | None = None
    """Why its value cannot be read, when it cannot."""
