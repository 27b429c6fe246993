"""Classes of an author's that the serialization tests store."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from typing import Any, NamedTuple

import attrs
from pydantic import BaseModel


class Colour(Enum):
    RED = (255, 0, 0)
    BLUE = (0, 0, 255)


class Size(StrEnum):
    SMALL = "s"


class Level(IntEnum):
    LOW = 1


class Rights(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: Any = None


@dataclass(frozen=True, slots=True)
class Order:
    number: int
    total: Decimal
    tags: tuple[str, ...] = ()


@dataclass
class Account:
    """It counts what its constructor is told, and keeps what is no argument of it."""

    owner: Order
    balance: Any = None
    seen: list[str] = field(default_factory=list, init=False)

    class Inner(NamedTuple):
        z: int


class Customer(BaseModel):
    name: str
    order: Order | None = None
    colour: Colour = Colour.RED


class Open(BaseModel, extra="allow"):
    n: int = 0


@attrs.define
class Parcel:
    weight: float
    _label: str = "x"


class Money:
    """No model: it must be told how to store it."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return self.cents
