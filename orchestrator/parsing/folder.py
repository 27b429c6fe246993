"""How the store is kept the same as the DAG folder while files come, change, break and go.

One thread owns all bookkeeping and talks to the store; a watch on the folder, finished imports and
the clock feed it. Imports happen in slots, two at a time; one that takes longer than a second lends
its slot out (eight at most), so that a file that hangs delays nobody else by more than that.
"""

import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, assert_never

import structlog

from orchestrator.parsing.discovery import dependency_signature, folder_identity, list_folder
from orchestrator.parsing.forkserver import ForkServer, ForkServerClosedError
from orchestrator.parsing.ledger import Ledger
from orchestrator.parsing.one_file import parse_file
from orchestrator.parsing.ownership import Ownership, Ruling
from orchestrator.parsing.registration import Registration, carry_out, judge
from orchestrator.parsing.results import ParsedFile, ParseLimits
from orchestrator.parsing.sources import decode_source, digest_of, may_define_dags
from orchestrator.parsing.watching import FolderWatch
from orchestrator.ports import DagCatalog

__all__ = ["DagFolderService"]

_SLOTS = 2
_SLOTS_LENT_MAX = 8
_SLOT_LENT_AFTER_S = 1.0

_LOOK_AGAIN_S = 0.5
"""After changes the folder is looked at once more: a file written into a folder that was created
a moment earlier may have escaped the watch."""

_UNWATCHED_RESCAN_S = 5.0
_FAILURE_PAUSE_S = 5.0
_FORGET_PATIENCE_S = 5.0
"""Files gone are forgotten after the files that came with them are imported (a rename keeps its
DAG in view), but not later than this."""

_STOP_PATIENCE_S = 10.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Touched:
    paths: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Wanted:
    path: str


@dataclass(frozen=True, slots=True)
class _Imported:
    """`result` None: the file's text is none of a DAG file, or gone."""

    path: str
    result: ParsedFile | None


@dataclass(frozen=True, slots=True)
class _Unchanged:
    path: str


@dataclass(frozen=True, slots=True)
class _Failed:
    path: str
    error: Exception


_Message = _Touched | _Wanted | _Imported | _Unchanged | _Failed
_TIME_IS_UP = _Touched(frozenset())


class DagFolderService:
    """Watches a DAG folder and tells the catalog; runs in threads of the scheduler's process.

    `on_change` is called after each file whose standing changed: ring the scheduler's bell there.
    `rescan_s`: how often the folder is walked although it is watched. `reparse_s`: how often an
    unchanged file is imported again, for what it may read elsewhere: the store's `variables`, say.
    """

    def __init__(
        self,
        catalog: DagCatalog,
        dags_folder: Path,
        *,
        limits: ParseLimits | None = None,
        on_change: Callable[[], None],
        rescan_s: float = 30.0,
        reparse_s: float = 300.0,
        variables: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._catalog = catalog
        self._folder = dags_folder.absolute()
        self._limits = limits or ParseLimits()
        self._on_change = on_change
        self._rescan_s, self._variables = rescan_s, variables
        self._server = ForkServer()
        self._ledger = Ledger(reparse_s=reparse_s)
        self._ownership = Ownership()
        self._inbox: queue.SimpleQueue[_Message | None] = queue.SimpleQueue()
        self._pending: dict[str, bool] = {}
        """Files to import, in order; True: even if the text is the one imported last."""
        self._in_flight: dict[str, float] = {}
        self._told: dict[str, tuple[object, ...]] = {}
        """What the store was told about each file, in short."""
        self._look_at = 0.0
        self._first_look = True
        self._forget_at: float | None = None
        self._forget_after: frozenset[str] = frozenset()
        self._watch: FolderWatch | None = None
        self._watched: tuple[int, int] | None = None
        self._first_scan_done = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dag-folder", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin with a scan of the whole folder."""
        self._thread.start()

    def stop(self) -> None:
        """End every import and all threads. Safe to call twice."""
        self._stopping.set()
        self._inbox.put(None)
        self._server.close()
        if self._thread.ident is not None:
            self._thread.join(_STOP_PATIENCE_S)

    def request_parse(self, path: str) -> None:
        """Import a file (relative path) again now, changed or not."""
        self._inbox.put(_Wanted(path))

    def wait_for_first_scan(self, timeout_s: float) -> bool:
        """Wait until every file has been imported once and the store knows."""
        return self._first_scan_done.wait(timeout_s)

    # --- the one thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._server.start()
            while not self._stopping.is_set():
                try:
                    self._keep_up(time.monotonic())
                    message = self._next_message()
                    if message is not None:
                        self._take(message)
                except Exception:
                    _log.exception("dag_folder_stumbled", folder=str(self._folder))
                    self._stopping.wait(_FAILURE_PAUSE_S)
        finally:
            if self._watch is not None:
                self._watch.stop()

    def _keep_up(self, now: float) -> None:
        """Do what the clock asks for."""
        if now >= self._look_at:
            self._look(frozenset(), now)
        for path in sorted(self._ledger.take_due(now)):
            self._pending[path] = True
        self._fill_slots(now)
        self._forget_if_due(now)
        if not self._first_scan_done.is_set() and not self._pending and not self._in_flight:
            self._ownership.end_first_scan()
            self._first_scan_done.set()

    def _next_message(self) -> _Message | None:
        """Wait for news, or until the clock asks for something."""
        now = time.monotonic()
        times = [self._look_at, self._ledger.next_due_at(), self._forget_at]
        if self._pending and len(self._in_flight) < _SLOTS_LENT_MAX:
            times.extend(at + _SLOT_LENT_AFTER_S for at in self._young(now))
        wait_s = min(at for at in times if at is not None) - now
        try:
            return self._inbox.get(timeout=max(wait_s, 0.0))
        except queue.Empty:
            return _TIME_IS_UP

    def _take(self, message: _Message) -> None:
        now = time.monotonic()
        match message:
            case _Touched(paths):
                if paths:
                    self._look(paths, now)
                    self._look_at = min(self._look_at, now + _LOOK_AGAIN_S)
            case _Wanted(path):
                if self._ledger.knows(path):
                    self._pending[path] = True
            case _Imported(path, result):
                del self._in_flight[path]
                self._settle(path, result, now)
            case _Unchanged(path):
                del self._in_flight[path]
            case _Failed(path, error):
                del self._in_flight[path]
                _log.error("dag_file_not_parsed", path=path, reason=repr(error))
                self._ledger.look_again_at(path, now + _FAILURE_PAUSE_S)
            case _:
                assert_never(message)

    # --- looking ------------------------------------------------------------------------

    def _look(self, touched: frozenset[str], now: float) -> None:
        """Walk the folder and note which files to import."""
        self._look_at = now + self._rescan_pause_s()
        try:
            listing = list_folder(self._folder)
        except OSError as error:
            _log.warning("dag_folder_unreadable", folder=str(self._folder), reason=str(error))
            return  # nothing is known, so nothing is gone: its DAGs stay as they are
        observed = self._ledger.observe(listing)
        known = self._ledger.observe_dependencies(
            {path: dependency_signature(self._folder, path) for path in self._ledger.dependencies}
        )
        for path in sorted(observed.changed | (touched & listing.files.keys())):
            self._pending.setdefault(path, False)
        for path in sorted(known | self._ledger.dependents(touched)):
            self._pending[path] = True
        for path in sorted(observed.gone):
            self._pending.pop(path, None)
            self._let_go(path)
        if observed.gone:
            self._forget_soon(now, after=observed.added)
        elif self._first_look:
            self._first_look = False
            self._forget_soon(now, after=observed.added)

    def _rescan_pause_s(self) -> float:
        """See that the folder is watched, and say when to walk it again."""
        identity = folder_identity(self._folder)
        if self._watch is not None and (identity != self._watched or not self._watch.is_live):
            self._watch.stop()
            self._watch = None
        if self._watch is None and identity is not None:
            self._watch = FolderWatch(self._folder, lambda paths: self._inbox.put(_Touched(paths)))
            self._watched = identity
            self._watch.start()
            return _LOOK_AGAIN_S
        return self._rescan_s if self._watch else min(self._rescan_s, _UNWATCHED_RESCAN_S)

    def _let_go(self, path: str) -> None:
        self._told.pop(path, None)
        for other in sorted(self._ownership.forget(path)):
            self._pending[other] = True

    def _forget_soon(self, now: float, *, after: Collection[str] = ()) -> None:
        self._forget_after |= frozenset(after)
        if self._forget_at is None:
            self._forget_at = now + _FORGET_PATIENCE_S

    def _forget_if_due(self, now: float) -> None:
        """Tell the store which files are still there, once those that came are imported."""
        if self._forget_at is None:
            return
        awaited = self._forget_after & (self._pending.keys() | self._in_flight.keys())
        if awaited and now < self._forget_at:
            return
        try:
            self._catalog.forget_missing(sorted(self._ledger.dag_files))
        except Exception as error:
            _log.error("dag_files_not_forgotten", reason=repr(error))
            self._forget_after, self._forget_at = frozenset(), now + _FAILURE_PAUSE_S
            return
        self._forget_after, self._forget_at = frozenset(), None
        self._on_change()

    # --- importing ----------------------------------------------------------------------

    def _young(self, now: float) -> list[float]:
        return [at for at in self._in_flight.values() if now - at < _SLOT_LENT_AFTER_S]

    def _fill_slots(self, now: float) -> None:
        free = min(_SLOTS - len(self._young(now)), _SLOTS_LENT_MAX - len(self._in_flight))
        waiting = [path for path in self._pending if path not in self._in_flight]
        for path in waiting[: max(free, 0)]:
            is_forced = self._pending.pop(path)
            known = None if is_forced else self._ledger.digest_of(path)
            was_dag_file = self._ledger.was_dag_file(path)
            self._in_flight[path] = now
            threading.Thread(
                target=self._import,
                args=(path, known, was_dag_file),
                name=f"parse {path}",
                daemon=True,
            ).start()

    def _import(self, path: str, known_digest: str | None, was_dag_file: bool) -> None:
        """Run in a slot: import one file and send word."""
        try:
            self._inbox.put(self._outcome(path, known_digest, was_dag_file=was_dag_file))
        except ForkServerClosedError:
            return  # nobody listens any more
        except Exception as error:
            self._inbox.put(_Failed(path, error))

    def _outcome(self, path: str, known_digest: str | None, *, was_dag_file: bool) -> _Message:
        file = self._folder / path
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            return _Unchanged(path)  # the next look at the folder finds it gone
        except OSError:
            data = None  # parse_file says why it cannot be read
        # What a DAG file has become is looked at whatever it mentions: a broken half of it must be
        # an error, and not take its DAGs away.
        if data is not None and not was_dag_file and not may_define_dags(data):
            return _Imported(path, None)
        if data is not None and known_digest is not None and _digest(data) == known_digest:
            return _Unchanged(path)
        seen = self._variables()
        parsed = parse_file(file, self._folder, self._limits, server=self._server, variables=seen)
        return _Imported(path, parsed)

    # --- telling the store --------------------------------------------------------------

    def _settle(self, path: str, result: ParsedFile | None, now: float) -> None:
        if not self._ledger.knows(path):
            return  # deleted meanwhile
        if result is None:
            if self._ledger.note_no_dag_file(path):
                self._let_go(path)
                self._forget_soon(now)
            return
        quarantined_s = self._ledger.note_parsed(result, now=now)
        try:
            self._tell(result, quarantined_s)
        except Exception as error:  # the store is away, or refuses: other files must not suffer
            _log.error("dag_file_not_registered", path=path, reason=repr(error))
            self._ledger.look_again_at(path, now + _FAILURE_PAUSE_S)

    def _tell(self, result: ParsedFile, quarantined_s: float | None) -> None:
        ruling = Ruling()
        if result.error is None:
            ruling = self._ownership.rule(
                result, owner_of=self._catalog.owner_of, dag_files=self._ledger.dag_files
            )
        registration = judge(result, ruling.rivals, quarantined_s=quarantined_s)
        told = _in_short(registration)
        if self._told.get(result.path) != told:
            carry_out(registration, self._catalog)
            self._told[result.path] = told
            _log_standing(registration, result.duration_s)
            self._on_change()
        for path in sorted(ruling.reconsider):
            if self._ledger.knows(path):
                self._pending[path] = True


def _digest(data: bytes) -> str | None:
    try:
        return digest_of(decode_source(data))
    except (SyntaxError, UnicodeDecodeError):
        return None


def _in_short(registration: Registration) -> tuple[object, ...]:
    error = registration.error
    return (
        tuple((version.spec.dag_id, version.content_hash) for version in registration.versions),
        None if error is None else (error.kind, error.message),
        sorted((dag_id, sorted(kinds)) for dag_id, kinds in registration.warnings.items()),
    )


def _log_standing(registration: Registration, duration_s: float) -> None:
    error = registration.error
    if error is None:
        dag_ids = [version.spec.dag_id for version in registration.versions]
        _log.info(
            "dag_file_registered", path=registration.path, dag_ids=dag_ids, duration_s=duration_s
        )
    else:
        _log.warning(
            "dag_file_broken", path=registration.path, kind=error.kind.value, message=error.message
        )
