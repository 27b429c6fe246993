"""Only what this product wrote, for this queue, with this key, is a task message."""

import base64
import json
from typing import Any
from uuid import UUID

import pytest

from orchestrator.broker.app import build_app
from orchestrator.broker.messages import (
    TASK_NAME,
    MessageRejectedError,
    MessageSigner,
    MessageWriter,
)
from orchestrator.core.ids import TiId
from orchestrator.ports import TaskMessage

KEY = "k" * 32
TI = "0198c0de-0000-7000-8000-000000000001"
MESSAGE = TaskMessage(ti_id=TiId(UUID(TI)), epoch=7, queue="gpu")


def written(message: TaskMessage, key: str = KEY) -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(MessageWriter(MessageSigner(key)).write(message))
    return envelope


def arguments(message: TaskMessage, key: str = KEY) -> list[object]:
    args: list[object] = json.loads(base64.b64decode(written(message, key)["body"]))[0]
    return args


def test_what_is_written_is_read_back() -> None:
    assert MessageSigner(KEY).verify(arguments(MESSAGE), queue="gpu") == MESSAGE


def test_each_message_has_an_id_of_its_own() -> None:
    writer = MessageWriter(MessageSigner(KEY))
    first, second = (json.loads(writer.write(MESSAGE))["headers"]["id"] for _ in range(2))
    assert first != second


def test_a_queue_name_with_a_percent_sign_is_written_as_it_is() -> None:
    message = TaskMessage(ti_id=MESSAGE.ti_id, epoch=1, queue="50%s")
    assert written(message)["properties"]["delivery_info"]["routing_key"] == "50%s"


def test_the_envelope_has_the_headers_of_celerys_own_messages() -> None:
    own = build_app("redis://localhost").amqp.as_task_v2("id", TASK_NAME, args=(TI, 7, "s"))
    assert written(MESSAGE)["headers"].keys() == own.headers.keys()
    assert json.loads(base64.b64decode(written(MESSAGE)["body"]))[1:] == list(own.body)[1:]


SIGNATURE = MessageSigner(KEY).sign(MESSAGE)


@pytest.mark.parametrize(
    ("tampered", "why"),
    [
        ([], "it is neither (task instance, epoch, signature) nor (callback,"),
        ([TI, 7], "it is neither (task instance, epoch, signature) nor (callback,"),
        ([TI, 7, SIGNATURE, 1], "it is neither (task instance, epoch, signature) nor (callback,"),
        ([TI, "7", SIGNATURE], "it is neither (task instance, epoch, signature) nor (callback,"),
        ([TI, True, SIGNATURE], "it is neither (task instance, epoch, signature) nor (callback,"),
        ([TI, 7.0, SIGNATURE], "it is neither (task instance, epoch, signature) nor (callback,"),
        ([None, 7, SIGNATURE], "it is neither (task instance, epoch, signature) nor (callback,"),
        ([TI, -1, SIGNATURE], "its epoch is out of range"),
        ([TI, 2**63, SIGNATURE], "its epoch is out of range"),
        (["x", 7, SIGNATURE], "its task instance is not a UUID"),
        ([TI.upper(), 7, SIGNATURE], "its task instance is not written as a UUID is"),
        ([f"{{{TI}}}", 7, SIGNATURE], "its task instance is not written as a UUID is"),
        ([TI, 7, SIGNATURE.upper()], "its signature is not 64 hexadecimal digits"),
        ([TI, 7, SIGNATURE[:-1]], "its signature is not 64 hexadecimal digits"),
        ([TI, 7, SIGNATURE[:-1] + "é"], "its signature is not 64 hexadecimal digits"),
        ([TI, 8, SIGNATURE], "its signature does not fit"),
        ([TI, 7, "0" * 64], "its signature does not fit"),
        ([TI[:-1] + "2", 7, SIGNATURE], "its signature does not fit"),
    ],
)
def test_anything_else_is_rejected_with_the_reason(tampered: list[object], why: str) -> None:
    with pytest.raises(MessageRejectedError) as caught:
        MessageSigner(KEY).verify(tampered, queue="gpu")
    assert str(caught.value).startswith(f"a message on the queue 'gpu' is dropped: {why}")


def test_a_message_counts_only_on_the_queue_it_was_written_for() -> None:
    with pytest.raises(MessageRejectedError, match="its signature does not fit"):
        MessageSigner(KEY).verify(arguments(MESSAGE), queue="default")


def test_another_secret_key_signs_differently() -> None:
    with pytest.raises(MessageRejectedError, match="need the same ORCHESTRATOR_SECRET_KEY"):
        MessageSigner(KEY).verify(arguments(MESSAGE, "o" * 32), queue="gpu")


def test_a_huge_message_is_not_repeated_in_full() -> None:
    with pytest.raises(MessageRejectedError) as caught:
        MessageSigner(KEY).verify(["x" * 10_000_000], queue="gpu")
    assert len(str(caught.value)) < 400
