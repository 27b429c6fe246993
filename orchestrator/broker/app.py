"""With which profile Celery carries our messages: as a courier that may lose or double any of them.

The outcome never depends on the broker (SQL has the truth, and republishes what got lost), so every
feature by which Celery would promise more is off: late acknowledgement, prefetching, retries,
results, events, remote control.
"""

from typing import Any

from celery import Celery

from orchestrator.broker.clients import CONNECT_TIMEOUT_S, KEY_PREFIX, SOCKET_TIMEOUT_S
from orchestrator.broker.transport import use_tolerant_transport
from orchestrator.broker.urls import celery_url
from orchestrator.core.specs import DEFAULT_QUEUE

__all__ = ["build_app"]

_HEALTH_CHECK_INTERVAL_S = 10
_VISIBILITY_TIMEOUT_S = 86_400
_PROCESS_START_TIMEOUT_S = 60.0


def build_app(redis_url: str, *, kind: type[Celery] = Celery) -> Celery:
    """Return a Celery app with this profile and no tasks; `kind` may be a subclass of Celery's."""
    use_tolerant_transport()
    app = kind("orchestrator", set_as_current=False)
    app.conf.update(_profile())
    app.conf.update(broker_url=celery_url(redis_url), broker_transport_options=_transport_options())
    return app


def _profile() -> dict[str, Any]:
    return {
        # JSON only: a message can never name code to run.
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        # Acknowledged before it runs: a task that kills its process must not be delivered again.
        "task_acks_late": False,
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        "task_publish_retry": True,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 1},
        "task_default_queue": DEFAULT_QUEUE,
        "task_create_missing_queues": True,
        "task_send_sent_event": False,
        "task_track_started": False,
        # A message is taken when a child is free for it, so that another worker can have it.
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 1,
        "worker_disable_rate_limits": True,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_detect_quorum_queues": False,
        # What user code leaks goes with its process, before it hurts.
        "worker_max_tasks_per_child": 500,
        "worker_proc_alive_timeout": _PROCESS_START_TIMEOUT_S,
        "worker_redirect_stdouts": False,
        "worker_hijack_root_logger": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
    }


def _transport_options() -> dict[str, Any]:
    return {
        "global_keyprefix": KEY_PREFIX,
        "client_name": "orchestrator-worker",
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": _HEALTH_CHECK_INTERVAL_S,
        "visibility_timeout": _VISIBILITY_TIMEOUT_S,
        "queue_order_strategy": "priority",
        # Priorities are decided in SQL; one list per queue, not four.
        "priority_steps": [0],
        # Without the list of unacknowledged messages two round trips a task are saved. It could
        # not hold its promise anyway (a worker killed right after taking a message loses it), and
        # SQL republishes.
        "ack_emulation": False,
    }
