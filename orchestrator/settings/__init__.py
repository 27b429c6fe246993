"""What an operator can set, where each value comes from, and what the data folder must hold."""

from orchestrator.settings.exposure import is_loopback, refuse_open_door
from orchestrator.settings.home import prepare_home, secret_key
from orchestrator.settings.loading import CONFIG_VARIABLE, SettingRow, describe, load_settings
from orchestrator.settings.model import PREFIX, Origin, Settings

__all__ = [
    "CONFIG_VARIABLE",
    "PREFIX",
    "Origin",
    "SettingRow",
    "Settings",
    "describe",
    "is_loopback",
    "load_settings",
    "prepare_home",
    "refuse_open_door",
    "secret_key",
]
