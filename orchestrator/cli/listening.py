"""On which address and port the API is reached, and who has that port already."""

import errno
import socket

from orchestrator.errors import SettingsError

__all__ = ["open_listener", "url_of"]

_BACKLOG = 2048


def open_listener(host: str, port: int) -> socket.socket:
    """Open the socket the API listens on. Held by the supervisor, it stays while the API restarts:
    whoever calls meanwhile waits instead of being refused."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise SettingsError(
            f"ORCHESTRATOR_API_HOST={host!r} is no address of this machine: {error}"
        ) from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(_refusal(host, port, error)) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address to open in a browser on this machine."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken by another program; stop that one, or set "
            "ORCHESTRATOR_API_PORT to another port (0 picks a free one)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs root's rights; set ORCHESTRATOR_API_PORT to one above 1023"
    return f"{host}:{port} cannot be listened on ({error.strerror}); set ORCHESTRATOR_API_HOST"
