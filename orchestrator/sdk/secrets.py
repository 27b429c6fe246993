"""Where is a Connection or a Variable looked for, in which order, and what if it is nowhere?

    secrets backends   those the operator installed and listed, in that order
    environment        ORCHESTRATOR_CONN_<ID>, ORCHESTRATOR_VAR_<KEY>, and the same with AIRFLOW_
    store              what the CLI and the API keep, encrypted

The first that has it answers. A backend that fails is an error and no miss: the next one might
hold an outdated password. Where a DAG file is imported, in the parser and in the worker alike,
Variables come from the environment and the store, Connections from the environment only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from orchestrator.errors import OrchestratorError, SettingsError, did_you_mean
from orchestrator.sdk.connections import Connection
from orchestrator.sdk.exceptions import NotFoundException, TaskException

__all__ = [
    "BaseSecretsBackend",
    "EnvironmentVariablesBackend",
    "SecretChain",
    "Secrets",
    "VariableKeeper",
    "current_secrets",
    "import_time_secrets",
    "load_backends",
    "secrets_for_imports",
    "set_current_secrets",
]

ENTRY_POINT_GROUP = "orchestrator.secrets"
_PREFIXES = ("ORCHESTRATOR_", "AIRFLOW_")


class VariableNotFound(NotFoundException, KeyError):  # noqa: N818 - as its base
    """No place has the Variable; a KeyError too, as which Airflow 2 raised it."""

    def __str__(self) -> str:
        return str(self.args[0])


class Secrets(Protocol):
    """What a task may ask for, and change."""

    def get_connection(self, conn_id: str) -> Connection:
        """Return a Connection, or raise NotFoundException naming where it was looked for."""

    def get_variable(self, key: str) -> str | None:
        """Return a Variable's text; None when no place has it."""

    def missing_variable(self, key: str) -> NotFoundException:
        """Build the error for a Variable that no place has."""

    def set_variable(self, key: str, value: str, *, description: str | None = None) -> None:
        """Keep a Variable in the store."""

    def delete_variable(self, key: str) -> bool:
        """Remove a Variable from the store; False when it was not there."""


class BaseSecretsBackend:
    """Airflow's interface of a place that holds secrets. Define `get_conn_value` (a URI or JSON)
    or `get_connection`, and `get_variable`; None means that it is not there.

    It is found by an entry point of the group `orchestrator.secrets` and built with the kwargs of
    the setting.
    """

    label = ""
    """How errors name the place; the class's name unless set."""

    def get_conn_value(self, conn_id: str) -> str | None:  # noqa: ARG002 - an interface
        """Return a Connection as a URI or JSON."""
        return None

    def get_connection(self, conn_id: str) -> Connection | None:
        """Return a Connection."""
        text = self.get_conn_value(conn_id)
        return None if text is None else Connection.read(text, conn_id=conn_id)

    def get_variable(self, key: str) -> str | None:  # noqa: ARG002 - an interface
        """Return a Variable's text."""
        return None

    def connection_ids(self) -> Iterable[str]:
        """Name the Connections it has, for suggestions; it need not."""
        return ()

    def variable_keys(self) -> Iterable[str]:
        """Name the Variables it has, for suggestions; it need not."""
        return ()


class EnvironmentVariablesBackend(BaseSecretsBackend):
    """Environment variables, ours before Airflow's."""

    label = "the environment"

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ

    def get_conn_value(self, conn_id: str) -> str | None:
        """Read the variable that names the Connection."""
        return self._read("CONN_", conn_id)

    def get_variable(self, key: str) -> str | None:
        """Read the environment variable that names the Variable."""
        return self._read("VAR_", key)

    def connection_ids(self) -> Iterable[str]:
        """Name them in lower case, as they are mostly written."""
        return self._names("CONN_")

    def variable_keys(self) -> Iterable[str]:
        """Name them in lower case, as they are mostly written."""
        return self._names("VAR_")

    def _read(self, kind: str, name: str) -> str | None:
        for prefix in _PREFIXES:
            found = self._environ.get(f"{prefix}{kind}{name.upper()}")
            if found is not None:
                return found
        return None

    def _names(self, kind: str) -> Iterable[str]:
        starts = tuple(f"{prefix}{kind}" for prefix in _PREFIXES)
        return [
            name.split(f"_{kind}", 1)[1].lower()
            for name in self._environ
            if name.startswith(starts)
        ]


class VariableKeeper(Protocol):
    """Where `Variable.set` writes to."""

    def set_variable(self, key: str, value: str, *, description: str | None = None) -> None:
        """Keep a Variable."""

    def delete_variable(self, key: str) -> bool:
        """Remove a Variable; False when it was not there."""


class SecretChain:
    """Places, asked one after the other."""

    def __init__(
        self,
        backends: Sequence[BaseSecretsBackend],
        *,
        keeper: VariableKeeper | None = None,
        connection_backends: Sequence[BaseSecretsBackend] | None = None,
        advice: str = "",
    ) -> None:
        """`connection_backends` are those that Connections are looked for in, unless in all;
        `advice` ends the sentence that says that something was not found."""
        self._backends = tuple(backends)
        self._for_connections = tuple(
            backends if connection_backends is None else connection_backends
        )
        self._keeper = keeper
        self._advice = advice

    def get_connection(self, conn_id: str) -> Connection:
        """Return a Connection of the first place that has it."""
        if not _is_text(conn_id):
            raise TaskException(f"conn_id is {conn_id!r}; it must be the id of a Connection")
        for backend in self._for_connections:
            what = f"Connection {conn_id!r}"
            found: Connection | None = _ask(backend, what, backend.get_connection, conn_id)
            if found is not None:
                found.conn_id = conn_id
                found.mask()
                return found
        known = _named(backend.connection_ids for backend in self._for_connections)
        places = self._for_connections
        raise NotFoundException(self._missing("Connection", conn_id, known, places))

    def get_variable(self, key: str) -> str | None:
        """Return a Variable of the first place that has it."""
        if not _is_text(key):
            raise TaskException(f"the Variable's key is {key!r}; it must be a text")
        for backend in self._backends:
            what = f"Variable {key!r}"
            found: str | None = _ask(backend, what, backend.get_variable, key)
            if found is not None:
                return found
        return None

    def missing_variable(self, key: str) -> NotFoundException:
        """Build the error for a Variable that no place has."""
        known = _named(backend.variable_keys for backend in self._backends)
        return VariableNotFound(self._missing("Variable", key, known, self._backends))

    def set_variable(self, key: str, value: str, *, description: str | None = None) -> None:
        """Keep a Variable; refuse it where another place would go on to hide it."""
        keeper = self._writable("set")
        others = [each for each in self._backends if id(each) != id(keeper)]
        hidden_by = next((each for each in others if self._has(each, key)), None)
        if hidden_by is not None:
            raise TaskException(
                f"Variable {key!r} cannot be set: {_label(hidden_by)} has it and is asked before "
                "the store, so the new value would never be read; change it there"
            )
        keeper.set_variable(key, value, description=description)

    def delete_variable(self, key: str) -> bool:
        """Remove a Variable from the store."""
        return self._writable("deleted").delete_variable(key)

    def _has(self, backend: BaseSecretsBackend, key: str) -> bool:
        return _ask(backend, f"Variable {key!r}", backend.get_variable, key) is not None

    def _writable(self, verb: str) -> VariableKeeper:
        if self._keeper is None:
            raise TaskException(
                f"a Variable can be {verb} while a task runs, not where the DAG is written; use "
                "`orchestrator variables` for what is to be there before"
            )
        return self._keeper

    def _missing(
        self, kind: str, name: str, known: Iterable[str], places: Iterable[BaseSecretsBackend]
    ) -> str:
        looked = ", then ".join(_label(backend) for backend in places)
        hint = did_you_mean(name, known) or self._advice.format(kind=kind, name=name)
        return f"there is no {kind} {name!r}; looked in {looked}{hint}"


def secrets_for_imports(*stores: BaseSecretsBackend) -> SecretChain:
    """Return what a DAG file sees while it is imported."""
    environment = EnvironmentVariablesBackend()
    return SecretChain(
        [environment, *stores],
        connection_backends=[environment],
        advice="; no other place is read where a DAG file is imported: get {kind} {name!r} within "
        "a task or a template, or give a default",
    )


import_time_secrets = secrets_for_imports()
"""The environment alone: where nobody has said what else there is."""

_current: Secrets = import_time_secrets
"""Of the process and not of the context: tasks read secrets in threads of their own too."""


def current_secrets() -> Secrets:
    """Return the places that the running code may read."""
    return _current


def set_current_secrets(secrets: Secrets) -> Callable[[], None]:
    """Make `secrets` what running code reads; return what takes that back."""
    global _current
    before, _current = _current, secrets

    def restore() -> None:
        global _current  # noqa: PLW0603
        _current = before

    return restore


def load_backends(wanted: Iterable[tuple[str, Mapping[str, Any]]]) -> list[BaseSecretsBackend]:
    """Build the installed backends that the setting lists, by the names of their entry points."""
    wanted = list(wanted)
    if not wanted:
        return []
    from importlib.metadata import entry_points  # noqa: PLC0415 - few installations have any

    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    backends = []
    for name, kwargs in wanted:
        if name not in installed:
            known = did_you_mean(name, installed) or (
                f"; installed are {', '.join(sorted(installed))}" if installed else ""
            )
            raise SettingsError(
                f"there is no secrets backend {name!r}: no installed package has such an entry "
                f"point in the group {ENTRY_POINT_GROUP!r}{known}"
            )
        backends.append(_build(name, installed[name].load, kwargs))
    return backends


def _build(name: str, load: Callable[[], Any], kwargs: Mapping[str, Any]) -> BaseSecretsBackend:
    try:
        backend = load()(**kwargs)
    except Exception as error:
        raise SettingsError(
            f"the secrets backend {name!r} cannot be built with the arguments "
            f"{sorted(kwargs)}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(backend, BaseSecretsBackend):
        raise SettingsError(
            f"the secrets backend {name!r} is a {type(backend).__name__}; it must be a subclass of "
            "orchestrator.sdk.BaseSecretsBackend"
        )
    backend.label = backend.label or f"the secrets backend {name!r}"
    return backend


def _ask(backend: BaseSecretsBackend, what: str, ask: Callable[[str], Any], name: str) -> Any:
    try:
        return ask(name)
    except (OrchestratorError, TaskException):
        raise
    except Exception as error:
        raise TaskException(
            f"{_label(backend)} failed when it was asked for {what}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _is_text(name: object) -> bool:
    return isinstance(name, str) and bool(name)


def _label(backend: BaseSecretsBackend) -> str:
    return backend.label or type(backend).__name__


def _named(sources: Iterable[Callable[[], Iterable[str]]]) -> list[str]:
    names: list[str] = []
    for source in sources:
        with suppress(Exception):  # a suggestion is not worth another error
            names += source()
    return names
