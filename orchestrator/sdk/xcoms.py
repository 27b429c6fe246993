"""How does a task read what other tasks pushed?

Readers hand out values as they are stored (core.values); `TaskInstance` turns them into what was
pushed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from orchestrator.core.ids import UNMAPPED
from orchestrator.core.outcomes import RETURN_VALUE

__all__ = ["PulledXCom", "XComReader"]


class PulledXCom(NamedTuple):
    """One stored XCom: who pushed it, and its JSON value, decoded."""

    task_id: str
    value: Any
    map_index: int = UNMAPPED


class XComReader(Protocol):
    """Reads XComs of finished tries. The worker and `orchestrator.testing` each have one."""

    def pull(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_ids: Sequence[str],
        key: str,
        map_indexes: Sequence[int] | None,
    ) -> Sequence[PulledXCom]:
        """Return the XComs under `key` of these tasks in one run, in any order.

        `map_indexes` None means every map index, the unmapped one (-1) included; a range of any
        width costs no more than what was pushed in it. What was never
        pushed is simply not among the answers: there is no error and no placeholder. A pushed None
        comes back as a PulledXCom whose value is None. Only XComs of the accepted try count.
        """

    def succeeded(
        self, *, dag_id: str, run_id: str, task_id: str, indexes: range, position: int | None = None
    ) -> Sequence[int]:
        """Return, in order, which map indexes of a task among `indexes` succeeded, whether they
        pushed anything or not; with `position` only the one that stands at that place, if any."""

    def pull_item(
        self,
        *,
        dag_id: str,
        run_id: str,
        task_id: str,
        map_index: int,
        position: int,
        key: str = RETURN_VALUE,
    ) -> Any:
        """Return one element of a list, or one (key, value) tuple of a dict, in the order pushed.

        This is what a mapped task instance takes of a long input: the cost does not grow with its
        length. Raise LookupError, which says why, when nothing was pushed under `key`, when it has
        no elements, or not so many.
        """
