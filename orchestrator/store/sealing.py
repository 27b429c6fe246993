"""How are secrets encrypted where they lie?

With Fernet (AES-128-CBC and HMAC-SHA256): the first key seals, every key opens, so that keys can
be changed while the system runs. The keys are never in the database.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.errors import SettingsError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

__all__ = ["SecretSealer"]


class SecretSealer:
    """Seals and opens texts."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys` are Fernet keys: 32 bytes in URL-safe base64. The first one seals."""
        assert keys, "there is always a key: without one in the settings it is derived"
        self._keys = tuple(keys)

    def seal(self, text: str) -> str:
        """Encrypt a text."""
        return self._fernet.encrypt(text.encode("utf-8", "surrogatepass")).decode()

    def open(self, sealed: str, *, what: str) -> str:
        """Decrypt a text; SettingsError says which key is missing for `what`."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - few commands need it

        try:
            return self._fernet.decrypt(sealed.encode()).decode("utf-8", "surrogatepass")
        except InvalidToken:
            raise _wrong_key(what) from None

    def reseal(self, sealed: str, *, what: str) -> str:
        """Encrypt anew with the first key."""
        return self.seal(self.open(sealed, what=what))

    def is_sealed_by_first(self, sealed: str) -> bool:
        """Say whether the first key opens it."""
        from cryptography.fernet import Fernet, InvalidToken  # noqa: PLC0415 - as above

        try:
            Fernet(self._keys[0]).decrypt(sealed.encode())
        except InvalidToken:
            return False
        return True

    @cached_property
    def _fernet(self) -> "MultiFernet":
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415 - as above

        return MultiFernet([Fernet(key) for key in self._keys])


def _wrong_key(what: str) -> SettingsError:
    return SettingsError(
        f"{what} cannot be decrypted: it was sealed with a key that this process does not have; "
        "add that key to ORCHESTRATOR_FERNET_KEYS (or restore ORCHESTRATOR_SECRET_KEY, from which "
        "the default key is made), or delete it and set it anew"
    )
