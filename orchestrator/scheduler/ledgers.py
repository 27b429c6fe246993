"""Which run ledgers are worth keeping between two passes?

A ledger is valid for one revision of its run. Memory is bounded by task instances, since a run may
have one or a million of them; the ledger used last stays whatever its size, so that a single huge
run is not read anew for every completion.
"""

from collections import OrderedDict

from orchestrator.core.ids import RunUid
from orchestrator.core.scheduling import RunLedger

__all__ = ["LedgerCache"]


class LedgerCache:
    """Ledgers by run, least recently used first to go."""

    def __init__(self, *, instances_max: int) -> None:
        self._instances_max = instances_max
        self._instances = 0
        self._kept: OrderedDict[RunUid, tuple[int, RunLedger]] = OrderedDict()

    def take(self, uid: RunUid, *, revision: int) -> RunLedger | None:
        """Return and forget the ledger, or forget one that is not of this revision.

        It is forgotten because deciding changes it: whoever fails to carry the decision out
        must not find it here again.
        """
        entry = self._kept.pop(uid, None)
        if entry is None:
            return None
        known_revision, ledger = entry
        self._instances -= len(ledger.instances)
        return ledger if known_revision == revision else None

    def keep(self, uid: RunUid, ledger: RunLedger, *, revision: int) -> None:
        """Keep a ledger whose decision has been committed as `revision`."""
        assert uid not in self._kept, "a ledger is taken before it is kept again"
        self._kept[uid] = (revision, ledger)
        self._instances += len(ledger.instances)
        while self._instances > self._instances_max and len(self._kept) > 1:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._instances -= len(oldest.instances)
