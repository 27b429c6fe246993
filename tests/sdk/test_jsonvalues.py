"""What counts as JSON comes through unchanged."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sdk.jsonvalues import json_size, json_value

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_json_is_unchanged_and_reads_back_equal(value: Any) -> None:
    plain = json_value(value, name="x")
    assert plain == value
    assert msgspec.json.decode(msgspec.json.encode(plain)) == value
    assert json_size(plain, name="x") == len(msgspec.json.encode(value))
