"""One URL in the settings, two dialects."""

import pytest

from orchestrator.broker.urls import celery_url, client_url


@pytest.mark.parametrize(
    ("given", "for_celery", "for_client"),
    [
        ("redis://h:6379/3", "redis://h:6379/3", "redis://h:6379/3"),
        ("rediss://u:p@h/0?ssl_cert_reqs=none", *["rediss://u:p@h/0?ssl_cert_reqs=none"] * 2),
        ("unix:///run/r.sock", "redis+socket:///run/r.sock", "unix:///run/r.sock"),
        ("redis+socket:///run/r.sock", "redis+socket:///run/r.sock", "unix:///run/r.sock"),
        (
            "unix:///run/r.sock?db=2",
            "redis+socket:///run/r.sock?virtual_host=2",
            "unix:///run/r.sock?db=2",
        ),
        (
            "redis+socket:///run/r.sock?virtual_host=2",
            "redis+socket:///run/r.sock?virtual_host=2",
            "unix:///run/r.sock?db=2",
        ),
        (
            "unix://user:secret@/run/r.sock",
            "redis+socket://user:secret@/run/r.sock",
            "unix://user:secret@/run/r.sock",
        ),
    ],
)
def test_each_library_gets_its_own_spelling(given: str, for_celery: str, for_client: str) -> None:
    assert celery_url(given) == for_celery
    assert client_url(given) == for_client
