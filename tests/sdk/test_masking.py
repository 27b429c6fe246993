"""What was registered as secret is shown nowhere, in whatever form it is met; all else is."""

import base64
import json
import logging
from collections.abc import Iterator
from io import StringIO
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sdk import masking
from orchestrator.sdk.masking import (
    MaskingFilter,
    is_sensitive_name,
    mask,
    mask_secret,
    redact,
    secret_scope,
    secrets_known,
)

SECRET = 'p@ss "wörd"/+&%☃'


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What other tests of this process have left is not known here."""
    monkeypatch.setattr(masking, "_known", {})
    monkeypatch.setattr(masking, "_pattern", None)
    with secret_scope():
        yield
    assert secrets_known()[1] == ()


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_every_form_of_a_secret_is_masked(written: str) -> None:
    assert mask(f"before {written} after") == f"before {written} after"
    mask_secret(SECRET)
    assert mask(f"before {written} after") == "before *** after"


def test_a_repr_is_masked() -> None:
    mask_secret("a\tb'c\\d")
    assert mask(f"{ {'pw': chr(97) + chr(9) + 'b' + chr(39) + 'c' + chr(92) + 'd'} }") == (
        "{'pw': \"***\"}"
    )


@given(st.text(min_size=3).filter(lambda text: len(text.strip()) >= 3 and "*" not in text))
def test_no_secret_survives(secret: str) -> None:
    with secret_scope():
        mask_secret(secret)
        known = secrets_known()[1]
        if known:  # the few ordinary words are none
            assert secret.strip() not in mask(f"<{secret}> {secret}{secret}").replace("***", "")


def test_what_is_too_short_or_ordinary_is_not_masked() -> None:
    for harmless in ("ab", "", None, "true", "airflow", "  x "):
        mask_secret(harmless)
    assert secrets_known()[1] == ()
    mask_secret("abc")
    assert mask("xabcx") == "x***x"


def test_of_a_dict_the_sensitive_names_count() -> None:
    mask_secret(
        {
            "host": "visible-host",
            "API-Key": "key-1",
            "deep": [{"access_token": "token-1", "id": "visible-id"}],
            "service_account": {"client": "client-1"},
        }
    )
    assert mask("visible-host key-1 token-1 visible-id client-1") == (
        "visible-host *** *** visible-id ***"
    )
    mask_secret("named-1", "db_password")
    mask_secret("named-2", "db_name")
    assert mask("named-1 named-2") == "*** named-2"


def test_the_longest_goes_first_and_lines_go_by_themselves() -> None:
    mask_secret("abc")
    mask_secret("abcdef")
    assert mask("abcdefg") == "***g"
    mask_secret("-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqh\n")
    assert mask("MIIEvQIBADANBg") == "***"
    assert mask("kqh") == "kqh", "a short line is not recognisable"


def test_a_value_is_redacted_throughout() -> None:
    mask_secret("hidden")
    shown = redact(
        {
            "text": "it is hidden",
            "list": ["hidden", 1, None, True],
            "password": {"a": "b"},
            "token": 7,
            "hidden": (1.5,),
        }
    )
    assert shown == {
        "text": "it is ***",
        "list": ["***", 1, None, True],
        "password": {"a": "***"},
        "token": "***",
        "***": [1.5],
    }
    mask_secret("12345")
    assert redact([12345, 1234]) == ["***", 1234]


def test_a_scope_forgets_its_own_and_keeps_the_outer_ones() -> None:
    mask_secret("outer")
    with secret_scope():
        mask_secret("inner")
        mask_secret("outer")
        assert mask("outer inner") == "*** ***"
    assert mask("outer inner") == "*** inner"


def test_log_records_and_their_tracebacks() -> None:
    mask_secret("hidden")
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(MaskingFilter())
    log = logging.Logger("test")
    log.addHandler(handler)
    log.info("%s of %s", "this is hidden", {"x": "hidden"})
    try:
        raise ValueError("hidden")
    except ValueError:
        log.exception("bad")
    assert "hidden" not in stream.getvalue()
    assert stream.getvalue().startswith("this is *** of {'x': '***'}\nbad\nTraceback")
    assert stream.getvalue().endswith("ValueError: ***\n")


@pytest.mark.parametrize(
    ("name", "sensitive"),
    [
        ("password", True),
        ("DB_PASSWORD", True),
        ("aws_secret_access_key", True),
        ("X-Api-Key", True),
        ("Authorization", True),
        ("pass", False),
        ("key", False),
        ("compassion", False),
        ("host", False),
    ],
)
def test_airflows_list_of_sensitive_names(name: str, sensitive: bool) -> None:
    assert is_sensitive_name(name) is sensitive
