"""Which of the author's own classes keep their type when stored, and how is a class found again?

Dataclasses, pydantic and attrs models, named tuples and Enums are stored by the names of their
fields, together with the name of their class. The name is looked up among what the reading DAG file
has imported, what was given to `register_type`, and the modules that are loaded; it is never
imported. What is not found is read as a `StoredObject`.
"""

from __future__ import annotations

import collections
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cached_property
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from orchestrator.core.values import TYPE, VALUE
from orchestrator.sdk.callsite import invalid
from orchestrator.sdk.exceptions import TaskException

if TYPE_CHECKING:
    from orchestrator.sdk.dag import DAG

__all__ = ["Classes", "StoredObject", "class_fields", "classes_of", "encoder_of", "register_type"]

_C = TypeVar("_C", bound=type)
Part = Callable[[Any, str | int], Any]
"""Writes a part of a value, found under a key or position of it."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Registered:
    cls: type
    encode: Callable[[Any], Any] | None
    decode: Callable[[Any], Any] | None


_registered: dict[str, _Registered] = {}


def register_type(
    cls: _C,
    *,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> _C:
    """Let values of a class keep their type when tasks return or push them.

    `encode` turns one into a value that can be stored, `decode` turns that into one again. Models
    (dataclasses, pydantic, attrs, named tuples, Enums) need neither, and need not be registered
    but where a DAG file that reads them does not import their class. Usable as a decorator.
    """
    if not isinstance(cls, type):
        raise invalid("register_type", f"{cls!r} is no class")
    if (encode is None) != (decode is None):
        missing = "decode" if decode is None else "encode"
        raise invalid(f"register_type({cls.__name__})", f"{missing}= is missing; give both")
    if encode is None and _kind_of(cls) is None:
        raise invalid(
            f"register_type({cls.__name__})",
            "it is neither a dataclass nor a pydantic or attrs model, named tuple or Enum; give "
            "encode= and decode=",
        )
    _registered[_name_of(cls)] = _Registered(cls, encode, decode)
    return cls


class StoredObject(Mapping[str, Any]):
    """An object whose class the reading DAG does not know: its fields by name, as in a dict."""

    __slots__ = ("_fields", "stored")

    def __init__(self, stored: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
        self.stored = stored
        """As it was pushed; so it is pushed on."""
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __hash__(self) -> int:
        return hash(msgspec.json.encode(self.stored))

    def __repr__(self) -> str:
        return f"<stored {self.stored['class']}: {dict(self._fields)!r}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # Python itself asks, and takes this for a no
        module, _, qualname = self.stored["class"].partition(":")
        raise AttributeError(
            f"this is a stored {qualname}, and the DAG file does not know that class, so it has no "
            f"attribute {name!r}: import {qualname} (of {module}) at the top of the DAG file, or "
            f"call register_type({qualname}); its fields can be read as value[{name!r}]"
        )


class Classes:
    """Finds classes by their stored name, among what is there already."""

    def __init__(self, scope: Callable[[], Mapping[str, Any]] = dict) -> None:
        """`scope`: asked once for the globals of the DAG file that reads, at its version."""
        self._ask_scope = scope
        self._found: dict[str, type | None] = {}

    def find(self, name: str) -> type | None:
        """Return the class of that name, or None."""
        if name not in self._found:
            self._found[name] = self._look_for(name)
        return self._found[name]

    @cached_property
    def _scope(self) -> Mapping[str, Any]:
        return self._ask_scope()

    def _look_for(self, name: str) -> type | None:
        module, _, qualname = name.partition(":")
        top, *rest = qualname.split(".")
        # A warm worker may hold several versions of a module: what this file imported comes first.
        for names in self._namespaces(module):
            found = names.get(top)
            for step in rest:
                found = getattr(found, step, None)
            if isinstance(found, type) and _name_of(found) == name and _kind_of(found):
                return found
        return None

    def _namespaces(self, module: str) -> Iterator[Mapping[str, Any]]:
        if self._scope.get("__name__") == module:
            yield self._scope
        for value in list(self._scope.values()):
            if isinstance(value, type) and value.__module__ == module:
                yield {value.__name__: value}
            elif isinstance(value, ModuleType) and value.__name__ == module:
                yield vars(value)
            elif isinstance(value, FunctionType) and value.__module__ == module:
                yield value.__globals__
        loaded = sys.modules.get(module)
        if loaded is not None:
            yield vars(loaded)


def classes_of(dag: DAG | None) -> Classes:
    """Return the finder of classes for values that a DAG's tasks read."""
    return Classes(lambda: {} if dag is None else _globals_of(dag))


def _globals_of(dag: DAG) -> Mapping[str, Any]:
    """The globals of a DAG's file: by one of its functions, for several versions of the file may be
    loaded, else by its module."""
    for task in dag.tasks:
        function = getattr(task, "python_callable", None)
        if isinstance(function, FunctionType) and function.__code__.co_filename == dag.fileloc:
            return function.__globals__
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == dag.fileloc:
            return vars(module)
    return {}


# --- writing


def encoder_of(value: Any) -> Callable[[Part], Any] | None:
    """Return what writes a value of an author's class, given what writes its parts; None for other
    values. It raises ValueError, saying why, for one that nobody could read again."""
    cls = type(value)
    known = _registered.get(_name_of(cls))
    if known is not None and known.cls is cls and known.encode is not None:
        encode = known.encode
        return lambda part: {
            TYPE: "object",
            "class": _name_of(cls),
            VALUE: part(encode(value), "encode(value)"),
        }
    fields_of = _kind_of(cls)
    if fields_of is None:
        return None

    def write(part: Part) -> dict[str, Any]:
        if "<locals>" in cls.__qualname__ and known is None:
            raise ValueError(
                f"is of class {cls.__qualname__}, defined inside a function, where no other task "
                f"finds it; move the class to the top of its file, or call "
                f"register_type({cls.__name__})"
            )
        return {TYPE: "object", "class": _name_of(cls), **fields_of(value, part)}

    return write


def _name_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _kind_of(cls: type) -> Callable[[Any, Part], dict[str, Any]] | None:
    """What takes an object of a class of models apart; None for any other class."""
    if issubclass(cls, Enum):
        return _enum_fields
    if issubclass(cls, tuple):
        return _tuple_fields if hasattr(cls, "_fields") else None
    if "__dataclass_fields__" in cls.__dict__ or dataclasses.is_dataclass(cls):
        return _dataclass_fields
    if hasattr(cls, "__pydantic_fields_set__") and hasattr(cls, "model_fields"):
        return _pydantic_fields
    return _attrs_fields if hasattr(cls, "__attrs_attrs__") else None


def _enum_fields(value: Enum, part: Part) -> dict[str, Any]:
    stored = {TYPE: "enum", "name": value.name, VALUE: part(value.value, "value")}
    return {**stored, "plain": True} if isinstance(value, str | int | float) else stored


def _tuple_fields(value: Any, part: Part) -> dict[str, Any]:
    fields = {name: part(each, name) for name, each in zip(value._fields, value, strict=True)}
    return {TYPE: "namedtuple", "fields": fields}


def _dataclass_fields(value: Any, part: Part) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(value)]
    return {"fields": {name: part(getattr(value, name), name) for name in names}}


def _pydantic_fields(value: Any, part: Part) -> dict[str, Any]:
    values = {**value.__dict__, **(value.__pydantic_extra__ or {})}
    return {
        "fields": {name: part(each, name) for name, each in values.items()},
        "set": sorted(value.__pydantic_fields_set__),
    }


def _attrs_fields(value: Any, part: Part) -> dict[str, Any]:
    names = [field.name for field in type(value).__attrs_attrs__]
    return {"fields": {name: part(getattr(value, name), name) for name in names}}


# --- reading


def class_fields(stored: Mapping[str, Any], read: Callable[[Any], Any], classes: Classes) -> Any:
    """Return a stored object of an author's class; a StoredObject, a plain named tuple or a plain
    Enum value where its class is not known. Raise TaskException when the class has changed."""
    name = stored["class"]
    known = _registered.get(name)
    if "fields" not in stored and stored[TYPE] == "object":
        if known is not None and known.decode is not None:
            return known.decode(read(stored[VALUE]))
        return StoredObject(stored, {VALUE: read(stored[VALUE])})
    cls = classes.find(name) or (known.cls if known else None)
    if stored[TYPE] == "enum":
        return _read_enum(stored, read(stored[VALUE]), cls)
    fields = {field: read(value) for field, value in stored["fields"].items()}
    if stored[TYPE] == "namedtuple":
        return _read_tuple(name, fields, cls)
    if cls is None:
        return StoredObject(stored, fields)
    try:
        return _rebuild(cls, fields, stored.get("set"))
    except Exception as error:
        raise TaskException(
            f"a stored {cls.__qualname__} does not fit the class as it is now: "
            f"{type(error).__name__}: {error}; run the task that pushed it again"
        ) from error


def _read_enum(stored: Mapping[str, Any], value: Any, cls: type | None) -> Any:
    if cls is None:
        # A member of a StrEnum or IntEnum equals its value; of another, nothing does.
        fields = {"name": stored["name"], VALUE: value}
        return value if stored.get("plain") else StoredObject(stored, fields)
    assert issubclass(cls, Enum)
    member = cls.__members__.get(stored["name"])
    if member is not None:
        return member
    try:
        return cls(value)
    except ValueError:
        raise TaskException(
            f"the Enum {cls.__qualname__} no longer has a member {stored['name']!r}; run the task "
            "that pushed it again"
        ) from None


def _read_tuple(name: str, fields: Mapping[str, Any], cls: type | None) -> Any:
    if cls is None or getattr(cls, "_fields", None) != tuple(fields):
        make: Any = collections.namedtuple
        return make(name.rpartition(":")[2].rpartition(".")[2], fields)(**fields)
    return tuple.__new__(cls, fields.values())


def _rebuild(cls: type, fields: dict[str, Any], set_: list[str] | None) -> Any:
    if hasattr(cls, "model_construct"):
        model: Any = cls
        unknown = set(fields) - set(model.model_fields)
        if unknown and model.model_config.get("extra") != "allow":
            raise TypeError(f"it has no field {min(unknown)!r}")
        missing = [
            name
            for name, field in model.model_fields.items()
            if field.is_required() and name not in fields
        ]
        if missing:
            raise TypeError(f"its field {missing[0]!r} is required")
        return model.model_construct(_fields_set=set(set_ or ()), **fields)
    if dataclasses.is_dataclass(cls):
        known = {field.name: (field.name, field.init) for field in dataclasses.fields(cls)}
    else:
        attributes: Any = cls
        known = {each.name: (each.alias, each.init) for each in attributes.__attrs_attrs__}
    unknown = set(fields) - set(known)
    if unknown:
        raise TypeError(f"it has no field {min(unknown)!r}")
    given = {known[name][0]: value for name, value in fields.items() if known[name][1]}
    made = cls(**given)
    for name, value in fields.items():
        if not known[name][1]:
            object.__setattr__(made, name, value)
    return made
