"""Which of the parts that every run needs answer?"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from orchestrator.bootstrap import Services
from orchestrator.errors import OrchestratorError

__all__ = ["PARTS", "examine"]

_TIMEOUT_S = 5.0


def examine(services: Services, part: str | None = None) -> list[dict[str, Any]]:
    """Look at one part or at all; each row says `healthy` or `unhealthy`, and why."""
    rows = []
    for name in PARTS if part is None else (part,):
        try:
            is_well, words = PARTS[name](services)
        except OrchestratorError as error:
            is_well, words = False, str(error)
        rows.append({"part": name, "status": "healthy" if is_well else "unhealthy", "why": words})
    return rows


def _database(services: Services) -> tuple[bool, str]:
    services.reads.scheduler_pulse()
    return True, "answers"


def _redis(services: Services) -> tuple[bool, str]:
    services.publisher.generation()
    return True, "answers"


def _scheduler(services: Services) -> tuple[bool, str]:
    pulse = services.reads.scheduler_pulse()
    if pulse.alive:
        return True, f"{pulse.alive} alive"
    return False, "none is alive; start one with `orchestrator scheduler`"


def _worker(services: Services) -> tuple[bool, str]:
    workers = services.reads.workers()
    if not workers:
        return False, "none is alive; start one with `orchestrator worker`"
    queues = sorted({queue for worker in workers for queue in worker.queues})
    slots = sum(worker.concurrency for worker in workers)
    return True, f"{len(workers)} alive, {slots} slots, queues {', '.join(queues)}"


def _api(services: Services) -> tuple[bool, str]:
    settings = services.settings
    host = "localhost" if settings.api_host in ("0.0.0.0", "::") else settings.api_host  # noqa: S104
    url = f"http://{host}:{settings.api_port}/api/v2/version"
    try:
        with urlopen(url, timeout=_TIMEOUT_S):
            return True, f"answers at {url}"
    except (URLError, OSError) as error:
        return False, f"{url} does not answer ({error}); start it with `orchestrator api`"


PARTS: Mapping[str, Callable[[Services], tuple[bool, str]]] = {
    "database": _database,
    "redis": _redis,
    "scheduler": _scheduler,
    "worker": _worker,
    "api": _api,
}
