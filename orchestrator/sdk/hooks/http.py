"""How do tasks call a server over HTTP?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.sdk.connections import Connection
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.hooks.base import BaseHook
from orchestrator.sdk.masking import mask

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpHook"]

TIMEOUT_S = 60.0
"""A server that says nothing for so long is not believed to answer."""
_RETRY_S_MAX = 60.0
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""What may be sent twice without doing something twice."""
_PASSING = frozenset({429, 500, 502, 503, 504})
_OPTIONS = frozenset(
    {"allow_redirects", "cert", "check_response", "max_redirects", "proxy", "timeout", "verify"}
)
"""What of a Connection's extra is an option; the rest are headers."""


class HttpHook(BaseHook):
    """Calls the server of a Connection: its host, `https` in its schema, its login and password
    as basic auth (or through `auth_type`), its extra as headers and options."""

    conn_name_attr: ClassVar[str] = "http_conn_id"
    default_conn_name: ClassVar[str] = "http_default"
    conn_type: ClassVar[str] = "http"
    hook_name: ClassVar[str] = "HTTP"

    def __init__(
        self,
        method: str = "POST",
        http_conn_id: str | None = default_conn_name,
        auth_type: Callable[[Any, Any], Any] | None = None,
        *,
        connection: Connection | None = None,
        retries: int = 0,
        retry_delay_s: float = 1.0,
    ) -> None:
        """`retries`: how often a request that may be repeated is, when no answer comes or the
        server says that it is out of order (429, 5xx); the wait doubles. `auth_type(login,
        password)` makes what httpx takes as `auth`. No conn_id: endpoints are whole URLs."""
        self.method = method.upper()
        self.http_conn_id = http_conn_id
        self.auth_type = auth_type
        self.retries = retries
        self.retry_delay_s = retry_delay_s
        self._given = connection

    @cached_property
    def connection(self) -> Connection:
        """The Connection; an empty one without a conn_id."""
        if self._given is not None:
            return self._given
        if not self.http_conn_id:
            return Connection(conn_type="http")
        return self.get_connection(self.http_conn_id)

    @cached_property
    def base_url(self) -> str:
        """Where endpoints start."""
        found = self.connection
        host = found.host or ""
        if host and "://" not in host:
            scheme = found.schema or ("https" if found.conn_type == "https" else "http")
            host = f"{scheme}://{host}"
        return f"{host}:{found.port}" if host and found.port else host

    def url_from_endpoint(self, endpoint: str | None) -> str:
        """Return the whole URL of an endpoint."""
        endpoint = endpoint or ""
        if "://" in endpoint and not self.base_url:
            return endpoint
        if not self.base_url:
            raise TaskException(
                f"Connection {self.http_conn_id!r} has no host, and the endpoint {endpoint!r} is "
                "no whole URL"
            )
        return f"{self.base_url.rstrip('/')}/{endpoint.lstrip('/')}" if endpoint else self.base_url

    def get_conn(
        self,
        headers: Mapping[str, Any] | None = None,
        extra_options: Mapping[str, Any] | None = None,
    ) -> httpx.Client:
        """Return an httpx client with the Connection's auth, headers and options."""
        import httpx  # noqa: PLC0415 - only tasks that use it pay for its import

        options, own_headers = self._options(extra_options)
        cert = options.get("cert")
        return httpx.Client(
            auth=self._auth(),
            headers={**own_headers, **{k: str(v) for k, v in (headers or {}).items()}},
            timeout=options.get("timeout", TIMEOUT_S),
            verify=options.get("verify", True),
            cert=tuple(cert) if isinstance(cert, list) else cert,
            proxy=options.get("proxy"),
            follow_redirects=bool(options.get("allow_redirects", True)),
            max_redirects=int(options.get("max_redirects", 20)),
        )

    def run(
        self,
        endpoint: str | None = None,
        data: Any = None,
        headers: Mapping[str, Any] | None = None,
        extra_options: Mapping[str, Any] | None = None,
        **request_kwargs: Any,
    ) -> httpx.Response:
        """Send a request and return the answer; raise TaskException for a status of 400 or more,
        unless extra_options={"check_response": False}.

        `data` is the query of a GET or HEAD, and of others the form (a dict) or body (text);
        `json=` sends JSON. `request_kwargs` are httpx's.
        """
        url = self.url_from_endpoint(endpoint)
        if data is not None:
            request_kwargs.update(_payload(self.method, data))
        options, _ = self._options(extra_options)
        with closing(self.get_conn(headers, extra_options)) as client:
            self.log.info("sending %s %s", self.method, url)
            response = self._send(client, url, request_kwargs)
        if options.get("check_response", True):
            self.check_response(response)
        return response

    def check_response(self, response: httpx.Response) -> None:
        """Raise TaskException if the server says that it did not do what was asked."""
        if response.status_code < 400:
            return
        self.log.error("the server answered: %s", mask(response.text)[:2000])
        raise TaskException(
            f"{response.status_code} {response.reason_phrase} of {self.method} "
            f"{response.url.copy_with(query=None)}"
        )

    def test_connection(self) -> tuple[bool, str]:
        """Ask the server for its root."""
        import httpx  # noqa: PLC0415 - slow to import

        try:
            with closing(self.get_conn()) as client:
                response = client.get(self.url_from_endpoint(None))
        except (httpx.HTTPError, httpx.InvalidURL, TaskException, OSError) as error:
            return False, mask(f"{type(error).__name__}: {error}")
        said = f"{response.status_code} {response.reason_phrase}"
        return response.status_code < 400, f"the server answers {said}"

    def _auth(self) -> Any:
        found = self.connection
        if self.auth_type is not None:
            return self.auth_type(found.login, found.password)
        return (found.login, found.password or "") if found.login else None

    def _options(
        self, extra_options: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        extra = self.connection.extra_dejson
        options = {name: value for name, value in extra.items() if name in _OPTIONS}
        headers = {name: str(value) for name, value in extra.items() if name not in _OPTIONS}
        return {**options, **(extra_options or {})}, headers

    def _send(self, client: httpx.Client, url: str, kwargs: Mapping[str, Any]) -> httpx.Response:
        import httpx  # noqa: PLC0415 - slow to import

        left = self.retries if self.method in _REPEATABLE else 0
        wait_s = self.retry_delay_s
        while True:
            try:
                response = client.request(self.method, url, **kwargs)
                if response.status_code not in _PASSING or not left:
                    return response
                problem = f"{response.status_code} {response.reason_phrase}"
                wait_s = max(wait_s, _asked_wait_s(response))
            except httpx.TransportError as error:
                if not left:
                    raise TaskException(
                        f"{self.method} {url}: {type(error).__name__}: {error}"
                    ) from error
                problem = f"{type(error).__name__}: {error}"
            left -= 1
            self.log.warning("%s; again in %.1f s", problem, wait_s)
            time.sleep(min(wait_s, _RETRY_S_MAX) * random.uniform(0.75, 1.0))  # noqa: S311 - jitter
            wait_s *= 2


def _payload(method: str, data: Any) -> dict[str, Any]:
    if method in ("GET", "HEAD"):
        return {"params": data}
    if isinstance(data, str | bytes):
        return {"content": data}
    return {"data": data}


def _asked_wait_s(response: httpx.Response) -> float:
    """How long the server asks to be left alone."""
    try:
        return float(response.headers.get("Retry-After", "0"))
    except ValueError:  # a date: the doubled wait will do
        return 0.0
