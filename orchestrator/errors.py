"""Every error the product raises on purpose, split by who must act.

OrchestratorError
├── AuthorError            the DAG file's author must change the file
│   ├── DagInvalidError        an argument, a cycle, a duplicate id
│   └── ParamInvalidError      a param's default or value breaks its schema
├── CallerError            whoever called (CLI, API) must change the request
│   ├── NotFoundError          no such DAG, run, task instance ...
│   ├── ConflictError          it exists already, or its state forbids the request
│   └── RequestInvalidError    a value of the request is wrong
└── OperatorError          whoever runs the system must change its surroundings
    ├── SettingsError          a setting is unknown, missing or impossible
    ├── StoreUnavailableError  the database does not answer, or is not migrated
    └── BrokerUnavailableError the Redis server does not answer

A lost race is not an error: the guarded write changed no row, and the caller gets False.
A broken invariant is an assert. A message names the thing, the value and the cure.
"""

from collections.abc import Iterable


class OrchestratorError(Exception):
    """Base of every error raised on purpose; its message is fit to show to a person."""


class AuthorError(OrchestratorError):
    """The DAG file must change."""


class DagInvalidError(AuthorError):
    """A DAG cannot mean what its file says."""


class ParamInvalidError(AuthorError):
    """A param's default or a trigger's conf breaks the param's JSON schema."""


class CallerError(OrchestratorError):
    """The request must change."""


class NotFoundError(CallerError):
    """The thing the request names does not exist."""


class ConflictError(CallerError):
    """The request collides with what exists, or with the state it is in."""


class RequestInvalidError(CallerError):
    """A value of the request is not acceptable."""


class OperatorError(OrchestratorError):
    """The surroundings must change: settings, servers, files, rights."""


class SettingsError(OperatorError):
    """A setting is unknown, missing or impossible."""


class StoreUnavailableError(OperatorError):
    """The database does not answer, or its schema is not the one this version needs."""


class BrokerUnavailableError(OperatorError):
    """The Redis-protocol server does not answer."""


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - slow to import, for errors only

    matches = get_close_matches(value, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
