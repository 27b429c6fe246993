"""Which of the parts that every run needs answer?"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.request import urlopen

from orchestrator.bootstrap import Services
from orchestrator.cli.standalone.folder_lock import read_word
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
    url = f"{_api_url(services)}/api/v2/version"
    try:
        with urlopen(url, timeout=_TIMEOUT_S):  # noqa: S310 - an address of ours
            return True, f"answers at {url}"
    except OSError as error:
        return False, f"{url} does not answer ({error}); start it with `orchestrator api`"


def _api_url(services: Services) -> str:
    """Return where the standalone orchestrator of this data folder says it serves, or else where
    the settings say so."""
    settings = services.settings
    word = read_word(settings.home)
    if isinstance(url := word.get("url"), str):
        return url
    host = "localhost" if settings.api_host in ("0.0.0.0", "::") else settings.api_host  # noqa: S104
    return f"http://{host}:{settings.api_port}"


PARTS: Mapping[str, Callable[[Services], tuple[bool, str]]] = {
    "database": _database,
    "redis": _redis,
    "scheduler": _scheduler,
    "worker": _worker,
    "api": _api,
}
