"""What a stored value is made of, and how people read it."""

from typing import Any

import pytest

from orchestrator.core.values import elements_of, item_at, readable


@pytest.mark.parametrize(
    ("stored", "elements"),
    [
        ([1, 2], [1, 2]),
        ({"a": 1, "b": 2}, [("a", 1), ("b", 2)]),
        ({"__type": "dict", "items": [[1, "x"]]}, [(1, "x")]),
        ({"__type": "tuple", "items": [1, 2]}, [1, 2]),
        ({"__type": "datetime", "value": "2024-01-01"}, None),
        ("text", None),
        (None, None),
    ],
)
def test_what_has_elements(stored: Any, elements: Any) -> None:
    assert elements_of(stored) == elements


def test_an_element_is_found_by_its_position() -> None:
    assert item_at(["a", "b"], 1, name="x") == "b"
    with pytest.raises(LookupError, match="x has 2 elements: there is no number 2"):
        item_at(["a", "b"], 2, name="x")
    with pytest.raises(LookupError, match="x is neither a list nor a dict"):
        item_at(3, 0, name="x")


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ({"a": [1, None]}, {"a": [1, None]}),
        ({"__type": "datetime", "value": "2024-01-01T00:00:00"}, "2024-01-01T00:00:00"),
        ({"__type": "set", "items": [1, {"__type": "decimal", "value": "1.5"}]}, [1, "1.5"]),
        ({"__type": "dict", "items": [[1, "x"], ["__type", "y"]]}, {"1": "x", "__type": "y"}),
        ({"__type": "object", "class": "m:C", "fields": {"n": 1}}, {"n": 1}),
        ({"__type": "later", "real": 1.0, "imag": 2.0}, {"real": 1.0, "imag": 2.0}),
    ],
)
def test_people_read_plain_json(stored: Any, shown: Any) -> None:
    assert readable(stored) == shown
