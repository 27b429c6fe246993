from datetime import timedelta

from orchestrator.scheduler.quarantine import Quarantine
from tests.builders import NOW


def test_one_failure_is_forgiven_at_once() -> None:
    quarantine = Quarantine()
    quarantine.blame("d/r")

    assert quarantine.off_until("d/r", NOW) is None
    assert quarantine.names() == ("d/r",)


def test_failing_again_puts_it_off_twice_as_long_each_time_up_to_five_minutes() -> None:
    quarantine = Quarantine()
    quarantine.blame("d/r")
    waits_s = []
    now = NOW
    for _ in range(11):
        quarantine.blame("d/r")
        until = quarantine.off_until("d/r", now)
        assert until is not None
        assert quarantine.off_until("d/r", until - timedelta(microseconds=1)) == until
        assert quarantine.off_until("d/r", until) is None
        waits_s.append((until - now).total_seconds())
        now = until

    assert waits_s == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_success_wipes_the_slate() -> None:
    quarantine = Quarantine()
    for _ in range(3):
        quarantine.blame("d/r")
    quarantine.absolve("d/r")
    quarantine.blame("d/r")

    assert quarantine.off_until("d/r", NOW) is None


def test_others_are_not_touched() -> None:
    quarantine = Quarantine()
    for _ in range(3):
        quarantine.blame("d/r")

    assert quarantine.off_until("d/other", NOW) is None
