"""What the parser's processes say to each other: JSON frames, each decoded into one closed type.

Nothing that comes out of a process which ran an author's code is ever unpickled.
"""

import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from orchestrator.parsing.results import (
    ImportProblem,
    ParsedDag,
    ParsedFile,
    ParseLimits,
    ParseWarning,
)

__all__ = [
    "FRAME_BYTES_MAX",
    "Comparison",
    "FirstImport",
    "ParseRequest",
    "decode_frame",
    "encode_frame",
    "frame_length",
    "receive",
    "send",
    "write_frame",
]

FRAME_BYTES_MAX = 256 * 1024 * 1024
"""A DAG of 10,000 tasks takes some 10 MB; a larger answer than this is not believed."""

HEADER_BYTES = 4
_HEADER = struct.Struct(">I")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseRequest:
    """Import this text as if it stood at this path. `path` is relative to `dags_folder`."""

    path: str
    dags_folder: str
    text: str
    digest: str
    limits: ParseLimits
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of the store, which the import may read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstImport:
    """What the child says as soon as the file is imported."""

    dags: tuple[ParsedDag, ...] = ()
    error: ImportProblem | None = None
    warnings: tuple[ParseWarning, ...] = ()
    dependencies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What two imports of the file have in common: the first one's DAGs with what varies."""

    dags: tuple[ParsedDag, ...] = ()
    error: ImportProblem | None = None
    warnings: tuple[ParseWarning, ...] = ()


Frame = ParseRequest | FirstImport | Comparison | ParsedFile


def encode_frame(value: Frame) -> bytes:
    """Write a value with its length in front."""
    payload = msgspec.json.encode(value)
    return _HEADER.pack(len(payload)) + payload


def frame_length(header: bytes | bytearray) -> int:
    """Return how many bytes follow a header; raise ValueError beyond what is believed."""
    (length,) = _HEADER.unpack(bytes(header[:HEADER_BYTES]))
    if length > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {length} bytes; at most {FRAME_BYTES_MAX} are accepted")
    return int(length)


def decode_frame(payload: bytes | bytearray, kind: type[_T]) -> _T:
    """Read a value; raise msgspec.DecodeError when it is not of that type."""
    return msgspec.json.decode(payload, type=kind)


def write_frame(fd: int, value: Frame) -> None:
    """Write a whole frame to a blocking file descriptor."""
    view = memoryview(encode_frame(value))
    while view:
        view = view[os.write(fd, view) :]


def send(connection: socket.socket, value: Frame) -> None:
    """Send a whole frame."""
    connection.sendall(encode_frame(value))


def receive(connection: socket.socket, kind: type[_T]) -> _T | None:
    """Receive one frame; None when the other side closed instead."""
    header = _receive_exactly(connection, HEADER_BYTES)
    if header is None:
        return None
    payload = _receive_exactly(connection, frame_length(header))
    return None if payload is None else decode_frame(payload, kind)


def _receive_exactly(connection: socket.socket, count: int) -> bytearray | None:
    data = bytearray()
    while len(data) < count:
        chunk = connection.recv(min(count - len(data), 1 << 20))
        if not chunk:
            return None
        data += chunk
    return data
