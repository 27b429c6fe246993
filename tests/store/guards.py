"""Database triggers that write down every step of a task instance and refuse the illegal ones.

They are made from the transition table, so no statement of ours can move a task instance along an
edge that the table does not have, whoever sends it and however it was written. For the simulation
and the chaos suites; never part of a real database.
"""

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, text

from orchestrator.core.lifecycle import TRANSITIONS, TaskEvent, Transition

_LOG_COLUMNS = (
    *("ti_id", "run_uid", "task_id", "map_index", "state_before", "state_after"),
    *("epoch_before", "epoch_after", "owner_before", "owner_after"),
)
_LOGGED = (
    *("NEW.id", "NEW.run_uid", "NEW.task_id", "NEW.map_index", "OLD.state", "NEW.state"),
    *("OLD.epoch", "NEW.epoch", "OLD.lease_owner", "NEW.lease_owner"),
)
_INSERT_STEP = (
    f"INSERT INTO transition_log ({', '.join(_LOG_COLUMNS)}) VALUES ({', '.join(_LOGGED)})"
)
_MOVED = "OLD.state <> NEW.state OR OLD.epoch <> NEW.epoch"


def install_transition_guards(
    connection: Connection, transitions: Mapping[TaskEvent, Transition] = TRANSITIONS
) -> None:
    """Add `transition_log` (one row for each change of a state or an epoch, `seq` rising) and the
    triggers that fill it and refuse steps that no transition allows. Pass more transitions where
    people's commands (clear, mark) are part of the test."""
    script = _for_sqlite if connection.dialect.name == "sqlite" else _for_postgresql
    for statement in script(_is_legal(transitions)):
        connection.execute(text(statement))


def remove_transition_guards(connection: Connection) -> None:
    """Take the triggers away; the log stays."""
    on = "" if connection.dialect.name == "sqlite" else " ON task_instance"
    names = ("transition_is_legal", "transition_is_logged", "begins_undecided")
    for name in names:
        connection.execute(text(f"DROP TRIGGER IF EXISTS {name}{on}"))


def _is_legal(transitions: Mapping[TaskEvent, Transition]) -> str:
    """Write the table as a condition over OLD and NEW."""
    edges = sorted(
        {
            f"(OLD.state = '{source}' AND NEW.state = '{edge.target}'"
            f" AND NEW.epoch = OLD.epoch + {int(edge.bumps_epoch)})"
            for edge in transitions.values()
            for source in edge.sources
        }
    )
    return " OR ".join(edges)


def _for_sqlite(is_legal: str) -> Iterator[str]:
    columns = ", ".join(_LOG_COLUMNS)
    yield f"CREATE TABLE transition_log (seq INTEGER PRIMARY KEY, {columns})"
    yield f"""CREATE TRIGGER transition_is_legal BEFORE UPDATE OF state, epoch ON task_instance
        WHEN ({_MOVED}) AND NOT ({is_legal})
        BEGIN SELECT RAISE(ABORT, 'illegal transition'); END"""
    yield f"""CREATE TRIGGER transition_is_logged AFTER UPDATE OF state, epoch ON task_instance
        WHEN {_MOVED} BEGIN {_INSERT_STEP}; END"""
    yield """CREATE TRIGGER begins_undecided BEFORE INSERT ON task_instance
        WHEN NEW.state <> 'none' OR NEW.epoch <> 0
        BEGIN SELECT RAISE(ABORT, 'illegal first state'); END"""


def _for_postgresql(is_legal: str) -> Iterator[str]:
    yield """CREATE TABLE transition_log (
        seq bigserial PRIMARY KEY, ti_id uuid, run_uid uuid, task_id text, map_index bigint,
        state_before text, state_after text, epoch_before bigint, epoch_after bigint,
        owner_before text, owner_after text, at timestamptz DEFAULT clock_timestamp())"""
    yield f"""CREATE FUNCTION guard_transition() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NOT ({is_legal}) THEN
                RAISE EXCEPTION 'illegal transition of %: % at % -> % at %',
                    NEW.id, OLD.state, OLD.epoch, NEW.state, NEW.epoch;
            END IF;
            {_INSERT_STEP};
            RETURN NEW;
        END $$"""
    yield f"""CREATE TRIGGER transition_is_legal BEFORE UPDATE ON task_instance
        FOR EACH ROW WHEN ({_MOVED}) EXECUTE FUNCTION guard_transition()"""
    yield """CREATE FUNCTION guard_first_state() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'illegal first state of %: % at %', NEW.id, NEW.state, NEW.epoch;
        END $$"""
    yield """CREATE TRIGGER begins_undecided BEFORE INSERT ON task_instance
        FOR EACH ROW WHEN (NEW.state <> 'none' OR NEW.epoch <> 0)
        EXECUTE FUNCTION guard_first_state()"""
