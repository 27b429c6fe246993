"""Who may speak to the API while it has no login?

Programs on this machine, and its own pages (on other machines only where
`API_ALLOW_ANONYMOUS` says so); not a web page of somebody else that runs in a browser
here. So every request must name this server in its Host header (a page whose name was rebound to
this address names itself), and one that changes something must be JSON and must not come from
another origin (no CORS header is ever sent, so browsers refuse to let such a request out).
"""

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from orchestrator.settings import PREFIX, Settings, is_loopback

__all__ = ["BODY_BYTES_MAX", "Protection", "accepted_hosts"]

BODY_BYTES_MAX = 1024 * 1024 - 1
"""A megabyte: many times the largest conf there can be."""
_LENGTH_DIGITS_MAX = 20
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ANYWHERE = ("0.0.0.0", "::", "*")  # noqa: S104 - compared with, not bound to

SECURITY_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def accepted_hosts(settings: Settings) -> frozenset[str]:
    """Return the names by which a request may call this server. Addresses are always accepted: a
    name can be rebound to another address, an address cannot."""
    names = {"localhost", *settings.api_host_names}
    if settings.api_host not in _ANYWHERE:
        names.add(settings.api_host)
    if settings.api_allow_anonymous:
        names |= {socket.gethostname(), socket.getfqdn()}
    return frozenset(name.lower() for name in names)


class Protection:
    """Refuses what no honest client sends, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], is_local_only: bool) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._is_local_only = is_local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, _limited(receive), send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        if self._is_local_only and not _came_in_locally(scope):
            return problem(
                403,
                "there is no login yet, so only this machine is served; set "
                f"{PREFIX}API_ALLOW_ANONYMOUS=true to serve whoever reaches it",
            )
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = _host_name(host)
        if not (_is_address(name) or name in self._hosts):
            return problem(
                421,
                f"this server is not known as {host!r}; call it by its address, or add the name to "
                f"{PREFIX}API_HOST_NAMES",
            )
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            return problem(422, "the address contains a NUL character; remove it")
        if scope["method"] in SAFE_METHODS:
            return None
        return (
            _foreign(headers, host)
            or _not_json(headers, method=scope["method"])
            or _too_large(headers)
        )


def _came_in_locally(scope: Scope) -> bool:
    """Say whether the connection came to an address of this machine only. Asked for each request,
    since a server may be told to listen elsewhere than the settings say."""
    server = scope.get("server")
    if server is None or server[1] is None:  # a socket file
        return True
    return is_loopback(str(server[0]))


def _foreign(headers: Headers, host: str) -> Response | None:
    """Refuse a change that a page of another origin asks for."""
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "none")
    comes_from_here = origin is None or _netloc(origin) == host.lower()
    if comes_from_here and site in ("none", "same-origin"):
        return None
    return problem(403, f"pages of other origins ({origin or site}) may not change anything here")


def _not_json(headers: Headers, *, method: str) -> Response | None:
    """Refuse a body that a form or a script of another origin could send without being asked
    back. Browsers ask back before every method but POST, so those may come without a body."""
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if method != "POST" and not has_body:
        return None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return None
    return problem(
        415, f"the content type is {kind or 'missing'!r}; send JSON with application/json"
    )


def _limited(receive: Receive) -> Receive:
    """Count what is read of a body, for one that announced no length."""
    received = 0

    async def receive_some() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > BODY_BYTES_MAX:
            raise HTTPException(413, f"the body has more than {BODY_BYTES_MAX} bytes")
        return message

    return receive_some


def _too_large(headers: Headers) -> Response | None:
    """Refuse a body by the length it announces"""
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length[:_LENGTH_DIGITS_MAX]) <= BODY_BYTES_MAX:
        return None
    return problem(413, f"the body has {length[:80]} bytes; {BODY_BYTES_MAX} are allowed")


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
