"""May the API listen where it is told to, while it has no login?"""

import ipaddress

from orchestrator.errors import SettingsError
from orchestrator.settings.model import PREFIX, Settings

__all__ = ["is_loopback", "refuse_open_door"]


def refuse_open_door(settings: Settings, *, host: str) -> None:
    """Raise SettingsError if other machines could reach an API that asks nobody who they are."""
    if settings.api_allow_anonymous or is_loopback(host):
        return
    raise SettingsError(
        f"the API would listen on {host!r}, where everybody who reaches this machine could trigger "
        "and read everything, since there is no login yet; use 127.0.0.1 and put a proxy with a "
        f"login before it, or set {PREFIX}API_ALLOW_ANONYMOUS=true if only trusted people reach it"
    )


def is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
