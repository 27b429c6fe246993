"""What people see: every read of the CLI, the API and the page, none of them behind a lock.

Rows are joined for reading and come back as views. A piece of a listing is found by index, and no
read walks the whole history.
"""

from orchestrator.store.reads_callbacks import CallbackReads
from orchestrator.store.reads_dags import DagReads
from orchestrator.store.reads_logs import LogReads
from orchestrator.store.reads_reasons import ReasonReads
from orchestrator.store.reads_runs import RunReads
from orchestrator.store.reads_xcoms import XComReads

__all__ = ["Reads"]


class Reads(DagReads, RunReads, LogReads, XComReads, ReasonReads, CallbackReads):
    """All reads, over one database."""
