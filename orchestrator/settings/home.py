"""What must be in the data folder before anything starts: the right to write, and a secret key."""

import base64
import hashlib
import hmac
import os
import secrets
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.errors import SettingsError
from orchestrator.settings.model import PREFIX, SECRET_KEY_LENGTH_MIN, Settings
from orchestrator.settings.sealed import split_keys

__all__ = ["fernet_keys", "prepare_home", "secret_key"]

_SALT = b"orchestrator task messages"
_SEALING = b"orchestrator stored secrets"


def prepare_home(settings: Settings) -> Path:
    """Create the data folder, private to its owner, and prove that it can be written."""
    home = settings.home
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home).close()
    except OSError as error:
        raise SettingsError(
            f"the data folder {home} cannot be written ({error.strerror}); "
            f"set {PREFIX}HOME to a folder that can"
        ) from None
    return home


def secret_key(settings: Settings) -> str:
    """Return the configured key; else one made from the database's password, which every machine
    of an installation has; else the one in HOME/secret_key, made there on first use."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    password = urlsplit(settings.database_url).password
    if password:
        return _key_from(unquote(password))
    path = prepare_home(settings) / "secret_key"
    if not path.exists():
        _create_secret_file(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SettingsError(
            f"{path} can be read by other users (mode {mode:03o}); run: chmod 600 {path}"
        )
    key = path.read_text().strip()
    if len(key) < SECRET_KEY_LENGTH_MIN:
        raise SettingsError(
            f"{path} holds {len(key)} characters, fewer than {SECRET_KEY_LENGTH_MIN}; "
            "delete it to have a new one made"
        )
    return key


def fernet_keys(settings: Settings) -> tuple[str, ...]:
    """Return the keys of stored secrets: the configured ones, then the one made from the secret
    key, so that what it sealed stays readable once there are others."""
    configured = settings.fernet_keys.get_secret_value() if settings.fernet_keys else ""
    made = hmac.digest(secret_key(settings).encode(), _SEALING, "sha256")
    return (*split_keys(configured), base64.urlsafe_b64encode(made).decode())


@lru_cache(maxsize=1)
def _key_from(password: str) -> str:
    """Stretch a password, so that a signature seen on Redis is no quick way to guess it."""
    stretched = hashlib.scrypt(password.encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=32)
    return stretched.hex()


def _create_secret_file(path: Path) -> None:
    """Write a new key whole or not at all; when two processes race, the first one's stays."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent)  # readable by its owner only
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(48) + "\n")
    with suppress(FileExistsError):
        os.link(draft, path)
    Path(draft).unlink()
