"""DAG files with random structure and random outcomes, the same for the same seed.

What a task does is settled by its name, map index and try, so that any way of running the file must
end in the same states.
"""

from dataclasses import dataclass, field
from random import Random

RULES = (
    *("all_success",) * 6,
    *("all_done", "one_success", "one_failed", "one_done", "none_failed", "none_skipped"),
    *("none_failed_min_one_success", "all_failed", "all_skipped", "all_done_min_one_success"),
)
PROLOGUE = '''
from datetime import timedelta
from orchestrator.sdk import (
    DAG, AirflowFailException, AirflowSkipException, EmptyOperator, TaskGroup,
    get_current_context, task, task_group,
)


def act(behaviour, result=None):
    """Do what a behaviour says; a mapped task has one for each index, in turn."""
    ti = get_current_context()["ti"]
    kinds = behaviour.split(",")
    kind = kinds[max(ti.map_index, 0) % len(kinds)]
    if kind == "skip":
        raise AirflowSkipException("as it was told")
    if kind == "fail":
        raise ValueError("as it was told")
    if kind == "give_up":
        raise AirflowFailException("as it was told")
    if kind == "flaky" and ti.try_number == 1:
        raise OSError("the first time")
    return result


@task(retries=1, retry_delay=timedelta(0))
def work(behaviour, result=None, x=None):
    return act(behaviour, result)


@task.branch(retries=0)
def choose(chosen, x=None):
    return chosen


@task.short_circuit(retries=0)
def gate(is_open, x=None):
    return is_open


'''


@dataclass(slots=True)
class Draft:
    """A DAG file as far as it is written. `lists` are the tasks that return a list."""

    random: Random
    dag_id: str
    lines: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    children: dict[str, list[str]] = field(default_factory=dict)
    choosers: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the whole file."""
        body = "\n".join(f"    {line}" for line in self.lines)
        settings = "schedule=None, is_paused_upon_creation=False"
        return f"{PROLOGUE}with DAG({self.dag_id!r}, {settings}):\n{body}\n"


def random_dag(seed: int) -> tuple[str, str]:
    """Return the id of a random DAG and the text of its file."""
    draft = Draft(Random(seed), f"random_{seed}")
    kinds = (
        *(_plain,) * 6,
        *(_lister, _mapped, _mapped, _mapped_group, _branch, _short_circuit, _empty, _group),
    )
    for number in range(draft.random.randint(4, 11)):
        name = f"t{number}"
        draft.random.choice(kinds)(draft, name)
        draft.names.append(name)
        _edges(draft, name)
    if draft.random.random() < 0.4:
        _with_setup(draft)
    for name in draft.choosers:
        _decide(draft, name)
    return draft.dag_id, draft.text()


def _behaviour(random: Random, *, mapped: bool = False) -> str:
    kinds = ("ok", "ok", "ok", "ok", "skip", "fail", "give_up", "flaky")
    return ",".join(random.choice(kinds) for _ in range(random.randint(1, 3) if mapped else 1))


def _rule(random: Random) -> str:
    return random.choice(RULES)


def _plain(draft: Draft, name: str) -> None:
    random = draft.random
    draft.lines.append(
        f"{name} = work.override(task_id={name!r}, trigger_rule={_rule(random)!r})"
        f"({_behaviour(random)!r})"
    )


def _lister(draft: Draft, name: str) -> None:
    random = draft.random
    result = list(range(random.randint(0, 4)))
    draft.lines.append(
        f"{name} = work.override(task_id={name!r})({_behaviour(random)!r}, {result!r})"
    )
    draft.lists.append(name)


def _source(draft: Draft) -> str:
    """What is mapped over: a list, or what an earlier task returns."""
    if draft.lists and draft.random.random() < 0.6:
        return draft.random.choice(draft.lists)
    return repr(list(range(draft.random.randint(0, 3))))


def _mapped(draft: Draft, name: str) -> None:
    random = draft.random
    source = _source(draft)
    draft.lines.append(
        f"{name} = work.override(task_id={name!r}, trigger_rule={_rule(random)!r})"
        f".partial(behaviour={_behaviour(random, mapped=True)!r}).expand(x={source})"
    )
    if random.random() < 0.4:
        draft.lists.append(name)


def _mapped_group(draft: Draft, name: str) -> None:
    random, source = draft.random, _source(draft)
    has_branch = random.random() < 0.4
    draft.lines += [
        f"@task_group(group_id={name!r})",
        f"def make_{name}(x):",
        f"    first = work.override(task_id='first')({_behaviour(random, mapped=True)!r}, x=x)",
        f"    last = work.override(task_id='last', trigger_rule={_rule(random)!r})"
        f"({_behaviour(random, mapped=True)!r})",
    ]
    if has_branch:
        draft.lines += [
            f"    way = choose.override(task_id='way')('{name}.left')",
            "    left = work.override(task_id='left')('ok')",
            f"    right = work.override(task_id='right')({_behaviour(random)!r})",
            "    first >> way >> [left, right] >> last",
        ]
    else:
        draft.lines.append("    first >> last")
    draft.lines.append(f"{name} = make_{name}.expand(x={source})")


def _branch(draft: Draft, name: str) -> None:
    draft.choosers[name] = "branch"
    draft.lines.append(f"{name} = choose.override(task_id={name!r})(CHOSEN_{name})")


def _short_circuit(draft: Draft, name: str) -> None:
    random = draft.random
    draft.lines.append(
        f"{name} = gate.override(task_id={name!r}, "
        f"ignore_downstream_trigger_rules={random.random() < 0.5})({random.random() < 0.4})"
    )


def _empty(draft: Draft, name: str) -> None:
    rule = _rule(draft.random)
    draft.lines.append(f"{name} = EmptyOperator(task_id={name!r}, trigger_rule={rule!r})")


def _group(draft: Draft, name: str) -> None:
    random = draft.random
    draft.lines += [
        f"with TaskGroup({name!r}) as {name}:",
        f"    a_{name} = work.override(task_id='a')({_behaviour(random)!r})",
        f"    b_{name} = work.override(task_id='b', trigger_rule={_rule(random)!r})"
        f"({_behaviour(random)!r})",
        f"    a_{name} >> b_{name}",
    ]


def _edges(draft: Draft, name: str) -> None:
    earlier = draft.names[:-1]
    for above in draft.random.sample(earlier, min(len(earlier), draft.random.randint(0, 2))):
        draft.lines.append(f"{above} >> {name}")
        draft.children.setdefault(above, []).append(name)


def _with_setup(draft: Draft) -> None:
    """Put a setup before one task and its teardown after it."""
    random = draft.random
    made = random.choice(("ok", "ok", "ok", "fail", "skip"))
    undone = random.choice(("ok", "ok", "fail"))
    draft.lines += [
        f"made = work.override(task_id='made', retries=0)({made!r}).as_setup()",
        "inner = work.override(task_id='inner')(" + repr(_behaviour(random)) + ")",
        f"undone = work.override(task_id='undone', retries=0)({undone!r})"
        f".as_teardown(setups=made, on_failure_fail_dagrun={random.random() < 0.5})",
        "made >> inner >> undone",
    ]
    if draft.names and random.random() < 0.5:
        draft.lines.append(f"{random.choice(draft.names)} >> inner")


def _decide(draft: Draft, name: str) -> None:
    """Fill in what a branch chooses: some of what stands directly below it."""
    children = draft.children.get(name, [])
    chosen = draft.random.sample(children, draft.random.randint(0, len(children)))
    draft.lines = [line.replace(f"CHOSEN_{name})", f"{chosen or None!r})") for line in draft.lines]
