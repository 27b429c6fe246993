"""What a task pushes keeps its type for the task that pulls it; what cannot is told where."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd
import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.values import readable
from orchestrator.errors import DagInvalidError
from orchestrator.sdk import classes as registry
from orchestrator.sdk.classes import Classes, StoredObject, register_type
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.serialization import UnstorableError, decode, encode, encoded_size
from tests.sdk import models
from tests.sdk.models import (
    Account,
    Colour,
    Customer,
    Level,
    Money,
    Open,
    Order,
    Parcel,
    Point,
    Rights,
    Size,
)

BERLIN = ZoneInfo("Europe/Berlin")
ORDER = Order(7, Decimal("9.90"), ("new",))


def stored(value: Any) -> Any:
    """As it lies in the store: JSON text, read again."""
    return json.loads(json.dumps(encode(value, name="XCom 'k'", root="value"), allow_nan=False))


def through_the_store(value: Any, classes: Classes | None = None) -> Any:
    return decode(stored(value), classes or Classes())


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types throughout, and NaN the same as NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, Decimal) and one.is_nan():
        return str(one) == str(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Account):
        return same(vars(one), vars(other))
    if isinstance(one, datetime | time):
        return (one, one.tzinfo, one.fold) == (other, other.tzinfo, other.fold)
    return bool(one == other)


ZONES = (
    st.none()
    | st.just(UTC)
    | st.just(BERLIN)
    | st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
)
HASHABLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.datetimes(timezones=ZONES)
    | st.dates()
    | st.times(timezones=st.none() | st.just(UTC) | st.just(BERLIN))
    | st.timedeltas()
    | st.sampled_from([*Colour, *Size, *Level, Rights.READ | Rights.WRITE, ORDER, Point(1, "a")])
    | st.sampled_from([Path("a/b"), PurePosixPath("/x"), PureWindowsPath("c:\\x"), BERLIN, UTC])
)
VALUES = st.recursive(
    HASHABLE
    | st.floats()
    | st.complex_numbers(allow_nan=False)
    | st.decimals()
    | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
        | st.frozensets(HASHABLE, max_size=3)
        | st.builds(lambda each: {"__type": each, "value": 1}, inner)
        | st.builds(lambda each: Account(ORDER, each), inner)
        | st.builds(lambda each: Point(1, each), inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_a_value_comes_back_equal_and_of_the_same_type(value: Any) -> None:
    assert same(through_the_store(value), value)


@given(VALUES)
def test_people_read_plain_json_of_any_value(value: Any) -> None:
    shown = readable(stored(value))
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text().filter(lambda key: key != "__type"), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_json_is_stored_as_it_is(value: Any) -> None:
    assert encode(value, name="x", root="x") == value
    assert readable(value) == value
    assert decode(value, Classes()) == value


@pytest.mark.parametrize(
    ("value", "as_stored"),
    [
        ((1, 2), {"__type": "tuple", "items": [1, 2]}),
        ({3, 1}, {"__type": "set", "items": [1, 3]}),
        (float("nan"), {"__type": "float", "value": "nan"}),
        (float("-inf"), {"__type": "float", "value": "-inf"}),
        (Decimal("1.50"), {"__type": "decimal", "value": "1.50"}),
        (b"\x00x", {"__type": "bytes", "value": "AHg="}),
        (UUID(int=1), {"__type": "uuid", "value": "00000000-0000-0000-0000-000000000001"}),
        (date(2024, 1, 2), {"__type": "date", "value": "2024-01-02"}),
        (
            datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
            {
                "__type": "datetime",
                "value": "2024-10-27T02:30:00+01:00",
                "zone": "Europe/Berlin",
                "fold": 1,
            },
        ),
        ({1: "a"}, {"__type": "dict", "items": [[1, "a"]]}),
        ({"__type": "x"}, {"__type": "dict", "items": [["__type", "x"]]}),
        (
            Colour.RED,
            {
                "__type": "enum",
                "class": "tests.sdk.models:Colour",
                "name": "RED",
                "value": {"__type": "tuple", "items": [255, 0, 0]},
            },
        ),
        (
            ORDER,
            {
                "__type": "object",
                "class": "tests.sdk.models:Order",
                "fields": {
                    "number": 7,
                    "total": {"__type": "decimal", "value": "9.90"},
                    "tags": {"__type": "tuple", "items": ["new"]},
                },
            },
        ),
    ],
)
def test_how_values_are_stored(value: Any, as_stored: Any) -> None:
    assert encode(value, name="x", root="x") == as_stored


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (type("Text", (str,), {})("x"), "x"),
        (type("List", (list,), {})([1]), [1]),
        (type("Stamp", (datetime,), {})(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_derives_from_a_known_type_is_stored_as_that(value: Any, back: Any) -> None:
    assert same(through_the_store(value), back)


# --- classes of the author's


@pytest.mark.parametrize(
    "value",
    [
        Customer(name="A", order=ORDER),
        Customer(name="A"),
        Open.model_validate({"n": 1, "more": (1, 2)}),
        Parcel(1.5, "y"),
        Account.Inner(3),
        [Customer(name="A", order=ORDER), {"deep": Point(1, Customer(name="B"))}],
    ],
)
def test_models_come_back_as_themselves(value: Any) -> None:
    assert same(through_the_store(value), value)


def test_a_pydantic_model_knows_which_fields_were_given() -> None:
    assert through_the_store(Customer(name="A")).model_fields_set == {"name"}


def test_a_dataclass_is_made_by_its_constructor_and_keeps_what_that_does_not_take() -> None:
    account = Account(ORDER)
    account.seen.append("x")
    assert through_the_store(account).seen == ["x"]


def test_a_registered_class_is_stored_as_it_says() -> None:
    register_type(Money, encode=lambda money: money.cents, decode=Money)
    try:
        assert through_the_store({"paid": Money(5)}) == {"paid": Money(5)}
        assert readable(stored(Money(5))) == 5
    finally:
        del registry._registered["tests.sdk.models:Money"]


@pytest.fixture
def unknown() -> Iterator[Any]:
    """What is stored of a class that the reader has never heard of."""
    yield {"__type": "object", "class": "not.there:Thing", "fields": {"n": 1, "m": [2]}}
    assert "not" not in sys.modules


def test_an_unknown_class_is_read_as_its_fields(unknown: Any) -> None:
    thing = decode(unknown, Classes())
    assert isinstance(thing, StoredObject)
    assert (thing["n"], dict(thing), len(thing)) == (1, {"n": 1, "m": [2]}, 2)
    assert repr(thing) == "<stored not.there:Thing: {'n': 1, 'm': [2]}>"
    assert encode(thing, name="x", root="x") == unknown, "it is pushed on as it came"


def test_an_attribute_of_an_unknown_class_names_the_cure(unknown: Any) -> None:
    with pytest.raises(
        AttributeError,
        match=r"does not know that class.*import Thing \(of not\.there\) at the top of the DAG "
        r"file, or call register_type\(Thing\); its fields can be read as value\['n'\]",
    ):
        _ = decode(unknown, Classes()).n


def test_stored_data_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap_of_mine.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    value = {"__type": "object", "class": "trap_of_mine:Thing", "fields": {}}
    assert isinstance(decode(value, Classes()), StoredObject)
    assert "trap_of_mine" not in sys.modules


@pytest.mark.parametrize("name", ["subprocess:Popen", "builtins:eval", "os:system", "io:open"])
def test_only_models_are_ever_made(name: str) -> None:
    value = {"__type": "object", "class": name, "fields": {"args": "true"}}
    assert isinstance(decode(value, Classes()), StoredObject)


def test_the_reading_file_comes_before_what_else_is_loaded() -> None:
    """A warm worker holds other versions of the same file."""
    newer = ModuleType("shop")
    exec("from typing import NamedTuple\nclass P(NamedTuple):\n  x: int", vars(newer))
    mine = dict(vars(newer))
    exec("class P(NamedTuple):\n  x: int", mine)
    sys.modules["shop"] = newer
    try:
        kept = stored(newer.P(1))
        assert type(decode(kept, Classes())) is newer.P
        assert type(decode(kept, Classes(lambda: mine))) is mine["P"]
        assert type(decode(kept, Classes(lambda: {"__name__": "dag", "P": mine["P"]}))) is mine["P"]
    finally:
        del sys.modules["shop"]
    module = {"__name__": "dag", "shop": newer}
    assert type(decode(kept, Classes(lambda: module))) is newer.P
    plain = decode(kept, Classes())
    assert (plain, plain.x) == ((1,), 1), "an unknown named tuple is one all the same"


def test_a_member_of_an_unknown_text_enum_is_its_text() -> None:
    value = {**stored(Size.SMALL), "class": "gone:Size"}
    assert decode(value, Classes()) == "s"
    assert isinstance(decode({**stored(Colour.RED), "class": "gone:C"}, Classes()), StoredObject)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"__type": "object", "class": "tests.sdk.models:Order", "fields": {"no": 1}},
            "a stored Order does not fit the class as it is now: TypeError: it has no field 'no'",
        ),
        (
            {"__type": "object", "class": "tests.sdk.models:Order", "fields": {"number": 1}},
            "missing 1 required positional argument: 'total'",
        ),
        (
            {"__type": "object", "class": "tests.sdk.models:Customer", "fields": {}},
            "its field 'name' is required; run the task that pushed it again",
        ),
        (
            {"__type": "enum", "class": "tests.sdk.models:Size", "name": "BIG", "value": "b"},
            "the Enum Size no longer has a member 'BIG'",
        ),
        ({"__type": "hologram"}, "of type 'hologram', which this version does not know"),
        ({"__type": "decimal", "value": "x"}, "a stored value of type 'decimal' cannot be read"),
        ({"__type": ["x"]}, "cannot be read"),
    ],
)
def test_what_cannot_be_read_says_why(value: Any, message: str) -> None:
    with pytest.raises(TaskException) as error:
        decode(value, Classes())
    assert message in str(error.value)


# --- numpy, pandas, pendulum


ARRAYS = [
    np.array([[1, 2], [3, 4]], dtype="int16"),
    np.array([1.5, float("nan"), float("inf")], dtype="float32"),
    np.array([1 + 2j]),
    np.zeros((0, 3)),
    np.array(7),
    np.array(["a", "bc"]),
    np.array([b"a", b"bc"]),
    np.array([True, False]),
    np.array(["2024-01-01T00:00:00.123456789", "NaT"], dtype="datetime64[ns]"),
    np.array([5, -1], dtype="timedelta64[s]"),
    np.array([1, 2, 3], dtype=">u8"),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}-{array.shape}")
def test_numpy_arrays(array: Any) -> None:
    back = through_the_store(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


def test_numpy_arrays_of_objects() -> None:
    array = np.empty((2, 1), dtype=object)
    array[0, 0], array[1, 0] = [1, 2], Decimal(3)
    back = through_the_store(array)
    assert (back.shape, back[0, 0], back[1, 0]) == ((2, 1), [1, 2], Decimal(3))


@pytest.mark.parametrize(
    "scalar",
    [
        *(np.int8(1), np.float64(1.5), np.float32(0.1), np.bool_(True), np.str_("x")),
        *(np.datetime64("2024-01-01T00:00:01"), np.timedelta64(3, "h"), np.complex128(1j)),
    ],
    ids=repr,
)
def test_numpy_scalars(scalar: Any) -> None:
    assert same(through_the_store([scalar]), [scalar])


FRAMES = {
    "plain": pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, float("nan")]}),
    "times": pd.DataFrame(
        {
            "naive": pd.DatetimeIndex(["2024-01-01", "NaT"]),
            "zoned": pd.DatetimeIndex(["2024-10-27T00:30Z", "NaT"], tz="UTC").tz_convert(BERLIN),
            "span": pd.to_timedelta(["1s", None]),
        }
    ),
    "own types": pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "b": pd.array([True, None], dtype="boolean"),
            "c": pd.Categorical(["x", None], categories=["y", "x"], ordered=True),
            "o": pd.Series([{"k": (1,)}, Decimal(1)], dtype=object),
        }
    ),
    "indexed": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key")),
    "two levels": pd.DataFrame(
        [[1, 2]],
        index=pd.MultiIndex.from_tuples([("x", 1)], names=["k", "n"]),
        columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]),
    ),
    "same names": pd.DataFrame([[1, "x"]], columns=["a", "a"]),
    "numbered": pd.DataFrame([[1, 2], [3, 4]]),
    "empty": pd.DataFrame({"a": pd.Series([], dtype="int64")}),
    "no columns": pd.DataFrame(index=[1, 2]),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_data_frames(frame: Any) -> None:
    pd.testing.assert_frame_equal(through_the_store(frame), frame)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_series_and_indexes(frame: Any) -> None:
    pd.testing.assert_index_equal(through_the_store(frame.index), frame.index)
    for number in range(frame.shape[1]):
        series = frame.iloc[:, number]
        pd.testing.assert_series_equal(through_the_store(series), series)


def test_people_read_a_data_frame_by_rows() -> None:
    assert readable(stored(FRAMES["plain"])) == [
        {"a": 1, "b": "x", "c": 1.5},
        {"a": 2, "b": None, "c": None},
    ]
    assert readable(stored(FRAMES["numbered"])) == [{"0": 1, "1": 2}, {"0": 3, "1": 4}]
    assert readable(stored(FRAMES["two levels"])) == [{"a b": 1, "a c": 2}]


@pytest.mark.parametrize(
    "value",
    [
        pd.Timestamp("2024-10-27T00:30:00.123456789Z").tz_convert("Europe/Berlin"),
        pd.Timestamp("2024-01-01"),
        pd.Timedelta("-1 days +00:00:00.000000001"),
    ],
)
def test_pandas_instants(value: Any) -> None:
    back = through_the_store(value)
    assert (type(back), back, back.unit) == (type(value), value, value.unit)
    assert getattr(back, "tz", None) == getattr(value, "tz", None)


def test_what_pandas_has_for_nothing() -> None:
    assert through_the_store([pd.NaT]) == [pd.NaT]
    assert through_the_store([pd.NA])[0] is pd.NA


@pytest.mark.parametrize(
    "value",
    [
        pendulum.datetime(2024, 10, 27, 2, 30, tz="Europe/Berlin"),
        pendulum.datetime(2024, 1, 1),
        pendulum.naive(2024, 1, 1),
        pendulum.parse("2024-01-01T00:00:00+03:00"),
        pendulum.date(2024, 1, 1),
        pendulum.time(1, 2, 3),
    ],
    ids=str,
)
def test_pendulums_instants(value: Any) -> None:
    back = through_the_store(value)
    assert (type(back), back) == (type(value), value)
    assert str(back) == str(value)


def test_neither_library_is_imported_for_values_that_need_none() -> None:
    script = (
        "import sys; from orchestrator.sdk.serialization import *;"
        "from orchestrator.sdk.classes import Classes; from decimal import Decimal;"
        "decode(encode([1, Decimal(1), {(1,): b''}], name='x', root='x'), Classes());"
        "print(sorted({'numpy', 'pandas', 'pendulum', 'pydantic', 'attr'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert answer.stdout.strip() == b"[]"


# --- what cannot be stored


def local_class() -> Any:
    from dataclasses import dataclass

    @dataclass
    class Here:
        x: int

    return Here(1)


def endless() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "value is of type object, which no registry knows; return dict, list, str"),
        ({"rows": [0, 1, 2, iter([])]}, "value['rows'][3] is of type list_iterator"),
        ((x for x in [1]), "value is of type generator, which no registry knows; return list("),
        ({1: {"a": range(3)}}, "value[1]['a'] is of type range, which no registry knows; return l"),
        ({(1, 2): print}, "value['(1, 2)'] is of type builtin_function_or_method"),
        ({"a": {object()}}, "value['a'][0] is of type object"),
        (Account(ORDER, deque()), "value['balance'] is of type deque, which no registry knows; r"),
        (local_class(), "value is of class local_class.<locals>.Here, defined inside a function"),
        (endless(), "value is nested deeper than 100 levels, or contains itself"),
        ([1 << 20_000], "value[0] is an integer of 20,001 bits; return hex(value)"),
        (np.array([(1, 2)], dtype="i4,i4"), "value has the type [('f0', '<i4'), ('f1', '<i4')]"),
        (np.array([1], dtype="longdouble"), "too wide for JSON; use value.astype(float)"),
        (np.ma.masked_array([1], [True]), "value is of type MaskedArray, which no registry kno"),
        (np.array([object()]), "value['ravel()'][0] is of type object"),
        (pd.Series([pd.Period("2024")]), "value has a column of type period[Y-DEC]; use column.a"),
        (pd.DataFrame({"o": [1, object()]}), "value['o, row 1'] is of type object"),
        (Money(1), "or tell how with register_type(Money, encode=..., decode=...)"),
    ],
)
def test_what_cannot_be_stored_is_told_with_its_place_and_a_cure(value: Any, message: str) -> None:
    with pytest.raises(UnstorableError) as error:
        encode(value, name="XCom 'k' of task 't'", root="value")
    assert str(error.value).startswith("XCom 'k' of task 't' cannot be stored: value")
    assert message in str(error.value)


def test_text_that_is_no_unicode_is_refused() -> None:
    value = encode(["\ud800"], name="x", root="x")
    with pytest.raises(UnstorableError, match="x cannot be stored: it holds text that is not va"):
        encoded_size(value, name="x")
    assert encoded_size({"a": "ü"}, name="x") == len(msgspec.json.encode({"a": "ü"}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cls": 3}, "register_type: 3 is no class"),
        ({"cls": Money}, "neither a dataclass nor a pydantic or attrs model, named tuple or Enum"),
        ({"cls": Money, "encode": str}, "register_type(Money): decode= is missing; give both"),
        ({"cls": Money, "decode": str}, "register_type(Money): encode= is missing; give both"),
    ],
)
def test_a_wrong_registration_is_told_where_it_is_written(
    arguments: dict[str, Any], message: str
) -> None:
    cls = arguments.pop("cls")
    with pytest.raises(DagInvalidError) as error:
        register_type(cls, **arguments)
    assert message in str(error.value)
    assert "test_serialization.py" in str(error.value)


def test_a_class_in_a_function_can_be_registered() -> None:
    value = local_class()
    register_type(type(value))
    try:
        assert same(through_the_store(value), value)
    finally:
        del registry._registered[f"{__name__}:local_class.<locals>.Here"]


def test_models_module_is_what_the_names_say() -> None:
    assert Classes(lambda: vars(models)).find("tests.sdk.models:Account.Inner") is Account.Inner
