"""The profile, option by option: each protects an outcome."""

import pytest

from orchestrator.broker.app import build_app

PROFILE = {
    "task_acks_late": False,
    "task_reject_on_worker_lost": False,
    "task_ignore_result": True,
    "result_backend": None,
    "worker_disable_prefetch": True,
    "worker_prefetch_multiplier": 1,
    "accept_content": ["json"],
    "task_serializer": "json",
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    "worker_proc_alive_timeout": 60,
    "worker_max_tasks_per_child": 500,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
}
TRANSPORT = {
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "visibility_timeout": 86400,
    "queue_order_strategy": "priority",
    "global_keyprefix": "orch:",
}


@pytest.mark.parametrize(("option", "value"), PROFILE.items())
def test_profile(option: str, value: object) -> None:
    assert build_app("redis://localhost").conf[option] == value


@pytest.mark.parametrize(("option", "value"), TRANSPORT.items())
def test_transport(option: str, value: object) -> None:
    assert build_app("redis://localhost").conf.broker_transport_options[option] == value


def test_a_unix_socket_is_reached_by_celerys_name_for_it() -> None:
    assert build_app("unix:///run/r.sock").conf.broker_url == "redis+socket:///run/r.sock"


def test_no_retry_on_timeout_since_it_would_turn_pipelines_off() -> None:
    assert "retry_on_timeout" not in build_app("redis://x").conf.broker_transport_options
