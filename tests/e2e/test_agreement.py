"""A DAG ends the same in `run_dag`, here and now, and in a real run on Celery workers."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from orchestrator.bootstrap import Services
from orchestrator.core.listings import PageRequest, TaskInstanceFilter
from orchestrator.core.states import RunState
from orchestrator.sdk.scope import collecting, dags_of
from orchestrator.testing import run_dag
from tests.e2e.processes import Folder, Standalone, knows, trigger, wait_for_end, wait_until
from tests.e2e.random_dags import random_dag

SEED = int(os.environ.get("SEED", "1"))
DAGS = int(os.environ.get("N", "30"))

Ends = tuple[RunState, dict[tuple[str, int], str]]


def ends_here(path: Path) -> Ends:
    """Run a file's DAG in this process."""
    module: dict[str, object] = {"__name__": path.stem, "__file__": str(path)}
    with collecting() as collected:
        exec(compile(path.read_text(), str(path), "exec"), module)
    (dag,) = dags_of(module, collected)
    result = run_dag(dag)
    ends = {
        (task_id, index): str(each.state) for (task_id, index), each in result.instances.items()
    }
    return result.state, ends


def ends_there(services: Services, dag_id: str) -> Ends:
    """Read how a real run ended."""
    run = wait_for_end(services, dag_id, "r")
    wanted = TaskInstanceFilter(dag_id=dag_id, run_id="r")
    views = services.reads.task_instances(wanted, PageRequest(limit=1000)).items
    return run.state, {(each.key.task_id, each.key.map_index): str(each.state) for each in views}


def test_random_dags_end_alike_here_and_on_workers(
    folder: Folder, start: Callable[..., Standalone]
) -> None:
    texts = dict(random_dag(seed) for seed in range(SEED, SEED + DAGS))
    for dag_id, text in texts.items():
        folder.write_dag(dag_id, text)
    here = {dag_id: ends_here(folder.path / "dags" / f"{dag_id}.py") for dag_id in texts}
    start().wait_until_serving()
    with folder.services() as services:
        for dag_id in texts:
            wait_until(partial(knows, services, dag_id), f"{dag_id} is known")
            trigger(services, dag_id, "r")
        there = {dag_id: ends_there(services, dag_id) for dag_id in texts}
    different = {
        dag_id: (here[dag_id], there[dag_id]) for dag_id in texts if here[dag_id] != there[dag_id]
    }
    assert not different, f"make agreement SEED={SEED} N={DAGS}"
    states = {state for _, instances in here.values() for state in instances.values()}
    assert states == {"success", "failed", "skipped", "upstream_failed"}, "the DAGs are varied"
