"""Raw lines are masked from the byte on at which a secret was known, whoever ships them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from orchestrator.sdk.masking import mask_secret, secret_scope, secrets_known, watch_secrets
from orchestrator.store.sealing import SecretSealer
from workers.hidden import HiddenTexts, note_hidden, notes_of
from workers.log_shipping import records_of

SEALER = SecretSealer([Fernet.generate_key().decode()])


def unseal(sealed: str) -> str:
    return SEALER.open(sealed, what="a log")


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    return tmp_path / "7-1.log"


@pytest.fixture
def note(stream: Path) -> Callable[..., None]:
    def note(*texts: str, start: int) -> None:
        note_hidden(stream, texts, start=start, seal=SEALER.seal)

    return note


def events(raw: bytes, hidden: HiddenTexts, *, start: int = 0) -> list[str]:
    import json

    hidden.refresh()
    return [
        json.loads(line)["event"] for line in records_of(raw, start=start, masked=hidden.masked)
    ]


def test_lines_are_masked_from_the_noted_byte_on(stream: Path, note: Callable[..., None]) -> None:
    raw = b"abc one\nabc two\nabc three\n"
    hidden = HiddenTexts(stream, unseal=unseal)
    assert events(raw, hidden) == ["abc one", "abc two", "abc three"]
    note("abc", start=8)
    note("three", start=17)
    assert events(raw, hidden) == ["abc one", "*** two", "abc ***"]
    assert events(raw[8:], hidden, start=8) == ["*** two", "abc ***"], "a piece is like the whole"
    successor = HiddenTexts(stream, unseal=unseal)
    assert events(raw, successor) == ["abc one", "*** two", "abc ***"]


def test_a_line_that_grows_while_a_secret_becomes_known_is_masked(
    stream: Path, note: Callable[..., None]
) -> None:
    note("abc", start=4)
    assert events(b"pw: abc\n", HiddenTexts(stream, unseal=unseal)) == ["pw: ***"]


def test_a_stream_that_was_cut_back_forgets_the_notes_beyond(
    stream: Path, note: Callable[..., None]
) -> None:
    note("abc", start=10)
    hidden = HiddenTexts(stream, unseal=unseal)
    hidden.refresh()
    note("def", start=0)
    assert events(b"abc def x x x abc def\n", hidden) == ["abc *** x x x abc ***"]


def test_no_secret_lies_in_the_notes_and_without_the_key_nothing_is_shown(
    stream: Path, note: Callable[..., None]
) -> None:
    note("hunter2", start=0)
    assert b"hunter2" not in notes_of(stream).read_bytes()
    assert notes_of(stream).stat().st_mode & 0o777 == 0o600
    other = SecretSealer([Fernet.generate_key().decode()])
    hidden = HiddenTexts(stream, unseal=lambda sealed: other.open(sealed, what="a log"))
    (event,) = events(b"it is hunter2\n", hidden)
    assert event.startswith("*** (a line that cannot be told from a secret")


def test_whoever_watches_hears_what_is_to_be_masked() -> None:
    heard: list[tuple[str, ...]] = []
    _, before = secrets_known()
    watch_secrets(heard.append)
    try:
        with secret_scope():
            mask_secret("hunter2")
            mask_secret("hunter2")
        assert [set(each) for each in heard] == [{*before, "hunter2", "aHVudGVyMg=="}, set(before)]
    finally:
        watch_secrets(lambda _: None)
