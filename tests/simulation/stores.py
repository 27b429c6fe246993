"""The production store on SQLite in memory, with virtual time, seeded keys and the DAGs in it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from orchestrator import store as sql
from orchestrator.core.codec import content_hash
from orchestrator.ports import Clock, DagCatalog, NewId, ParsedVersion
from orchestrator.store.engine import Database
from tests.simulation.programs import Program


@dataclass(frozen=True, slots=True)
class SimulatedStore:
    """One database: as production sees it, and as the checkers do."""

    database: Database
    scheduler: Any
    worker: Any


def open_store(
    clock: Clock, new_id: NewId, programs: Iterable[Program], pools: Mapping[str, int]
) -> SimulatedStore:
    """Open an empty store that knows these programs and pools."""
    opened = sql.open_store("sqlite://", clock=clock, new_id=new_id, tries=1)
    with opened.database.writing() as connection:
        for name, slots in pools.items():
            connection.execute(
                text("INSERT INTO pool (name, slots, include_deferred) VALUES (:name, :slots, 0)"),
                {"name": name, "slots": slots},
            )
    for program in programs:
        _register(opened.catalog, program)
    return SimulatedStore(
        database=opened.database, scheduler=opened.scheduler, worker=opened.worker
    )


def _register(catalog: DagCatalog, program: Program) -> None:
    source = f"# {program.spec.dag_id}"
    catalog.register(
        ParsedVersion(
            spec=program.spec,
            path=f"{program.spec.dag_id}.py",
            source=source,
            source_digest=hashlib.sha256(source.encode()).hexdigest(),
            content_hash=content_hash(program.spec, source),
        )
    )
