"""control.ClearingStore: what a person clears or marks, beside workers and schedulers."""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from orchestrator.core import clearing
from orchestrator.core.assignments import Assignment
from orchestrator.core.clearing import RunChange, RunPicture
from orchestrator.core.ids import RunUid, Slot
from orchestrator.core.lifecycle import TaskEvent
from orchestrator.core.requests import RunsNamed
from orchestrator.core.retries import Conclusion
from orchestrator.core.scheduling import Decision, Move
from orchestrator.core.selection import Selection, Target
from orchestrator.core.specs import (
    Expansion,
    GroupSpec,
    LiteralLength,
    RetryPolicy,
    ReturnLength,
    TriggerRule,
)
from orchestrator.core.states import RunState, TaskState
from orchestrator.errors import NotFoundError, RequestInvalidError
from orchestrator.ports import Message
from orchestrator.scheduler.dispatch import Dispatch
from orchestrator.scheduler.limits import SchedulerLimits
from orchestrator.scheduler.tick import Tick
from orchestrator.store.clearing import SqlClearing
from orchestrator.store.tables import task_instance_table
from orchestrator.store.versions import Versions
from tests.builders import NOW, a_dag, a_task
from tests.store.world import StoredWorld, a_worker

CHAIN = a_dag(a_task("a", retry=RetryPolicy(retries=2)), a_task("b", "a"), a_task("c", "b"))
FAILED = Conclusion(event=TaskEvent.FAILED, reason="boom")
SUCCEEDED = Conclusion(event=TaskEvent.SUCCEEDED)
WILL_RETRY = Conclusion(event=TaskEvent.WILL_RETRY, reason="try again", retry_in_s=0.0)


class Nowhere:
    """A publisher whose messages nobody needs: the tests start what is queued themselves."""

    def publish(self, messages: Sequence[Message]) -> None:
        pass

    def depths(self, queues: Any) -> Mapping[str, int]:
        return dict.fromkeys(queues, 0)

    def generation(self) -> str:
        return "1"


class Day:
    """A stored world whose scheduler and worker do what a test says, and a person with them."""

    def __init__(self, world: StoredWorld) -> None:
        self.world = world
        self.store = world.store
        self.clearing = SqlClearing(self.store.database, Versions(self.store.database))
        self._tick = Tick(self.store.scheduler, Dispatch(Nowhere()), limits=SchedulerLimits())
        self.store.worker.register_worker(a_worker())
        self.store.worker.beat("w1", lease_s=3600)

    def schedule(self) -> None:
        """Let the scheduler do all there is to do."""
        while self._tick.run_pass(hand_out=True).has_more:
            pass

    def start(self) -> list[Assignment]:
        """Have the worker start all that is queued."""
        self.schedule()
        self.store.scheduler.expire_all_published()
        messages = self.store.scheduler.lease_undelivered(limit=100, republish_after_s=60)
        started = [self.world.start(message) for message in messages]
        return [assignment for assignment in started if assignment is not None]

    def work(self, ends: Mapping[str, Conclusion] | None = None) -> None:
        """Work off all that can run; a task ends as `ends` says, else with success."""
        while started := self.start():
            for assignment in started:
                end = (ends or {}).get(assignment.task.task_id, SUCCEEDED)
                assert self.world.finish(assignment, end, xcoms={"return_value": 1})
        self.schedule()

    def change(self, uid: RunUid, decide: Any) -> tuple[RunChange, frozenset[str]]:
        _, change, cancelled = self.clearing.change(uid, decide)
        return change, cancelled

    def clear(self, uid: RunUid, *names: str, **options: Any) -> frozenset[str]:
        """Clear tasks by name; without names, the run."""
        selection = Selection(
            targets=tuple(Target(name=name) for name in names) or None,
            includes_downstream=options.pop("downstream", False),
            only_failed=options.pop("only_failed", False),
        )
        decide = partial(clearing.clear, selection=selection, by=" by ada", **options)
        return self.change(uid, decide)[1]

    def mark(self, uid: RunUid, state: TaskState, *names: str) -> frozenset[str]:
        selection = Selection(targets=tuple(Target(name=name) for name in names))
        decide = partial(clearing.mark, selection=selection, state=state, by=" by ada")
        return self.change(uid, decide)[1]

    def mark_run(self, uid: RunUid, state: RunState) -> frozenset[str]:
        return self.change(uid, partial(clearing.mark_run, state=state, by=" by ada"))[1]

    def row(self, uid: RunUid, task_id: str, map_index: int = -1) -> Any:
        table = task_instance_table
        with self.store.database.reading() as connection:
            return connection.execute(
                select(table).where(
                    table.c.run_uid == uid,
                    table.c.task_id == task_id,
                    table.c.map_index == map_index,
                )
            ).one()

    def indexes(self, uid: RunUid, task_id: str) -> dict[int, str]:
        """The states of a task's instances by map index."""
        table = task_instance_table
        with self.store.database.reading() as connection:
            rows = connection.execute(
                select(table.c.map_index, table.c.state).where(
                    table.c.run_uid == uid, table.c.task_id == task_id
                )
            )
            return {row.map_index: row.state for row in rows}

    def states(self, uid: RunUid) -> str:
        """The run's state, then its tasks'."""
        states = sorted(self.world.states(uid).items())
        run = self.world.run_row(uid).state
        return " ".join([run, *(f"{task_id}:{state}" for task_id, state in states)])

    def tries(self, uid: RunUid, task_id: str) -> list[tuple[int, str, str | None]]:
        rows = self.world.rows(
            "SELECT a.try_number, a.state, a.reason FROM attempt a"
            " JOIN task_instance t ON t.id = a.ti_id WHERE t.task_id = :task ORDER BY a.epoch",
            task=task_id,
        )
        return [tuple(row) for row in rows]


@pytest.fixture
def day(world: StoredWorld) -> Day:
    return Day(world)


def a_failed_run(day: Day) -> RunUid:
    """`b` failed, `c` is upstream_failed, the run is over."""
    uid = day.world.started_run(CHAIN)
    day.work({"b": FAILED})
    assert day.states(uid) == "failed a:success b:failed c:upstream_failed"
    return uid


def test_s14_a_cleared_run_is_queued_started_again_and_comes_to_its_end(day: Day) -> None:
    uid = a_failed_run(day)
    before = day.world.run_row(uid)

    day.clear(uid, "b", downstream=True)

    run = day.world.run_row(uid)
    assert day.states(uid) == "queued a:success b:none c:none"
    assert (run.clear_number, run.started_at, run.ended_at, run.reason) == (1, None, None, None)
    assert run.revision > before.revision
    assert run.queued_at > before.queued_at
    row = day.row(uid, "b")
    assert (row.epoch, row.try_number, row.max_tries, row.reason) == (2, 1, 1, "cleared by ada")
    forgotten = ("queued_at", "scheduled_at", "started_at", "ended_at", "began_at", "queue")
    assert [getattr(row, name) for name in forgotten] == [None] * 6
    day.work()
    assert day.states(uid) == "success a:success b:success c:success"
    assert day.tries(uid, "b") == [(1, "failed", "boom"), (2, "success", None)]
    assert day.row(uid, "a").try_number == 1


def test_s8_a_cleared_task_has_all_its_retries_again(day: Day) -> None:
    uid = day.world.started_run(CHAIN)
    for assignment in day.start():
        day.world.finish(assignment, WILL_RETRY)
    day.work({"a": FAILED})
    assert (day.row(uid, "a").try_number, day.row(uid, "a").max_tries) == (2, 2)

    day.clear(uid, "a")

    assert (day.row(uid, "a").max_tries, day.row(uid, "a").infra_tries) == (4, 0)


def test_a_run_that_goes_on_is_looked_at_again_at_once(day: Day) -> None:
    uid = day.world.started_run(a_dag(a_task("a"), a_task("b"), a_task("c", "a")))
    day.start()
    (a, _b) = (day.row(uid, "a"), day.row(uid, "b"))
    assert a.state == "running"
    revision = day.world.run_row(uid).revision

    assert day.clear(uid, "a") == {"w1"}

    assert day.world.due(uid).revision == revision + 1
    assert day.world.run_row(uid).clear_number == 0
    day.work()
    assert day.row(uid, "b").try_number == 1
    assert day.states(uid).startswith("running a:success b:running")


def test_a_cleared_running_task_is_cancelled_and_its_report_counts_no_more(day: Day) -> None:
    uid = day.world.started_run(a_dag())
    (running,) = day.start()

    assert day.clear(uid, "a") == {"w1"}

    assert day.store.worker.beat("w1", lease_s=60) == frozenset()
    assert not day.world.finish(running, FAILED)
    assert day.tries(uid, "a") == [(1, "failed", "cleared by ada")]
    (again,) = day.start()
    assert (again.try_number, again.epoch) == (2, running.epoch + 2)
    assert not day.world.finish(running, SUCCEEDED)
    assert day.world.finish(again)
    day.schedule()
    assert day.states(uid) == "success a:success"


def test_a_cleared_queued_task_s_message_is_void(day: Day) -> None:
    uid = day.world.started_run(a_dag())
    day.schedule()
    day.store.scheduler.expire_all_published()
    (message,) = day.store.scheduler.lease_undelivered(limit=10, republish_after_s=60)

    assert day.clear(uid, "a") == frozenset()

    row = day.row(uid, "a")
    assert (row.state, row.publish_due_at, row.queue) == ("none", None, None)
    assert day.world.start(message) is None
    assert day.tries(uid, "a") == []
    day.work()
    assert day.states(uid) == "success a:success"
    assert day.row(uid, "a").try_number == 1


def test_clearing_twice_is_clearing(day: Day) -> None:
    uid = a_failed_run(day)

    for _ in range(2):
        day.clear(uid, only_failed=True)
        day.clear(uid)

    assert day.states(uid) == "queued a:none b:none c:none"
    assert day.world.run_row(uid).clear_number == 1
    assert day.row(uid, "b").max_tries == 1
    day.work()
    assert day.states(uid) == "success a:success b:success c:success"


def test_nothing_to_clear_writes_nothing(day: Day) -> None:
    uid = day.world.started_run(a_dag())
    day.work()
    before = day.world.run_row(uid)

    day.clear(uid, only_failed=True)

    assert day.world.run_row(uid) == before


def test_a_refusal_leaves_everything_as_it_is(day: Day) -> None:
    uid = a_failed_run(day)
    before = day.world.run_row(uid)

    with pytest.raises(NotFoundError, match="no task or task group 'bb'; did you mean 'b'"):
        day.clear(uid, "bb")

    assert day.world.run_row(uid) == before


def test_what_a_worker_moves_meanwhile_is_decided_anew(day: Day) -> None:
    """The report arrives between the look and the lock: the clear is of what it made."""
    uid = day.world.started_run(a_dag(a_task("a"), a_task("b", "a")))
    (running,) = day.start()
    seen: list[TaskState] = []

    def decide(run: RunPicture) -> RunChange:
        seen.append(run.instances[Slot("a")].state)
        if len(seen) == 1 and not day.store.database.is_sqlite:
            # On SQLite nobody writes while a person's change holds the database.
            report = threading.Thread(target=day.world.finish, args=(running, FAILED))
            report.start()
            report.join(30)
        return clearing.clear(run, Selection(), by="")

    day.change(uid, decide)

    expected = (
        [TaskState.RUNNING] if day.store.database.is_sqlite else [TaskState.RUNNING, "failed"]
    )
    assert seen == expected
    assert day.row(uid, "a").state == "none"


def test_a_decision_made_before_a_clear_is_not_carried_out_after_it(day: Day) -> None:
    uid = a_failed_run(day)
    day.clear(uid)
    day.schedule()
    day.world.write("UPDATE dag_run SET wake_at = started_at")
    with day.store.scheduler.transaction() as transaction:
        (run,) = transaction.lock_due_runs(10)
    day.clear(uid)

    def carry_out_late() -> None:
        with day.store.scheduler.transaction() as transaction:
            moves = (Move(slot=Slot("a"), event=TaskEvent.SUCCEEDED_INLINE),)
            transaction.carry_out_decision(run, Decision(moves=moves))

    with pytest.raises(Exception, match=r"no longer running at revision|not in a state"):
        carry_out_late()
    assert day.row(uid, "a").state == "none"


def test_s14_a_mark_clears_what_failed_below(day: Day) -> None:
    uid = a_failed_run(day)

    day.mark(uid, TaskState.SUCCESS, "b")

    row = day.row(uid, "b")
    assert (row.state, row.reason, row.epoch) == ("success", "marked success by ada", 2)
    assert day.states(uid) == "queued a:success b:success c:none"
    day.work()
    assert day.states(uid) == "success a:success b:success c:success"
    assert day.row(uid, "b").try_number == 1


def test_a_mark_that_changes_the_leaves_changes_the_run(day: Day) -> None:
    uid = day.world.started_run(a_dag())
    day.work({"a": FAILED})

    day.mark(uid, TaskState.SUCCESS, "a")
    run = day.world.run_row(uid)
    assert (run.state, run.reason, run.clear_number) == ("success", "no leaf task failed", 0)

    day.mark(uid, TaskState.FAILED, "a")
    assert day.states(uid) == "failed a:failed"


def test_a_marked_running_task_is_taken_from_its_worker(day: Day) -> None:
    uid = day.world.started_run(a_dag(a_task("a"), a_task("b", "a")))
    (running,) = day.start()

    assert day.mark(uid, TaskState.SUCCESS, "a") == {"w1"}

    assert not day.world.finish(running, FAILED)
    assert day.tries(uid, "a") == [(1, "success", "marked success by ada")]
    assert day.row(uid, "a").ended_at is not None
    day.work()
    assert day.states(uid) == "success a:success b:success"


def test_s3_a_choice_stands_until_its_branch_is_cleared(day: Day) -> None:
    """(2): it is applied again to a cleared child, whatever that child's rule."""
    branch = a_dag(
        a_task("choose", chooses=True),
        a_task("left", "choose", trigger_rule=TriggerRule.ALL_DONE),
        a_task("right", "choose"),
    )
    choice = {"choose": Conclusion(event=TaskEvent.SUCCEEDED, skip=("left",))}
    uid = day.world.started_run(branch)
    day.work(choice)
    assert day.states(uid) == "success choose:success left:skipped right:success"

    day.clear(uid, "left")
    day.work()
    assert day.states(uid) == "success choose:success left:skipped right:success"

    day.clear(uid, "choose", downstream=True)
    assert day.row(uid, "choose").skip is None
    day.work({"choose": Conclusion(event=TaskEvent.SUCCEEDED, skip=("right",))})
    assert day.states(uid) == "success choose:success left:success right:skipped"


def test_s14_a_run_marked_failed(day: Day) -> None:
    uid = day.world.started_run(a_dag(a_task("a"), a_task("b"), a_task("c", "a")))
    running = day.start()

    assert day.mark_run(uid, RunState.FAILED) == {"w1"}

    assert day.states(uid) == "failed a:failed b:failed c:skipped"
    run = day.world.run_row(uid)
    assert (run.reason, run.wake_at) == ("marked failed by ada", None)
    assert run.ended_at is not None
    assert not any(day.world.finish(assignment) for assignment in running)
    day.schedule()
    assert day.states(uid) == "failed a:failed b:failed c:skipped"


def test_s14_a_run_that_never_started_can_be_marked(day: Day) -> None:
    day.world.register(CHAIN)
    uid = day.world.queued_run("r1", run_after=datetime(2090, 1, 1, tzinfo=UTC))

    day.mark_run(uid, RunState.SUCCESS)

    assert day.states(uid) == "success a:success b:success c:success"
    day.schedule()
    day.clear(uid, "c")
    assert day.states(uid) == "queued a:success b:success c:none"


def test_s14_a_run_marked_failed_fails_once_its_teardowns_are_done(day: Day) -> None:
    """Its leaves would say success: what had not run was skipped."""
    spec = a_dag(
        a_task("up", is_setup=True),
        a_task("work", "up"),
        a_task(
            "down",
            *("up", "work"),
            is_teardown=True,
            setups=("up",),
            trigger_rule=TriggerRule.ALL_DONE_SETUP_SUCCESS,
        ),
        a_task("leaf", "down", "work"),
    )
    uid = day.world.started_run(spec)
    (up,) = day.start()
    day.world.finish(up)
    (work,) = day.start()

    assert day.mark_run(uid, RunState.FAILED) == {"w1"}
    assert day.states(uid) == "running down:none leaf:skipped up:success work:failed"
    assert not day.world.finish(work)
    day.clear(uid, "leaf")
    day.mark_run(uid, RunState.FAILED)
    day.work()

    assert day.states(uid) == "failed down:success leaf:skipped up:success work:failed"
    assert day.world.run_row(uid).reason == "marked failed by ada"

    day.clear(uid, "work", "leaf")
    assert day.states(uid) == "queued down:none leaf:none up:none work:none"
    assert day.world.run_row(uid).fails_later is None
    day.work()
    assert day.states(uid) == "success down:success leaf:success up:success work:success"


def test_s14_a_run_keeps_its_version_unless_the_latest_is_chosen(day: Day) -> None:
    uid = a_failed_run(day)
    newer = a_dag(
        a_task("a"), a_task("b", "a", pool_slots=2, retry=RetryPolicy(retries=5)), a_task("n", "b")
    )
    day.world.register(newer, source="# newer")
    day.clear(uid, "b")
    day.work()
    assert day.states(uid) == "failed a:success b:success c:upstream_failed"
    kept = day.world.run_row(uid).dag_version_id

    day.clear(uid, "b", on_latest=True)

    assert day.states(uid) == "queued a:success b:none c:removed n:none"
    assert day.world.run_row(uid).dag_version_id != kept
    row = day.row(uid, "b")
    assert (row.pool_slots, row.max_tries, row.dag_version_id) == (
        2,
        2 + 5,
        day.world.run_row(uid).dag_version_id,
    )
    assert day.row(uid, "a").dag_version_id == kept
    day.work()
    assert day.states(uid) == "success a:success b:success c:removed n:success"


def test_s14_only_new_tasks_run(day: Day) -> None:
    uid = day.world.started_run(a_dag(a_task("a"), a_task("b", "a")))
    day.work()
    newer = a_dag(a_task("a"), a_task("b", "a"), a_task("n", "b"))
    day.world.register(newer, source="# newer")

    day.change(uid, partial(clearing.add_new_tasks, by=""))
    day.work()

    assert day.states(uid) == "success a:success b:success n:success"
    assert [day.row(uid, name).try_number for name in "abn"] == [1, 1, 1]


def of_length(length: int) -> Conclusion:
    return Conclusion(event=TaskEvent.SUCCEEDED, length=length)


def test_s10_a_rerun_of_the_mapping_input_reconciles_the_number_of_instances(day: Day) -> None:
    spec = a_dag(
        a_task("list"),
        a_task("each", "list", expansion=Expansion(inputs=(ReturnLength(task_id="list"),))),
        a_task("after", "each"),
    )
    uid = day.world.started_run(spec)
    day.work({"list": of_length(3)})
    assert day.indexes(uid, "each") == {0: "success", 1: "success", 2: "success"}

    day.clear(uid, "list", downstream=True)
    assert day.row(uid, "list").length is None
    day.work({"list": of_length(2)})
    assert day.indexes(uid, "each") == {0: "success", 1: "success", 2: "removed"}

    day.clear(uid, "list", downstream=True)
    day.work({"list": of_length(4)})
    assert day.indexes(uid, "each") == dict.fromkeys(range(4), "success")
    assert day.world.run_row(uid).state == "success"
    assert [day.row(uid, "each", index).try_number for index in range(4)] == [3, 3, 2, 1]


def test_s25_one_index_of_a_mapped_group_runs_again_with_what_is_below_it(day: Day) -> None:
    two = Expansion(inputs=(LiteralLength(length=2),))
    spec = a_dag(
        a_task("g.a", group_id="g"),
        a_task("g.b", "g.a", group_id="g"),
        a_task("after", "g.b"),
        groups=(GroupSpec(group_id="g", expansion=two),),
    )
    uid = day.world.started_run(spec)
    day.work()
    target = Target(name="g.a", map_index=1)
    selection = Selection(targets=(target,), includes_downstream=True)

    day.change(uid, partial(clearing.clear, selection=selection, by=""))
    assert day.indexes(uid, "g.a") == {0: "success", 1: "none"}
    assert day.indexes(uid, "g.b") == {0: "success", 1: "none"}
    day.work()

    tries = {
        (task_id, index): day.row(uid, task_id, index).try_number
        for task_id in ("g.a", "g.b")
        for index in (0, 1)
    }
    assert tries == {("g.a", 0): 1, ("g.a", 1): 2, ("g.b", 0): 1, ("g.b", 1): 2}
    assert day.row(uid, "after").try_number == 2
    assert day.world.run_row(uid).state == "success"


def test_s14_what_became_mapped_takes_its_old_instance_for_its_first(day: Day) -> None:
    uid = day.world.started_run(a_dag(a_task("a")))
    day.work()
    two = Expansion(inputs=(LiteralLength(length=2),))
    day.world.register(a_dag(a_task("a", expansion=two)), source="# mapped now")

    day.clear(uid, "a", on_latest=True)
    day.work()
    assert day.indexes(uid, "a") == {0: "success", 1: "success"}
    assert [day.row(uid, "a", index).try_number for index in (0, 1)] == [2, 1]

    day.world.register(a_dag(a_task("a")), source="# and not any more")
    day.clear(uid, on_latest=True)
    day.work()
    assert day.indexes(uid, "a") == {-1: "success", 0: "removed", 1: "removed"}
    assert day.world.run_row(uid).state == "success"


def test_a_run_sent_back_gets_no_instances_that_it_has_by_index(day: Day) -> None:
    two = Expansion(inputs=(LiteralLength(length=2),))
    uid = day.world.started_run(a_dag(a_task("a", expansion=two), a_task("b", "a")))
    day.work()

    day.clear(uid, "b")
    day.work()

    assert day.indexes(uid, "a") == {0: "success", 1: "success"}
    assert day.row(uid, "b").try_number == 2


def test_a_restart_waits_for_max_active_runs(day: Day) -> None:
    spec = a_dag(max_active_runs=1)
    first = day.world.started_run(spec, "r1")
    day.work()
    second = day.world.queued_run("r2")
    day.start()
    assert day.states(second) == "running a:running"

    day.clear(first)
    day.schedule()
    assert day.states(first) == "queued a:none"

    day.mark_run(second, RunState.SUCCESS)
    day.work()
    assert day.states(first) == "success a:success"


def test_the_runs_a_person_means(day: Day) -> None:
    day.world.register(a_dag())
    uids = [day.world.queued_run(f"r{n}", logical_date=NOW + timedelta(days=n)) for n in range(4)]
    undated = day.world.queued_run("undated")
    named = partial(day.clearing.runs_named, "d")

    assert named(RunsNamed(run_id="r1")) == (uids[1],)
    assert named(RunsNamed(run_id="r1", includes_past=True)) == tuple(uids[:2])
    assert named(RunsNamed(run_id="r1", includes_future=True)) == tuple(uids[1:])
    assert named(RunsNamed(run_id="r1", includes_past=True, includes_future=True)) == tuple(uids)
    between = RunsNamed(from_date=NOW + timedelta(days=1), to_date=NOW + timedelta(days=2))
    assert named(between) == tuple(uids[1:3])
    assert set(named(RunsNamed())) == {*uids, undated}
    with pytest.raises(RequestInvalidError, match="'undated' of DAG 'd' has no logical date"):
        named(RunsNamed(run_id="undated", includes_past=True))
    with pytest.raises(NotFoundError, match="DAG 'd' has no run 'r9'"):
        named(RunsNamed(run_id="r9"))
    with pytest.raises(NotFoundError, match="DAG 'e' does not exist"):
        day.clearing.runs_named("e", RunsNamed())


def test_notes_and_views_of_what_was_touched(day: Day) -> None:
    uid = a_failed_run(day)
    slots = [Slot("c"), Slot("a"), Slot("nowhere")]

    day.clearing.set_notes(uid, slots, "look\0here")
    day.clearing.set_run_note(uid, "done by hand")

    views = day.clearing.task_instances_at(uid, slots)
    assert [(view.key.task_id, view.note) for view in views] == [
        ("c", "look\ufffdhere"),
        ("a", "look\ufffdhere"),
    ]
    assert day.row(uid, "b").note is None
    assert day.world.run_row(uid).note == "done by hand"


@pytest.mark.postgres
def test_people_and_schedulers_at_once_do_not_deadlock(postgres_url: str) -> None:
    """Clears, marks, passes and reports of one run, all at the same time, and then it ends."""
    from orchestrator.store import open_store

    store = open_store(postgres_url, pool_size=12)
    day = Day(StoredWorld(store))
    uid = day.world.started_run(a_dag(*(a_task(f"t{n:02}") for n in range(12)), max_active_tasks=4))
    problems: list[Exception] = []

    def repeat(times: int, action: Any) -> None:
        try:
            for _ in range(times):
                action()
        except Exception as error:
            problems.append(error)

    def report() -> None:
        for assignment in day.start():
            day.world.finish(assignment)

    actions = [
        (10, lambda: day.clear(uid, "t03", "t07")),
        (10, lambda: day.clear(uid)),
        (10, lambda: day.mark(uid, TaskState.SUCCESS, "t01", "t05")),
        (10, report),
    ]
    threads = [threading.Thread(target=repeat, args=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems
    day.work()
    while day.world.run_row(uid).state in ("queued", "running"):
        day.store.scheduler.expire_all_published()
        day.work()
    assert set(day.world.states(uid).values()) == {TaskState.SUCCESS}
    store.close()
