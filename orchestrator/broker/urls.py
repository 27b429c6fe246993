"""How one Redis URL of the settings is written for Celery and for redis-py."""

from urllib.parse import parse_qsl, urlencode, urlsplit

__all__ = ["celery_url", "client_url"]

_CELERY_SOCKET = "redis+socket"
_CLIENT_SOCKET = "unix"
_CELERY_DATABASE = "virtual_host"
_CLIENT_DATABASE = "db"


def celery_url(redis_url: str) -> str:
    """Return the URL that Celery understands: `redis://`, `rediss://` or `redis+socket://`."""
    return _rewritten(redis_url, scheme=_CELERY_SOCKET, database=_CELERY_DATABASE)


def client_url(redis_url: str) -> str:
    """Return the URL that redis-py understands: `redis://`, `rediss://` or `unix://`."""
    return _rewritten(redis_url, scheme=_CLIENT_SOCKET, database=_CLIENT_DATABASE)


def _rewritten(redis_url: str, *, scheme: str, database: str) -> str:
    parts = urlsplit(redis_url)
    if parts.scheme not in (_CELERY_SOCKET, _CLIENT_SOCKET):
        return redis_url
    query = {
        database if name in (_CELERY_DATABASE, _CLIENT_DATABASE) else name: value
        for name, value in parse_qsl(parts.query)
    }
    ending = f"?{urlencode(query)}" if query else ""
    return f"{scheme}://{parts.netloc}{parts.path}{ending}"
