"""A person names an instance of a nested mapping as it is shown to them, in every command."""

import json
from typing import Any

import pytest

from orchestrator.bootstrap import Services
from orchestrator.core.ids import UNMAPPED, Slot, index_of
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.scheduling import Expand, Move
from orchestrator.core.specs import DagSpec, Expansion, GroupSpec, LiteralLength
from tests.builders import a_dag, a_task
from tests.cli.conftest import Project
from tests.store.world import StoredWorld

TWICE = Expansion(inputs=(LiteralLength(length=2),))
PATHS = ((0, 0), (0, 1), (1, 0), (2,))
"""What there is of g.t: the mapping within the third index of g is not expanded yet."""


def nested() -> DagSpec:
    return a_dag(
        a_task("g.t", group_id="g", expansion=TWICE),
        a_task("once", expansion=TWICE),
        a_task("plain"),
        groups=(GroupSpec(group_id="g", expansion=TWICE),),
    )


@pytest.fixture
def world(services: Services) -> StoredWorld:
    """A run in which once[1] and g.t[1][0] are upstream_failed."""
    world = StoredWorld(services.store)
    uid = world.started_run(nested())
    deep = tuple(index_of(path, depth=2) for path in PATHS)
    world.decide(
        uid,
        *(
            Move(slot=slot, event=TaskEvent.RULE_UPSTREAM_FAILED)
            for slot in (Slot("g.t", deep[2]), Slot("once", 1))
        ),
        expansions=(
            Expand(task_id="g.t", first=Slot("g.t", UNMAPPED), indexes=deep),
            Expand(task_id="once", first=Slot("once", UNMAPPED), indexes=(0, 1)),
        ),
    )
    return world


def asked_json(project: Project, *arguments: str) -> Any:
    result = project.run(*arguments, "--output", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_instances_are_listed_by_the_names_that_commands_take(
    project: Project, world: StoredWorld
) -> None:
    names = ["g.t[0][0]", "g.t[0][1]", "g.t[1][0]", "g.t[2][*]", "once[0]", "once[1]", "plain"]
    listed = asked_json(project, "tasks", "list", "d", "r1")
    shown = asked_json(project, "runs", "show", "d", "r1")["tasks"]
    assert [row["name"] for row in listed] == [row["name"] for row in shown] == names
    # A program reads the same of both: what is not mapped has no index.
    stored = [*(index_of(path, depth=2) for path in PATHS), 0, 1, None]
    assert [row["map_index"] for row in listed] == [row["map_index"] for row in shown] == stored

    table = project.run("tasks", "list", "d", "r1").stdout
    assert [line.split()[1] for line in table.splitlines()[1:7]] == [
        *("[0][0]", "[0][1]", "[1][0]", "[2][*]"),
        *("0", "1"),
    ]
    for name in names[:6]:
        explained = asked_json(project, "tasks", "explain", "d", "r1", name)
        assert explained["task"] == f"d/r1/{name}"


@pytest.mark.parametrize(
    "arguments",
    [("g.t[1][0]",), ("g.t[1,0]",), ("g.t", "--map-index", "1,0"), ("g.t", "--map-index=[1][0]")],
)
def test_explain_and_log_take_a_path(
    project: Project, world: StoredWorld, arguments: tuple[str, ...]
) -> None:
    explained = project.run("tasks", "explain", "d", "r1", *arguments)
    assert explained.stdout.startswith("d/r1/g.t[1][0] is upstream_failed.\n")
    refused = project.refusal("tasks", "log", "d", "-", *arguments)
    assert refused.startswith("d/r1/g.t[1][0] is upstream_failed and has not been tried yet")


def test_airflows_map_index_of_a_task_that_is_not_mapped(
    project: Project, world: StoredWorld
) -> None:
    explained = project.run("tasks", "explain", "d", "r1", "plain", "--map-index", "-1")
    assert explained.stdout.startswith("d/r1/plain is none.\n")


@pytest.mark.parametrize("written", ["g.t[1][0]", "g.t[1,0]", "g.t[1][*]"])
def test_clear_takes_a_path_and_shows_it(
    project: Project, world: StoredWorld, written: str
) -> None:
    foreseen = asked_json(project, "tasks", "clear", "d", "r1", written)
    assert [row["task"] for run in foreseen["runs"] for row in run["tasks"]] == ["g.t[1][0]"]
    assert "g.t[1][0]" in project.run("tasks", "clear", "d", "r1", written).stdout


def test_clear_of_a_star_is_all_that_is_below(project: Project, world: StoredWorld) -> None:
    marked = asked_json(project, "tasks", "mark", "skipped", "d", "r1", "g.t[0][*]", "g.t[2][*]")
    assert [row["task"] for run in marked["runs"] for row in run["tasks"]] == [
        *("g.t[0][0]", "g.t[0][1]", "g.t[2][*]")
    ]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("g.t[131072]", "mapped at 2 levels; name one for each, as in g.t[131072][0]"),
        ("once[1][0]", "mapped at one level; name one for each, as in once[1]"),
        ("plain[0][1]", "not mapped; leave them out"),
        ("once[first]", "'first' in 'once[first]' is no map index; use numbers from 0 on"),
    ],
)
def test_a_path_that_its_task_cannot_have_is_refused_with_the_cure(
    project: Project, world: StoredWorld, written: str, said: str
) -> None:
    assert said in project.refusal("tasks", "explain", "d", "r1", written)
    assert said in project.refusal("tasks", "log", "d", "r1", written)
    assert said in project.refusal("tasks", "clear", "d", "r1", written)
    assert said in project.refusal("tasks", "mark", "failed", "d", "r1", written)


def test_a_path_that_the_run_does_not_have(project: Project, world: StoredWorld) -> None:
    for command in (("explain",), ("log",), ("clear",), ("mark", "failed")):
        said = project.refusal("tasks", *command, "d", "r1", "g.t[1][7]")
        assert "task 'g.t' has no map index [1][7] in" in said
    assert "it has 4, [0][0] to [2][*]" in said
    twice = project.refusal("tasks", "explain", "d", "r1", "once[1]", "--map-index", "1")
    assert twice == "'once[1]' names a map index already; leave --map-index 1 out"


def test_a_run_with_thousands_of_indexes_is_shown_on_a_screen(
    project: Project, services: Services
) -> None:
    world = StoredWorld(services.store)
    uid = world.started_run(a_dag(a_task("once", expansion=TWICE)))
    unexpanded, indexes = Slot("once", UNMAPPED), tuple(range(3000))
    expand = Expand(task_id="once", first=unexpanded, indexes=indexes)
    world.decide(uid, expansions=(expand,))

    shown = project.run("runs", "show", "d", "r1").stdout.splitlines()
    assert shown[-1] == "└── · once  3000 none"
    assert len(asked_json(project, "runs", "show", "d", "r1")["tasks"]) == 3000
    listed = project.run("tasks", "list", "d", "r1").stdout.splitlines()
    assert len(listed) == 1 + 3000
    assert listed[-1].split()[:2] == ["once", "2999"]
