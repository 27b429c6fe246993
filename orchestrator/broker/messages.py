"""What a task message says, and how a worker knows that this product wrote it.

A message is an ordinary Celery message (protocol 2, JSON) for the one task `orch.run`, whose
arguments are (task instance, epoch, signature). The signature is an HMAC-SHA256 over the task
instance, the epoch and the queue: whoever can write to Redis but has no secret key can start
nothing, and a message copied to another queue starts nothing there.
"""

import hashlib
import hmac
import json
import re
import socket
from base64 import b64encode
from collections.abc import Sequence
from os import getpid
from typing import Any
from uuid import UUID, uuid4

from orchestrator.core.ids import TiId
from orchestrator.errors import OperatorError
from orchestrator.ports import TaskMessage

__all__ = ["TASK_NAME", "MessageRejectedError", "MessageSigner", "MessageWriter"]

TASK_NAME = "orch.run"
"""The only Celery task there is."""

_PURPOSE = b"orchestrator task message 1"
_EPOCH_MAX = 2**63 - 1
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SHOWN_CHARACTERS_MAX = 200
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


class MessageRejectedError(OperatorError):
    """A message on a queue is not one that this product, with this secret key, has written."""


class MessageSigner:
    """Signs and verifies task messages with a key derived from the secret key."""

    def __init__(self, secret_key: str) -> None:
        self._key = hmac.digest(secret_key.encode(), _PURPOSE, hashlib.sha256)

    def sign(self, message: TaskMessage) -> str:
        """Return the signature of a message, in hex."""
        text = f"{message.ti_id}\n{message.epoch}\n{message.queue}"
        return hmac.digest(self._key, text.encode(), hashlib.sha256).hex()

    def verify(self, arguments: Sequence[object], *, queue: str) -> TaskMessage:
        """Return what a message taken from `queue` says; raise MessageRejectedError if anything
        about it is not as this product writes it."""
        match arguments:
            case [str(ti_id), int(epoch), str(signature)] if not isinstance(epoch, bool):
                pass
            case _:
                raise _rejected(arguments, queue, "it is not (task instance, epoch, signature)")
        if not 0 <= epoch <= _EPOCH_MAX:
            raise _rejected(arguments, queue, "its epoch is out of range")
        message = TaskMessage(ti_id=_parse_id(ti_id, arguments, queue), epoch=epoch, queue=queue)
        if not _SIGNATURE.fullmatch(signature):
            raise _rejected(arguments, queue, "its signature is not 64 hexadecimal digits")
        if not hmac.compare_digest(self.sign(message), signature):
            raise _rejected(
                arguments,
                queue,
                "its signature does not fit; scheduler and worker need the same "
                "ORCHESTRATOR_SECRET_KEY",
            )
        return message


class MessageWriter:
    """Writes task messages in the form that Celery workers read from Redis.

    The envelope is written once per queue and only the few changing words are filled in, which
    is twenty times as fast as Celery's own producer.
    """

    def __init__(self, signer: MessageSigner) -> None:
        self._signer = signer
        self._origin = f"{getpid()}@{socket.gethostname()}"
        self._envelopes: dict[str, str] = {}

    def write(self, message: TaskMessage) -> str:
        """Return the text to push onto the queue's list."""
        envelope = self._envelopes.get(message.queue)
        if envelope is None:
            envelope = self._envelopes[message.queue] = self._envelope(message.queue)
        arguments = [str(message.ti_id), message.epoch, self._signer.sign(message)]
        body = json.dumps([arguments, {}, _EMBED]).encode()
        return envelope % {
            "body": b64encode(body).decode(),
            "shown": f"{message.ti_id} epoch {message.epoch}",
            "id": uuid4(),
        }

    def _envelope(self, queue: str) -> str:
        text = json.dumps(self._celery_message(queue)).replace("%", "%%")
        for name in ("body", "shown", "id"):
            text = text.replace(f"@@{name}@@", f"%({name})s")
        return text

    def _celery_message(self, queue: str) -> dict[str, Any]:
        headers: dict[str, Any] = {
            "lang": "py",
            "task": TASK_NAME,
            "id": "@@id@@",
            "root_id": "@@id@@",
            "parent_id": None,
            "group": None,
            "group_index": None,
            "shadow": None,
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "argsrepr": "@@shown@@",
            "kwargsrepr": "{}",
            "origin": self._origin,
            "ignore_result": True,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }
        properties = {
            "correlation_id": "@@id@@",
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "@@id@@",
        }
        return {
            "body": "@@body@@",
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }


def _parse_id(text: str, arguments: object, queue: str) -> TiId:
    try:
        parsed = UUID(text)
    except ValueError:
        raise _rejected(arguments, queue, "its task instance is not a UUID") from None
    if str(parsed) != text:
        raise _rejected(arguments, queue, "its task instance is not written as a UUID is")
    return TiId(parsed)


def _rejected(arguments: object, queue: str, why: str) -> MessageRejectedError:
    shown = repr(arguments)[:_SHOWN_CHARACTERS_MAX]
    return MessageRejectedError(f"a message on the queue {queue!r} is dropped: {why}: {shown}")
