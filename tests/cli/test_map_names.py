"""The name that a map_index_template made is what people read of a map index."""

import json

from orchestrator.bootstrap import Services
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.retries import Conclusion
from tests.builders import a_dag, a_task
from tests.cli.conftest import Project
from tests.store.world import StoredWorld


def test_s25_the_name_of_a_map_index_is_listed(project: Project, services: Services) -> None:
    world = StoredWorld(services.store)
    (assignment,) = world.running(a_dag(a_task("a")))
    world.finish(assignment, Conclusion(event=TaskEvent.FAILED, map_name="Paris", reason="rain"))

    (row,) = json.loads(project.run("tasks", "list", "d", "r1", "--output", "json").stdout)
    assert row["rendered_map_index"] == "Paris"
    shown = json.loads(project.run("runs", "show", "d", "r1", "--output", "json").stdout)
    assert [task["rendered_map_index"] for task in shown["tasks"]] == ["Paris"]
    assert "Paris" in project.run("tasks", "list", "d", "r1").stdout
