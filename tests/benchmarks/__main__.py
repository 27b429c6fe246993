"""`make bench`: our figures beside raw Celery's, on one machine, in one run.

    make bench                       the short form, minutes
    make bench ONLY=W1,W2            only these workloads
    make bench FULL=1                longer chains, wider fan-outs, more repetitions
    make bench ENGINE=postgres       one engine (sqlite, postgres)

The workloads are those of docs/benchmarks.md. A ratio compares what ran here and now: the machine
is shared, so an absolute figure says little. PostgreSQL runs with fsync on.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests import servers
from tests.benchmarks import machine, raw_celery
from tests.benchmarks.ours import System, running

CONCURRENCY = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured line: ours, raw Celery's (None where it has no counterpart), what a ratio of 1
    means, and the machine's share that others used."""

    workload: str
    engine: str
    what: str
    ours: float
    raw: float | None
    unit: str
    others: float


@dataclass(frozen=True, slots=True)
class Form:
    """How much is measured."""

    repeats: int
    chain: int
    fan_out: int
    runs: int
    idle_s: float


SHORT = Form(repeats=3, chain=50, fan_out=300, runs=50, idle_s=20)
FULL = Form(repeats=5, chain=200, fan_out=1000, runs=200, idle_s=60)


def main() -> None:
    form = FULL if os.environ.get("FULL") else SHORT
    only = {name.upper() for name in os.environ.get("ONLY", "").split(",") if name}
    engines = [os.environ["ENGINE"]] if os.environ.get("ENGINE") else ["postgres", "sqlite"]
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-") as name:
        folder = Path(name)
        with servers.run_redis(folder / "redis") as redis:
            baseline = _raw(redis.url, folder, form)
            for engine in engines:
                with _database(engine, folder) as url:
                    home = folder / engine
                    with running(home, url, redis.url, concurrency=CONCURRENCY) as system:
                        for workload, measure in _WORKLOADS.items():
                            if not only or workload in only:
                                for figure in measure(system, engine, baseline, form):
                                    _print(figure)


def _raw(redis_url: str, folder: Path, form: Form) -> dict[str, float]:
    """Measure Celery alone: the other side of every ratio."""
    journal = folder / "raw-journal"
    celery = raw_celery.app(redis_url, journal)
    worker = raw_celery.start_worker(redis_url, journal, concurrency=CONCURRENCY)
    try:
        raw_celery.burst_of(celery, 50, journal)
        gaps = [
            gap for _ in range(form.repeats) for gap in raw_celery.chain_of(celery, 200, journal)
        ]
        rates = [raw_celery.burst_of(celery, 1000, journal) for _ in range(form.repeats)]
    finally:
        worker.terminate()
        worker.wait(30)
    baseline = {
        "hop_p50_ms": 1000 * machine.quantile(gaps, 0.5),
        "hop_p95_ms": 1000 * machine.quantile(gaps, 0.95),
        "rate": machine.middle(rates),
    }
    print(
        f"raw Celery: hop p50 {baseline['hop_p50_ms']:.1f} ms, p95 {baseline['hop_p95_ms']:.1f} ms;"
        f" publish and consume {baseline['rate']:.0f} tasks/s"
        f" ({min(rates):.0f} to {max(rates):.0f})",
        flush=True,
    )
    return baseline


@contextmanager
def _database(engine: str, folder: Path) -> Iterator[str]:
    if engine == "sqlite":
        yield f"sqlite:///{folder / 'bench.db'}"
    else:
        with servers.run_postgres(options={"fsync": "on", "full_page_writes": "on"}) as url:
            yield url


def _chain(system: System, engine: str, raw: dict[str, float], form: Form) -> Iterator[Figure]:
    dag_id = system.chain(form.chain)
    gaps: list[float] = []
    with _others(system) as others:
        for _ in range(form.repeats):
            system.run(dag_id)
            moments = raw_celery.wait_for_lines(system.journal, form.chain)
            gaps += [after - before for before, after in pairwise(moments)]
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        yield Figure(
            "W1",
            engine,
            f"hop {name}, chain of {form.chain}",
            1000 * machine.quantile(gaps, share),
            raw[f"hop_{name}_ms"],
            "ms",
            others(),
        )


def _fan_out(system: System, engine: str, raw: dict[str, float], form: Form) -> Iterator[Figure]:
    dag_id = system.fan_out(form.fan_out)
    with _others(system) as others:
        rates = [(form.fan_out + 2) / system.run(dag_id) for _ in range(form.repeats)]
    what = f"1 -> {form.fan_out} -> 1"
    yield Figure("W2", engine, what, machine.middle(rates), raw["rate"], "tasks/s", others())


def _many_runs(system: System, engine: str, raw: dict[str, float], form: Form) -> Iterator[Figure]:
    dag_id = system.diamond()
    with _others(system) as others:
        rates = [10 * form.runs / system.run(dag_id, runs=form.runs) for _ in range(form.repeats)]
    what = f"{form.runs} runs of 10 tasks"
    yield Figure("W4", engine, what, machine.middle(rates), raw["rate"], "tasks/s", others())


def _idle(system: System, engine: str, _raw: dict[str, float], form: Form) -> Iterator[Figure]:
    system.add_scheduled(100)
    time.sleep(3)  # what the new files set off is not idleness
    before = machine.read(system.pids)
    time.sleep(form.idle_s)
    after = machine.read(system.pids)
    cpu = (after.ours_s - before.ours_s) * 60 / form.idle_s
    others = machine.share_of_others(before, after)
    yield Figure("W5", engine, "idle, 100 DAGs: CPU", cpu, None, "s/min", others)
    memory = machine.memory_mb(system.pids)
    yield Figure("W5", engine, "idle: memory (PSS)", memory, None, "MB", others)


def _new_file(system: System, engine: str, _raw: dict[str, float], form: Form) -> Iterator[Figure]:
    body = "\nwith DAG(dag_id='new_{n}'):\n    noop()\n".replace("'", '"')
    with _others(system) as others:
        waits = [system.add(f"new_{n}", body, n=n) for n in range(3 * form.repeats)]
    yield Figure(
        "W6", engine, "new file until triggerable", machine.middle(waits), None, "s", others()
    )


_WORKLOADS: dict[str, Callable[[System, str, dict[str, float], Form], Iterator[Figure]]] = {
    "W1": _chain,
    "W2": _fan_out,
    "W4": _many_runs,
    "W5": _idle,
    "W6": _new_file,
}


@contextmanager
def _others(system: System) -> Iterator[Callable[[], float]]:
    """Give a function that says which share of the machine others used since the block began."""
    pids = [*system.pids, os.getpid()]
    before = machine.read(pids)
    yield lambda: machine.share_of_others(before, machine.read(pids))


def _print(figure: Figure) -> None:
    raw = "" if figure.raw is None else f"  raw Celery {figure.raw:8.1f}"
    ratio = "" if figure.raw is None else f"  ratio {figure.ours / figure.raw:5.2f}"
    print(
        f"{figure.workload}  {figure.engine:8} {figure.what:28} {figure.ours:8.2f} {figure.unit:8}"
        f"{raw}{ratio}  others {100 * figure.others:.0f} %",
        flush=True,
    )


if __name__ == "__main__":
    main()
