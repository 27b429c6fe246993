"""What an operator can set, where each value comes from, and what the data folder must hold."""

from orchestrator.settings.exposure import is_loopback, refuse_open_door
from orchestrator.settings.home import fernet_keys, prepare_home, secret_key
from orchestrator.settings.loading import CONFIG_VARIABLE, SettingRow, describe, load_settings
from orchestrator.settings.model import PREFIX, Origin, Settings
from orchestrator.settings.sealed import split_backends

__all__ = [
    "CONFIG_VARIABLE",
    "PREFIX",
    "Origin",
    "SettingRow",
    "Settings",
    "describe",
    "fernet_keys",
    "is_loopback",
    "load_settings",
    "prepare_home",
    "refuse_open_door",
    "secret_key",
    "split_backends",
]
