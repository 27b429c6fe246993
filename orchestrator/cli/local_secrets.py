"""Which Connections and Variables does a DAG see that is tried in this process?

Those of the real installation, as far as it is there: the installed backends, the environment, and
the store if it has been set up. It is opened by the first lookup that the others leave open, so
that a DAG which needs none pays nothing, and needs no database.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.errors import OperatorError
from orchestrator.sdk.connections import Connection
from orchestrator.sdk.secrets import (
    BaseSecretsBackend,
    EnvironmentVariablesBackend,
    load_backends,
)
from orchestrator.settings import Settings, split_backends

if TYPE_CHECKING:
    from orchestrator.store.secret_backend import StoreSecretsBackend

__all__ = ["local_backends"]


def local_backends(settings: Settings) -> list[BaseSecretsBackend]:
    """Return the places to look in, in their order."""
    configured = settings.secrets_backends
    wanted = () if configured is None else split_backends(configured.get_secret_value())
    return [*load_backends(wanted), EnvironmentVariablesBackend(), _StoreIfThere(settings)]


class _StoreIfThere(BaseSecretsBackend):
    """The store, or nothing while there is none."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def label(self) -> str:  # type: ignore[override]
        """Say why it has nothing, when that is so."""
        return "the store" if self._store is not None else f"no store ({self._problem})"

    def get_connection(self, conn_id: str) -> Connection | None:
        """Look into the store."""
        return None if self._store is None else self._store.get_connection(conn_id)

    def get_variable(self, key: str) -> str | None:
        """Look into the store."""
        return None if self._store is None else self._store.get_variable(key)

    def connection_ids(self) -> Iterable[str]:
        """Name them."""
        return () if self._store is None else self._store.connection_ids()

    def variable_keys(self) -> Iterable[str]:
        """Name them."""
        return () if self._store is None else self._store.variable_keys()

    @cached_property
    def _store(self) -> "StoreSecretsBackend | None":
        from orchestrator.bootstrap import open_stored_secrets  # noqa: PLC0415 - heavy

        self._problem = ""
        try:
            return open_stored_secrets(self._settings)
        except OperatorError as error:
            self._problem = str(error)
            return None
