"""How a DagSpec is written down, and how its content is named by a hash.

msgspec decodes into the frozen dataclasses directly and refuses any other shape, so stored JSON
cannot name a class to import (the closed registry is the type annotation itself).
"""

import hashlib
from collections.abc import Iterable

import msgspec

from orchestrator.core.specs import DagSpec

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(DagSpec)


def encode_spec(spec: DagSpec) -> bytes:
    """Write a spec as canonical JSON: equal specs give equal bytes."""
    return _encoder.encode(spec)


def decode_spec(data: bytes | str) -> DagSpec:
    """Read a spec; raise `msgspec.ValidationError` naming the path of what does not fit."""
    return _decoder.decode(data)


def content_hash(
    spec: DagSpec, source: str, *, volatile: Iterable[tuple[str | int, ...]] = ()
) -> str:
    """Name what a DAG version says: a hash of its source and its spec.

    `volatile` lists paths in the spec's JSON that differ between two imports of the same file (a
    timestamp in a default, say). They are left out, so that importing again breeds no version.
    """
    document = msgspec.json.decode(encode_spec(spec))
    for path in sorted(volatile, key=repr):
        _blank(document, path)
    digest = hashlib.sha256(_encoder.encode(document))
    digest.update(b"\0")
    digest.update(source.encode())
    return digest.hexdigest()


def _blank(document: object, path: tuple[str | int, ...]) -> None:
    node = document
    for step in path[:-1]:
        node = _child(node, step)
    match node, path[-1]:
        case dict(), str(key) if key in node:
            node[key] = None
        case list(), int(index) if index < len(node):
            node[index] = None
        case _:
            pass


def _child(node: object, step: str | int) -> object:
    match node, step:
        case dict(), str():
            return node.get(step)
        case list(), int() if step < len(node):
            return node[step]
        case _:
            return None
