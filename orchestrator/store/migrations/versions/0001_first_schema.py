"""The first schema: DAGs and their versions, runs, task instances, their news, results and logs."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from orchestrator.store.types import BigId, Instant, Json, Prose

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    _create_dags()
    _create_runs()
    _create_results()
    _create_processes()
    op.execute(
        "INSERT INTO pool (name, slots, include_deferred) VALUES ('default_pool', 128, false)"
    )


def downgrade() -> None:
    for table in (
        "xcom",
        "task_event",
        "log_chunk",
        "attempt",
        "task_instance",
        "dag_warning",
        "dag_version",
        "dag_run",
        "worker",
        "scheduler",
        "pool",
        "import_error",
        "dag",
    ):
        op.drop_table(table)


def _create_dags() -> None:
    op.create_table(
        "dag",
        sa.Column("dag_id", sa.String(), nullable=False),
        sa.Column("display_name", sa.String(), nullable=True),
        sa.Column("description", Prose(), nullable=True),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("owners", Json(), nullable=False),
        sa.Column("schedule", sa.String(), nullable=True),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("max_active_runs", sa.Integer(), nullable=False),
        sa.Column("max_active_tasks", sa.Integer(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("is_stale", sa.Boolean(), nullable=False),
        sa.Column("current_version_id", sa.Uuid(), nullable=False),
        sa.Column("wake_at", Instant(), nullable=True),
        sa.Column("last_parsed_at", Instant(), nullable=False),
        sa.Column("next_tick_at", Instant(), nullable=True),
        sa.Column("next_logical_date", Instant(), nullable=True),
        sa.Column("next_interval_start", Instant(), nullable=True),
        sa.Column("next_interval_end", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("dag_id", name=op.f("pk_dag")),
    )
    op.create_index(op.f("ix_dag_path"), "dag", ["path"], unique=False)
    op.create_index(
        "ix_dag_wake_at", "dag", ["wake_at"], unique=False, **_where("wake_at IS NOT NULL")
    )
    op.create_table(
        "dag_version",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("dag_id", sa.String(), nullable=False),
        sa.Column("version_number", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("max_active_tasks", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("source", Prose(), nullable=False),
        sa.Column("source_digest", sa.String(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dag_id"], ["dag.dag_id"], name=op.f("fk_dag_version_dag_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dag_version")),
    )
    op.create_index(
        "uq_dag_version_dag_id_version_number",
        "dag_version",
        ["dag_id", "version_number"],
        unique=True,
    )
    op.create_table(
        "import_error",
        sa.Column("id", BigId, nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("message", Prose(), nullable=False),
        sa.Column("stacktrace", Prose(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_import_error")),
        sa.UniqueConstraint("path", name=op.f("uq_import_error_path")),
    )
    op.create_table(
        "dag_warning",
        sa.Column("dag_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("message", Prose(), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dag_id"], ["dag.dag_id"], name=op.f("fk_dag_warning_dag_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dag_id", "kind", name=op.f("pk_dag_warning")),
    )


def _create_runs() -> None:
    op.create_table(
        "dag_run",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("dag_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("run_type", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("logical_date", Instant(), nullable=True),
        sa.Column("data_interval_start", Instant(), nullable=True),
        sa.Column("data_interval_end", Instant(), nullable=True),
        sa.Column("run_after", Instant(), nullable=False),
        sa.Column("queued_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("conf", Json(), nullable=False),
        sa.Column("triggered_by", sa.String(), nullable=False),
        sa.Column("triggering_user", sa.String(), nullable=True),
        sa.Column("note", Prose(), nullable=True),
        sa.Column("dag_version_id", sa.Uuid(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("wake_at", Instant(), nullable=True),
        sa.Column("reason", Prose(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dag_id"], ["dag.dag_id"], name=op.f("fk_dag_run_dag_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dag_run")),
    )
    op.create_index(op.f("ix_dag_run_dag_version_id"), "dag_run", ["dag_version_id"], unique=False)
    op.create_index(
        "ix_dag_run_due",
        "dag_run",
        ["wake_at"],
        unique=False,
        **_where("state = 'running' AND wake_at IS NOT NULL"),
    )
    op.create_index("ix_dag_run_recent", "dag_run", ["dag_id", "run_after", "id"], unique=False)
    op.create_index(
        "ix_dag_run_ticks",
        "dag_run",
        ["dag_id", "run_after"],
        unique=False,
        **_where("run_type = 'scheduled'"),
    )
    op.create_index(
        "ix_dag_run_unfinished",
        "dag_run",
        ["dag_id", "state", "run_after", "id"],
        unique=False,
        **_where("state IN ('queued', 'running')"),
    )
    op.create_index(
        "uq_dag_run_dag_id_logical_date",
        "dag_run",
        ["dag_id", "logical_date"],
        unique=True,
        **_where("logical_date IS NOT NULL"),
    )
    op.create_index("uq_dag_run_dag_id_run_id", "dag_run", ["dag_id", "run_id"], unique=True)
    op.create_table(
        "task_instance",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("run_uid", sa.Uuid(), nullable=False),
        sa.Column("dag_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.String(), nullable=True),
        sa.Column("operator", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("max_tries", sa.Integer(), nullable=False),
        sa.Column("infra_tries", sa.Integer(), nullable=False),
        sa.Column("pool", sa.String(), nullable=False),
        sa.Column("pool_slots", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("named_queue", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=True),
        sa.Column("run_after", Instant(), nullable=False),
        sa.Column("eligible_at", Instant(), nullable=True),
        sa.Column("scheduled_at", Instant(), nullable=True),
        sa.Column("queued_at", Instant(), nullable=True),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_until", Instant(), nullable=True),
        sa.Column("publish_due_at", Instant(), nullable=True),
        sa.Column("publish_count", sa.Integer(), nullable=False),
        sa.Column("skip", Json(), nullable=True),
        sa.Column("reason", Prose(), nullable=True),
        sa.Column("note", Prose(), nullable=True),
        sa.Column("dag_version_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_uid"], ["dag_run.id"], name=op.f("fk_task_instance_run_uid"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_instance")),
        postgresql_with={"fillfactor": "85"},
    )
    op.create_index(
        "ix_task_instance_active",
        "task_instance",
        ["run_uid"],
        unique=False,
        **_where("state IN ('queued', 'running')"),
    )
    op.create_index(
        "ix_task_instance_owed",
        "task_instance",
        ["publish_due_at"],
        unique=False,
        **_where("state = 'queued'"),
    )
    op.create_index(
        "ix_task_instance_running",
        "task_instance",
        ["lease_owner", "id"],
        unique=False,
        **_where("state = 'running'"),
    )
    op.create_index(
        "ix_task_instance_scheduled",
        "task_instance",
        ["run_uid", "pool", "named_queue", sa.text("priority DESC"), "map_index", "id"],
        unique=False,
        **_where("state = 'scheduled'"),
    )
    op.create_index(
        "uq_task_instance_run_uid_task_id_map_index",
        "task_instance",
        ["run_uid", "task_id", "map_index"],
        unique=True,
    )
    op.create_table(
        "task_event",
        sa.Column("id", BigId, nullable=False),
        sa.Column("run_uid", sa.Uuid(), nullable=False),
        sa.Column("ti_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("eligible_at", Instant(), nullable=True),
        sa.Column("skip", Json(), nullable=True),
        sa.Column("at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ti_id"], ["task_instance.id"], name=op.f("fk_task_event_ti_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_task_event")),
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0",
            "autovacuum_vacuum_threshold": "2000",
        },
    )
    op.create_index("ix_task_event_run_uid", "task_event", ["run_uid"], unique=False)


def _create_results() -> None:
    op.create_table(
        "attempt",
        sa.Column("ti_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("queue", sa.String(), nullable=True),
        sa.Column("queued_at", Instant(), nullable=True),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=False),
        sa.Column("reason", Prose(), nullable=True),
        sa.ForeignKeyConstraint(
            ["ti_id"], ["task_instance.id"], name=op.f("fk_attempt_ti_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ti_id", "epoch", name=op.f("pk_attempt")),
    )
    op.create_table(
        "xcom",
        sa.Column("ti_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("run_uid", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("value", Json(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ti_id"], ["task_instance.id"], name=op.f("fk_xcom_ti_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ti_id", "key", name=op.f("pk_xcom")),
    )
    op.create_index(
        "ix_xcom_run_uid_key_task_id", "xcom", ["run_uid", "key", "task_id"], unique=False
    )
    op.create_table(
        "log_chunk",
        sa.Column("ti_id", sa.Uuid(), nullable=False),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["ti_id"], ["task_instance.id"], name=op.f("fk_log_chunk_ti_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("ti_id", "try_number", "offset", name=op.f("pk_log_chunk")),
    )


def _create_processes() -> None:
    op.create_table(
        "pool",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("description", Prose(), nullable=True),
        sa.Column("include_deferred", sa.Boolean(), nullable=False),
        sa.Column("queue", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pool")),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("hostname", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("queues", Json(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("heartbeat_at", Instant(), nullable=False),
        sa.Column("lease_until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )
    op.create_table(
        "scheduler",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("hostname", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("heartbeat_at", Instant(), nullable=False),
        sa.Column("lease_until", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduler")),
    )
