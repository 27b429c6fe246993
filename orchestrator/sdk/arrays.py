"""How do numpy's and pandas' values keep their type?

They are written only where user code has imported these libraries, and read with them; this module
imports neither before it meets such a value.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.core.values import TYPE, VALUE
from orchestrator.sdk.exceptions import TaskException

__all__ = ["decode_array", "encode_array"]

Part = Callable[[Any, str | int], Any]
Read = Callable[[Any], Any]

_NUMBERS = frozenset("biufc")
_EXTENSIONS = frozenset(
    {
        *(f"{sign}{bits}" for sign in ("Int", "UInt") for bits in (8, 16, 32, 64)),
        *("Float32", "Float64", "boolean", "str", "string"),
    }
)
"""pandas' own column types that a list of values and this name restore."""


def encode_array(value: Any, part: Part) -> dict[str, Any] | None:
    """Return a value of numpy or pandas as it is stored, None for any other. Raise ValueError,
    which continues a sentence about the value, for one that cannot be restored."""
    home = type(value).__module__.partition(".")[0]
    if home == "numpy" and "numpy" in sys.modules:
        return _encode_numpy(value, part)
    if home == "pandas" and "pandas" in sys.modules:
        return _encode_pandas(value, part)
    return None


def decode_array(kind: str, stored: Mapping[str, Any], read: Read) -> Any:
    """Return a stored value of numpy or pandas; None for another kind."""
    reader = _READERS.get(kind)
    if reader is None:
        return None
    try:
        return reader(stored, read)
    except ImportError as error:
        raise TaskException(
            f"a stored value is of {kind!r}, and {error.name} is not installed on this worker; "
            "install it, or push plain lists"
        ) from None


# --- numpy


def _encode_numpy(value: Any, part: Part) -> dict[str, Any] | None:
    import numpy as np  # noqa: PLC0415 - it is loaded: the value is one of its own

    if isinstance(value, np.generic):
        array = np.asarray(value)
        return {TYPE: "numpy", "dtype": array.dtype.str, VALUE: _numbers(array, part)}
    if type(value) is not np.ndarray:
        return None
    return {
        TYPE: "ndarray",
        "dtype": value.dtype.str,
        "shape": list(value.shape),
        VALUE: _numbers(value, part),
    }


def _numbers(array: Any, part: Part) -> Any:
    kind = array.dtype.kind
    if kind == "M":
        return array.astype(str).tolist()
    if kind == "m":
        return array.astype("int64").tolist()
    if kind == "O":
        return part(array.ravel().tolist(), "ravel()")
    if kind in "fc" and array.dtype.itemsize > (8 if kind == "f" else 16):
        raise ValueError(f"has the type {array.dtype}, too wide for JSON; use value.astype(float)")
    if kind not in "biufcSU":
        raise ValueError(f"has the type {array.dtype}; return value.tolist(), or its columns")
    return part(array.tolist(), "tolist()")


def _read_numpy(stored: Mapping[str, Any], read: Read) -> Any:
    return _array(stored["dtype"], read(stored[VALUE]))[()]


def _read_ndarray(stored: Mapping[str, Any], read: Read) -> Any:
    import numpy as np  # noqa: PLC0415 - slow to import, and perhaps not installed

    shape, values = stored["shape"], read(stored[VALUE])
    if np.dtype(stored["dtype"]).kind == "O":
        flat = np.empty(len(values), dtype=object)
        flat[:] = values
        return flat.reshape(shape)
    return _array(stored["dtype"], values).reshape(shape)


def _array(dtype: str, values: Any) -> Any:
    import numpy as np  # noqa: PLC0415 - slow to import, and perhaps not installed

    if np.dtype(dtype).kind == "m":
        return np.array(values, dtype="int64").astype(dtype)
    return np.array(values, dtype=dtype)


# --- pandas


def _encode_pandas(value: Any, part: Part) -> dict[str, Any] | None:
    import pandas as pd  # noqa: PLC0415 - it is loaded: the value is one of its own

    if value is pd.NaT or value is pd.NA:
        return {TYPE: "pandas.missing", "name": "NaT" if value is pd.NaT else "NA", VALUE: None}
    if isinstance(value, pd.Timestamp):
        return {TYPE: "pandas.timestamp", **_timestamp(value, part)}
    if isinstance(value, pd.Timedelta):
        return {TYPE: "pandas.timedelta", VALUE: str(value), "unit": value.unit}
    if isinstance(value, pd.DataFrame):
        columns = [value.iloc[:, number] for number in range(value.shape[1])]
        names = list(value.columns)
        return {
            TYPE: "pandas.frame",
            "columns": _encode_index(value.columns, part),
            "index": _encode_index(value.index, part),
            "data": [
                _encode_column(column, _within(part, name))
                for name, column in zip(names, columns, strict=True)
            ],
        }
    if isinstance(value, pd.Series):
        return {
            TYPE: "pandas.series",
            "name": part(value.name, "name"),
            "index": _encode_index(value.index, part),
            **_encode_column(value, part),
        }
    return {TYPE: "pandas.index", **_encode_index(value, part)} if _is_index(value) else None


def _within(part: Part, column: object) -> Part:
    return lambda each, row: part(each, f"{column}, row {row}")


def _is_index(value: Any) -> bool:
    import pandas as pd  # noqa: PLC0415

    return isinstance(value, pd.Index)


def _timestamp(value: Any, part: Part) -> dict[str, Any]:
    zone = None if value.tz is None else part(value.tz, "tz")
    utc = value if value.tz is None else value.tz_convert("UTC")
    return {VALUE: utc.isoformat(), "unit": value.unit, "zone": zone}


def _encode_index(index: Any, part: Part) -> dict[str, Any]:
    import pandas as pd  # noqa: PLC0415

    if isinstance(index, pd.RangeIndex):
        bounds = [index.start, index.stop, index.step]
        return {"range": bounds, "name": part(index.name, "index.name"), VALUE: None}
    if isinstance(index, pd.MultiIndex):
        names = [part(name, "index.names") for name in index.names]
        levels = [
            _encode_column(index.get_level_values(level).to_series(), part)
            for level in range(index.nlevels)
        ]
        return {"levels": levels, "names": names, VALUE: None}
    return {"name": part(index.name, "index.name"), **_encode_column(index.to_series(), part)}


def _encode_column(column: Any, part: Part) -> dict[str, Any]:
    import pandas as pd  # noqa: PLC0415

    dtype, missing = column.dtype, column.isna()
    kind = dtype.kind
    stored: dict[str, Any] = {"dtype": str(dtype)}
    if isinstance(dtype, pd.CategoricalDtype):
        stored |= {
            "dtype": "category",
            "categories": _encode_index(dtype.categories, part),
            "ordered": bool(dtype.ordered),
        }
    elif isinstance(dtype, pd.DatetimeTZDtype):
        stored |= {"dtype": "instant", "unit": dtype.unit, "zone": part(dtype.tz, "dtype.tz")}
        column = column.dt.tz_convert("UTC")
    elif kind in "Mm":
        stored |= {"dtype": "datetime" if kind == "M" else "timedelta", "unit": _unit(dtype)}
    elif kind == "O" and str(dtype) == "object":
        # Whatever stands for a missing value in it is a value of its own.
        return {**stored, VALUE: [part(each, row) for row, each in enumerate(column)]}
    elif not (kind in _NUMBERS and str(dtype) == dtype.name) and str(dtype) not in _EXTENSIONS:
        raise ValueError(f"has a column of type {dtype}; use column.astype(str), or to_numpy()")
    text = str if kind in "Mm" else None
    stored[VALUE] = [
        None if absent else text(each) if text else part(each, row)
        for row, (each, absent) in enumerate(zip(column.tolist(), missing, strict=True))
    ]
    return stored


def _unit(dtype: Any) -> str:
    import numpy as np  # noqa: PLC0415

    return np.datetime_data(dtype)[0]


def _read_column(stored: Mapping[str, Any], read: Read) -> Any:
    import pandas as pd  # noqa: PLC0415 - slow to import, and perhaps not installed

    values, dtype = read(stored[VALUE]), stored["dtype"]
    if dtype == "category":
        categories = _read_index(stored["categories"], read)
        made = pd.Categorical(values, categories=categories, ordered=stored["ordered"])
        return pd.Series(made)
    if dtype == "instant":
        instants = pd.to_datetime(pd.Series(values, dtype=object), utc=True, format="ISO8601")
        return instants.dt.tz_convert(read(stored["zone"])).dt.as_unit(stored["unit"])
    if dtype == "datetime":
        return pd.to_datetime(pd.Series(values, dtype=object), format="ISO8601").dt.as_unit(
            stored["unit"]
        )
    if dtype == "timedelta":
        return pd.to_timedelta(pd.Series(values, dtype=object)).dt.as_unit(stored["unit"])
    return pd.Series(values, dtype=dtype)


def _read_index(stored: Mapping[str, Any], read: Read) -> Any:
    import pandas as pd  # noqa: PLC0415 - slow to import, and perhaps not installed

    if "range" in stored:
        start, stop, step = stored["range"]
        return pd.RangeIndex(start, stop, step, name=read(stored["name"]))
    if "levels" in stored:
        levels = [_read_column(level, read) for level in stored["levels"]]
        return pd.MultiIndex.from_arrays(levels, names=read(stored["names"]))
    return pd.Index(_read_column(stored, read), name=read(stored["name"]))


def _read_series(stored: Mapping[str, Any], read: Read) -> Any:
    series = _read_column(stored, read)
    series.index = _read_index(stored["index"], read)
    series.name = read(stored["name"])
    return series


def _read_frame(stored: Mapping[str, Any], read: Read) -> Any:
    import pandas as pd  # noqa: PLC0415 - slow to import, and perhaps not installed

    index = _read_index(stored["index"], read)
    columns = {number: _read_column(each, read) for number, each in enumerate(stored["data"])}
    frame = pd.DataFrame(columns, index=None if columns else index)
    frame.index = index
    frame.columns = _read_index(stored["columns"], read)
    return frame


def _read_timestamp(stored: Mapping[str, Any], read: Read) -> Any:
    import pandas as pd  # noqa: PLC0415 - slow to import, and perhaps not installed

    value = pd.Timestamp(stored[VALUE]).as_unit(stored["unit"])
    return value if stored["zone"] is None else value.tz_convert(read(stored["zone"]))


def _read_timedelta(stored: Mapping[str, Any], _read: Read) -> Any:
    import pandas as pd  # noqa: PLC0415 - slow to import, and perhaps not installed

    return pd.Timedelta(stored[VALUE]).as_unit(stored["unit"])


def _read_missing(stored: Mapping[str, Any], _read: Read) -> Any:
    import pandas as pd  # noqa: PLC0415 - slow to import, and perhaps not installed

    return pd.NaT if stored["name"] == "NaT" else pd.NA


_READERS: Mapping[str, Callable[[Mapping[str, Any], Read], Any]] = {
    "numpy": _read_numpy,
    "ndarray": _read_ndarray,
    "pandas.frame": _read_frame,
    "pandas.index": _read_index,
    "pandas.missing": _read_missing,
    "pandas.series": _read_series,
    "pandas.timedelta": _read_timedelta,
    "pandas.timestamp": _read_timestamp,
}
