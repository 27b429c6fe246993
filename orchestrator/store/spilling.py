"""How is a large XCom stored beside its row, so that one element of it can be read alone?

Its elements (of a list, tuple, set or dict) are written as JSON arrays of some 64 KiB, each
compressed; any other value as pieces of its text. The parts lie in SQL, or as files where the
operator named a place for them.
"""

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    String,
    Uuid,
    and_,
    bindparam,
    delete,
    exists,
    select,
)

from orchestrator.core.outcomes import XCOM_INLINE_BYTES
from orchestrator.core.states import TaskState
from orchestrator.core.values import ITEMS, TYPE, elements_of
from orchestrator.errors import OperatorError
from orchestrator.store.conditions import for_each_dialect, is_one_of
from orchestrator.store.engine import Database
from orchestrator.store.tables import dag_run_table as dag_run
from orchestrator.store.tables import task_instance_table as task_instance
from orchestrator.store.tables import xcom_table as xcom
from orchestrator.store.tables_values import xcom_part_table as part
from orchestrator.store.tables_values import xcom_spill_table as spill
from orchestrator.store.types import Json, as_rows, rows_from
from orchestrator.store.value_files import ValueFiles

__all__ = ["PartKey", "SpillRules", "SpilledXCom", "Spills"]

PART_BYTES = 64 * 1024
"""Of JSON: little enough to read for one element, enough to compress well."""
_PARTS_PER_STATEMENT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillRules:
    """From which size on an XCom is stored beside its row, and where: in SQL without `files`."""

    inline_bytes: int = XCOM_INLINE_BYTES
    files: ValueFiles | None = None


class SpilledXCom(NamedTuple):
    """A large XCom's place."""

    ti_id: UUID
    key: str
    epoch: int
    parts: int
    head: Any


class PartKey(NamedTuple):
    """A part's place."""

    ti_id: UUID
    key: str
    epoch: int
    number: int


class _Piece(NamedTuple):
    first: int
    text: bytes


_SPILL_COLUMNS = ("ti_id", "key", "epoch", "size_bytes", "parts", "length", "head")
_OF_TRY = (
    task_instance.c.id == bindparam("of_ti", type_=Uuid()),
    task_instance.c.epoch == bindparam("of_epoch", type_=BigInteger()),
    is_one_of(task_instance.c.state, TaskState.RUNNING),
    task_instance.c.lease_owner == bindparam("worker_id", type_=String()),
)
# A repeated report finds what it wrote before; nothing but the same try writes under this epoch.
_INSERT_SPILL = for_each_dialect(
    spill,
    lambda insert_: insert_.from_select(
        list(_SPILL_COLUMNS),
        select(
            task_instance.c.id,
            bindparam("of_key", type_=String()),
            task_instance.c.epoch,
            bindparam("size_bytes", type_=BigInteger()),
            bindparam("parts", type_=Integer()),
            bindparam("length", type_=Integer()),
            bindparam("head", type_=Json()),
        ).where(*_OF_TRY),
    ).on_conflict_do_nothing(),
)
_IS_TRY = select(task_instance.c.id).where(*_OF_TRY)
_INSERT_PARTS = for_each_dialect(part, lambda insert_: insert_.on_conflict_do_nothing())
_OF_SPILL = (
    part.c.ti_id == bindparam("of_ti", type_=Uuid()),
    part.c.key == bindparam("of_key", type_=String()),
    part.c.epoch == bindparam("of_epoch", type_=BigInteger()),
)
_SELECT_PARTS = (
    select(part.c.number, part.c.digest, part.c.data, part.c.path)
    .where(*_OF_SPILL)
    .order_by(part.c.number)
)
_SELECT_PART_OF = (
    select(part.c.number, part.c.first, part.c.digest, part.c.data, part.c.path)
    .where(*_OF_SPILL, part.c.first <= bindparam("position", type_=Integer()))
    .order_by(part.c.first.desc())
    .limit(1)
)
_is_orphan = and_(
    spill.c.epoch
    < select(task_instance.c.epoch).where(task_instance.c.id == spill.c.ti_id).scalar_subquery(),
    ~exists().where(
        xcom.c.ti_id == spill.c.ti_id, xcom.c.key == spill.c.key, xcom.c.epoch == spill.c.epoch
    ),
)
"""Of an earlier try, whose XComs are gone or which never reported. A try that runs writes its parts
before its XComs."""
_SELECT_ORPHANS = (
    select(spill.c.ti_id, spill.c.key, spill.c.epoch)
    .where(_is_orphan)
    .limit(bindparam("limit_", type_=Integer()))
)
_SELECT_PATHS = select(part.c.path).where(*_OF_SPILL, part.c.path.is_not(None))
_DELETE_SPILL = delete(spill).where(
    spill.c.ti_id == bindparam("of_ti", type_=Uuid()),
    spill.c.key == bindparam("of_key", type_=String()),
    spill.c.epoch == bindparam("of_epoch", type_=BigInteger()),
)
_SELECT_PATHS_OF_KEY = select(part.c.path).where(
    part.c.ti_id == bindparam("of_ti", type_=Uuid()),
    part.c.key == bindparam("of_key", type_=String()),
    part.c.path.is_not(None),
)
_DELETE_SPILLS_OF_KEY = delete(spill).where(
    spill.c.ti_id == bindparam("of_ti", type_=Uuid()),
    spill.c.key == bindparam("of_key", type_=String()),
)
_named = rows_from("named", {"id": Uuid()})
_SELECT_KNOWN_RUNS = select(dag_run.c.id).join(_named, _named.c.id == dag_run.c.id)


class Spills:
    """The large XComs of one database."""

    def __init__(self, database: Database, rules: SpillRules) -> None:
        self._database = database
        self._files = rules.files
        self.inline_bytes = rules.inline_bytes

    def write(self, stored: Any, *, key: str, run_uid: UUID, owner: Mapping[str, Any]) -> bool:
        """Store a value in parts for the try that `owner` names (`of_ti`, `of_epoch`,
        `worker_id`); False when it is no longer that worker's. Safe to repeat."""
        head, pieces = _cut(stored)
        elements = None if head is None else elements_of(stored)
        found = {
            **owner,
            "of_key": key,
            "size_bytes": sum(len(piece.text) for piece in pieces),
            "parts": len(pieces),
            "length": None if elements is None else len(elements),
            "head": head,
        }
        with self._database.each_alone() as connection:
            connection.execute(_INSERT_SPILL[connection.dialect.name], found)
            if connection.execute(_IS_TRY, owner).one_or_none() is None:
                return False
        place = PartKey(owner["of_ti"], key, owner["of_epoch"], 0)
        rows = self._rows(place, run_uid, pieces)
        for start in range(0, len(pieces), _PARTS_PER_STATEMENT):
            batch = [next(rows) for _ in pieces[start : start + _PARTS_PER_STATEMENT]]
            with self._database.writing() as connection:
                connection.execute(_INSERT_PARTS[connection.dialect.name], batch)
        return True

    def whole(self, connection: Connection, place: SpilledXCom) -> Any:
        """Read a value with all its elements."""
        texts = [
            self._text(row, place)
            for row in connection.execute(_SELECT_PARTS, _parameters(place)).all()
        ]
        if len(texts) != place.parts:
            raise _damaged(place, f"has {len(texts)} of its {place.parts} parts")
        if place.head is None:
            return msgspec.json.decode(b"".join(texts))
        elements = [element for text in texts for element in msgspec.json.decode(text)]
        return _with_elements(place.head, elements)

    def elements_around(
        self, connection: Connection, place: SpilledXCom, position: int
    ) -> tuple[int, list[Any]]:
        """Read the part that holds an element: the position of its first one, and all of them."""
        assert place.head is not None, "a text in pieces has no elements"
        row = connection.execute(
            _SELECT_PART_OF, {**_parameters(place), "position": position}
        ).one_or_none()
        if row is None:
            raise _damaged(place, "has lost its parts")
        elements: list[Any] = msgspec.json.decode(self._text(row, place))
        if isinstance(place.head, dict) and place.head.get(TYPE, "dict") == "dict":
            return row.first, [tuple(pair) for pair in elements]
        return row.first, elements

    def forget(self, connection: Connection, ti_id: UUID, key: str) -> list[str]:
        """Delete, in the caller's transaction, what lies beside an XCom that a person replaces or
        removes; return its files, which `remove` deletes once that is committed."""
        wanted = {"of_ti": ti_id, "of_key": key}
        paths = list(connection.execute(_SELECT_PATHS_OF_KEY, wanted).scalars())
        connection.execute(_DELETE_SPILLS_OF_KEY, wanted)
        return paths

    def remove(self, paths: Sequence[str]) -> None:
        """Delete files that nothing names any more."""
        if paths and self._files is not None:
            self._files.delete(paths)

    def sweep(self, *, limit: int) -> int:
        """Delete what belongs to no XCom any more, and the files of runs that are no more; return
        how many values and runs that were."""
        with self._database.each_alone() as connection:
            orphans = connection.execute(_SELECT_ORPHANS, {"limit_": limit}).all()
            for ti_id, key, epoch in orphans:
                place = {"of_ti": ti_id, "of_key": key, "of_epoch": epoch}
                if self._files is not None:
                    self._files.delete(connection.execute(_SELECT_PATHS, place).scalars().all())
                connection.execute(_DELETE_SPILL, place)
            return len(orphans) + self._sweep_runs(connection)

    def _sweep_runs(self, connection: Connection) -> int:
        if self._files is None:
            return 0
        found = {uid: name for name in self._files.runs() if (uid := _as_uid(name))}
        # The rows are read after the folders: a run is there before its first file.
        rows = as_rows("named", ([uid] for uid in found))
        gone = set(found) - set(connection.execute(_SELECT_KNOWN_RUNS, rows).scalars())
        for uid in sorted(gone):
            self._files.delete_run(found[uid])
        return len(gone)

    def _rows(
        self, place: PartKey, run_uid: UUID, pieces: Sequence[_Piece]
    ) -> Iterator[dict[str, Any]]:
        named = hashlib.sha256(place.key.encode()).hexdigest()[:16]
        for number, piece in enumerate(pieces):
            data = zlib.compress(piece.text)
            row: dict[str, Any] = {
                **place._replace(number=number)._asdict(),
                "first": piece.first,
                "digest": hashlib.sha256(data).hexdigest(),
                "data": data,
                "path": None,
            }
            if self._files is not None:
                path = f"{run_uid}/{place.ti_id}/{place.epoch}-{named}-{number}.json.z"
                self._files.write(path, data)
                row |= {"data": None, "path": path}
            yield row

    def _text(self, row: Any, place: SpilledXCom) -> bytes:
        data = row.data
        if row.path is not None:
            if self._files is None:
                raise OperatorError(
                    f"XCom {place.key!r} lies in the file {row.path}; set "
                    "ORCHESTRATOR_XCOM_STORAGE_URL to the place it was written to"
                )
            data = self._files.read(row.path)
        if hashlib.sha256(data).hexdigest() != row.digest:
            raise _damaged(place, f"has a part {row.number} that is not what was written")
        return zlib.decompress(data)


def _cut(stored: Any) -> tuple[Any, list[_Piece]]:
    """What a value is without its elements, and these in pieces; or None, and pieces of text."""
    elements = elements_of(stored)
    if not elements:
        text = msgspec.json.encode(stored)
        return None, [
            _Piece(start, text[start : start + PART_BYTES])
            for start in range(0, len(text), PART_BYTES)
        ]
    pieces: list[_Piece] = []
    begun: list[bytes] = []
    first = size = 0
    for position, element in enumerate(elements):
        text = msgspec.json.encode(element)
        if begun and size + len(text) > PART_BYTES:
            pieces.append(_Piece(first, b"[" + b",".join(begun) + b"]"))
            begun, first, size = [], position, 0
        begun.append(text)
        size += len(text) + 1
    pieces.append(_Piece(first, b"[" + b",".join(begun) + b"]"))
    if isinstance(stored, list):
        return [], pieces
    return ({TYPE: stored[TYPE]} if TYPE in stored else {}), pieces


def _with_elements(head: Any, elements: list[Any]) -> Any:
    if isinstance(head, list):
        return elements
    if not head:
        return dict(elements)
    return {**head, ITEMS: elements}


def _as_uid(name: str) -> UUID | None:
    """The run that a folder is named for; None for what is not ours."""
    try:
        return UUID(name)
    except ValueError:
        return None


def _parameters(place: SpilledXCom) -> dict[str, Any]:
    return {"of_ti": place.ti_id, "of_key": place.key, "of_epoch": place.epoch}


def _damaged(place: SpilledXCom, how: str) -> OperatorError:
    return OperatorError(
        f"the stored XCom {place.key!r} of task instance {place.ti_id} {how}; clear the task that "
        "pushed it, so that it runs again"
    )
