"""A real installation (store, broker, scheduler pass) in which a test decides what workers do."""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from orchestrator.bootstrap import Services, open_services
from orchestrator.control import RunRequest
from orchestrator.core.assignments import Assignment
from orchestrator.core.codec import content_hash
from orchestrator.core.outcomes import Outcome, Succeeded
from orchestrator.core.retries import conclude
from orchestrator.core.specs import DagSpec
from orchestrator.core.states import TriggeredBy
from orchestrator.core.views import RunView
from orchestrator.ports import ParsedVersion, WorkerInfo
from orchestrator.scheduler.dispatch import Dispatch
from orchestrator.scheduler.limits import SchedulerLimits
from orchestrator.scheduler.tick import Tick
from orchestrator.settings import Settings

WORKER = "host-1-abc"
KEY = "k" * 40


class World:
    """Services, a scheduler whose passes the test makes, and a worker that does as it is told."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.store = services.store
        self.reads = services.reads
        self.control = services.control
        self._tick = Tick(
            self.store.scheduler, Dispatch(services.publisher), limits=SchedulerLimits()
        )

    def add(self, spec: DagSpec, *, path: str | None = None, source: str = "# a DAG\n") -> None:
        """Store a DAG as its file's import would, and unpause it."""
        self.store.catalog.register(
            ParsedVersion(
                spec=spec,
                path=path or f"{spec.dag_id}.py",
                source=source,
                source_digest=hashlib.sha256(source.encode()).hexdigest(),
                content_hash=content_hash(spec, source),
            )
        )
        self.control.unpause(spec.dag_id)

    def trigger(self, dag_id: str, **request: Any) -> RunView:
        """Ask for a run."""
        return self.control.trigger(
            dag_id, RunRequest(**request), triggered_by=TriggeredBy.TEST, user="ada"
        )

    def schedule(self) -> None:
        """Let the scheduler do all there is to do."""
        while self._tick.run_pass(hand_out=True).has_more:
            pass

    def start_worker(self, *queues: str, concurrency: int = 4) -> None:
        """Bring a worker online."""
        self.store.worker.register_worker(
            WorkerInfo(
                worker_id=WORKER,
                hostname="host-1",
                pid=77,
                queues=queues or ("default",),
                concurrency=concurrency,
                version="0",
            )
        )
        self.store.worker.beat(WORKER, lease_s=3600)

    def start_tasks(self) -> list[Assignment]:
        """Have the worker start every queued task instance."""
        self.store.scheduler.expire_all_published()
        started = []
        for message in self.store.scheduler.lease_undelivered(limit=1000, republish_after_s=60):
            assignment = self.store.worker.start(
                message.ti_id, message.epoch, worker_id=WORKER, pid=78, lease_s=3600
            )
            assert assignment is not None
            started.append(assignment)
        return started

    def log(self, assignment: Assignment, text: str, *, offset: int = 0) -> None:
        """Have a try log."""
        self.store.worker.append_log(
            assignment.ti_id, assignment.try_number, offset=offset, data=text.encode()
        )

    def end(self, assignment: Assignment, outcome: Outcome | None = None) -> None:
        """Have a try end."""
        came_to = outcome or Succeeded()
        concluded = conclude(
            came_to,
            policy=assignment.task.retry,
            try_number=assignment.try_number,
            max_tries=assignment.max_tries,
            seed="seed",
        )
        assert self.store.worker.finish(
            assignment, concluded, worker_id=WORKER, xcoms=came_to.xcoms
        )

    def finish(self, outcomes: Mapping[str, Outcome] | None = None) -> None:
        """Work everything off that can run, each task to its outcome (success if none is given)."""
        self.schedule()
        while started := self.start_tasks():
            for assignment in started:
                self.end(assignment, (outcomes or {}).get(assignment.task.task_id))
            self.schedule()


@contextmanager
def open_world(home: Path, database_url: str, redis_url: str, **more: Any) -> Iterator[World]:
    """Open an empty installation."""
    settings = Settings.model_validate(
        {
            "home": home,
            "dags_folder": home / "dags",
            "database_url": database_url,
            "redis_url": redis_url,
            "secret_key": KEY,
            **more,
        }
    )
    services = open_services(settings)
    try:
        yield World(services)
    finally:
        services.close()


@contextmanager
def serve(world: World, *, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve the API of a world over HTTP and give its address."""
    with serve_app(create_app(world.services), host=host) as url:
        yield url


@contextmanager
def serve_app(app: FastAPI, *, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve an application over HTTP and give its address."""
    config = uvicorn.Config(app, host=host, port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server ended while starting"
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
