"""What can an operator class be called with?"""

import inspect
from collections.abc import Collection, Mapping
from functools import cache

from orchestrator.errors import did_you_mean
from orchestrator.sdk.arguments import Subject

__all__ = ["Signature", "accepted_arguments", "missing_arguments", "signature_of"]

_VARIADIC = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


class Signature:
    """The arguments of an operator class, its base classes' included."""

    def __init__(self, cls: type) -> None:
        self.cls_name = cls.__name__
        self.required: list[str] = []
        names: set[str] = set()
        self.is_open = True
        first = True
        for owner in cls.__mro__:
            if "__init__" not in vars(owner) or not self.is_open or owner is object:
                continue
            parameters = list(inspect.signature(vars(owner)["__init__"]).parameters.values())[1:]
            self.is_open = any(each.kind is each.VAR_KEYWORD for each in parameters)
            named = [each for each in parameters if each.kind not in _VARIADIC]
            names.update(each.name for each in named)
            if first:
                self.required = [each.name for each in named if each.default is each.empty]
                first = False
        self.names = frozenset(names)

    def check(self, kwargs: Mapping[str, object], subject: Subject) -> None:
        """Refuse a call that Python would refuse with less to say."""
        for name in self.required:
            if name not in kwargs:
                raise subject.error(f"missing argument {name!r} of {self.cls_name}")
        for name in kwargs:
            if not self.is_open and name not in self.names:
                raise subject.error(
                    f"unknown argument {name!r} of {self.cls_name}{did_you_mean(name, self.names)}"
                )


@cache
def signature_of(cls: type) -> Signature:
    """Return the signature of an operator class."""
    return Signature(cls)


def accepted_arguments(cls: type) -> frozenset[str]:
    """Return the names of the arguments that an operator takes, its base classes' included."""
    return signature_of(cls).names


def missing_arguments(cls: type, given: Collection[str]) -> list[str]:
    """Return the arguments that an operator must be given and is not."""
    return [name for name in signature_of(cls).required if name not in given]
