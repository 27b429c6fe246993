"""Which runs and DAGs fail to be decided, and when is each tried again?

A run that cannot be decided (a defect of ours, or rows that somebody edited) must cost the others
nothing: it is put off, twice as long each time, and named in the log.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Quarantine"]

FAILURES_ALLOWED = 1
"""One failure can be an overtaken ledger; deciding anew at once cures that."""
FIRST_WAIT_S = 1.0
WAIT_MAX_S = 300.0
DOUBLINGS_MAX = 16


@dataclass(slots=True)
class _Patient:
    failures: int = 0
    until: datetime | None = None


class Quarantine:
    """Names (of runs, of DAGs) that failed and have not succeeded since."""

    def __init__(self) -> None:
        self._patients: dict[str, _Patient] = {}

    def blame(self, name: str) -> None:
        """Note a failure; from the second in a row on, the name is to be put off."""
        patient = self._patients.setdefault(name, _Patient())
        patient.failures += 1
        patient.until = None

    def off_until(self, name: str, now: datetime) -> datetime | None:
        """Return when to try `name` again, or None if it may be tried now."""
        patient = self._patients.get(name)
        if patient is None:
            return None
        if patient.until is not None:
            return patient.until if now < patient.until else None
        return self._put_off(patient, now) if patient.failures > FAILURES_ALLOWED else None

    def absolve(self, name: str) -> None:
        """Forget what a name that succeeded had done before."""
        self._patients.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """Return, sorted, what fails at present."""
        return tuple(sorted(self._patients))

    def _put_off(self, patient: _Patient, now: datetime) -> datetime:
        wait_s = FIRST_WAIT_S * 2 ** min(patient.failures - 2, DOUBLINGS_MAX)
        patient.until = now + timedelta(seconds=min(wait_s, WAIT_MAX_S))
        return patient.until
