"""How tasks of a worker that is known to be dead go on at once, not when its lease ends.

Only whoever started a worker can know that it is dead: the supervisor sees it end, and a supervisor
that was killed leaves word in the locked folder, whose lock tells its successor that none is left.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.bootstrap import Services

__all__ = ["hand_back", "take_over"]

_REAP_BATCH = 1000


def take_over(services: Services, word: Mapping[str, Any]) -> None:
    """Sign off the services of an earlier start, as the word it left in the folder names them."""
    if isinstance(scheduler_id := word.get("scheduler_id"), str):
        services.store.scheduler.sign_off_scheduler(scheduler_id)
    if isinstance(pid := word.get("worker_pid"), int):
        hand_back(services, hostname=str(word.get("hostname")), pid=pid)


def hand_back(services: Services, *, hostname: str, pid: int) -> None:
    """Sign off the worker that had this process id on that host, and free what it held."""
    dead = [
        worker.worker_id
        for worker in services.reads.workers(includes_offline=True)
        if worker.hostname == hostname and worker.pid == pid
    ]
    for worker_id in dead:
        services.store.worker.sign_off_worker(worker_id)
    while dead:
        reaped = services.store.scheduler.reap(
            infra_tries_max=services.settings.infra_tries_max, limit=_REAP_BATCH
        )
        if len(reaped.lost) < _REAP_BATCH:
            break
    # A message that a worker took with it into its grave is sent again.
    services.store.scheduler.expire_all_published()
    services.doorbell.ring()
