"""When is a try cut short, and when is its process killed because it does not react?

First a signal that raises in the user's code. Code that does not even notice (it holds the GIL in a
C loop) is killed half a second later; code that noticed has ten seconds to clean up.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from workers.board import Interruption, SlotView, TryBoard
from workers.interrupts import INTERRUPT_SIGNAL
from workers.processes import kill_session

__all__ = ["Escalation"]

NOTICE_S = 0.5
"""Python code notices a signal within milliseconds; a task that was killed says so within a
second."""
CLEAN_UP_S = 10.0
"""Longer than BashOperator waits between SIGTERM and SIGKILL."""

_Try = tuple[int, int]
"""A slot's index and the serial number of its try."""


@dataclass(frozen=True, slots=True)
class _Cut:
    why: Interruption
    at: float


class Escalation:
    """The tries of one worker that are being cut short."""

    def __init__(self, board: TryBoard) -> None:
        self._board = board
        self._cuts: dict[_Try, _Cut] = {}
        self._killed: dict[_Try, Interruption] = {}

    def check(self, views: Iterable[SlotView], now: float) -> None:
        """Cut short what is past its deadline, kill what did not react."""
        current = {_try_of(view): view for view in views if view.is_interruptible}
        for gone in self._cuts.keys() - current.keys():
            del self._cuts[gone]
        for key, view in current.items():
            cut = self._cuts.get(key)
            if cut is None:
                if now >= view.deadline_at:
                    self.cut(view, Interruption.TIMEOUT, now)
            elif now >= self._kill_at(view, cut):
                self.kill(view, cut.why)

    def cut(self, view: SlotView, why: Interruption, now: float) -> bool:
        """Ask a try to end; False when it was asked already."""
        if _try_of(view) in self._cuts:
            return False
        self._cuts[_try_of(view)] = _Cut(why, now)
        self._board.slot(view.index).interrupt(view.serial, why)
        with suppress(ProcessLookupError):
            os.kill(view.pid, INTERRUPT_SIGNAL)
        return True

    def kill(self, view: SlotView, why: Interruption) -> None:
        """End a try's process and all that it started, unless it has just got to another try."""
        if self._board.slot(view.index).serial != view.serial:
            return
        self._killed[_try_of(view)] = why
        kill_session(view.pid)

    def why_killed(self, view: SlotView) -> Interruption:
        """Tell, once, why we have killed the process of this try, if we have."""
        return self._killed.pop(_try_of(view), Interruption.NONE)

    def next_at(self, views: Iterable[SlotView]) -> float:
        """Return when to check again at the latest."""
        instants = [float("inf")]
        for view in views:
            if view.is_interruptible:
                cut = self._cuts.get(_try_of(view))
                instants.append(view.deadline_at if cut is None else self._kill_at(view, cut))
        return min(instants)

    def _kill_at(self, view: SlotView, cut: _Cut) -> float:
        has_seen = self._board.slot(view.index).has_seen
        return cut.at + (CLEAN_UP_S if has_seen else NOTICE_S)


def _try_of(view: SlotView) -> _Try:
    return view.index, view.serial
