"""How many changes in one request look, and the answer that says how each of them went."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictStr
from pydantic import model_validator as validates

__all__ = [
    "BulkActionResponse",
    "BulkBody",
    "BulkCreate",
    "BulkDelete",
    "BulkResponse",
    "BulkUpdate",
]

ENTITIES_MAX = 5000
"""Each is a transaction of its own: a request that takes seconds, not minutes."""
_STRICT = ConfigDict(extra="forbid")
E = TypeVar("E", bound=BaseModel)


class BulkCreate(BaseModel, Generic[E]):
    """Make these; `action_on_existence` says what becomes of one whose name is taken."""

    model_config = _STRICT

    action: Literal["create"]
    entities: list[E]
    action_on_existence: Literal["fail", "skip", "overwrite"] = "fail"


class BulkUpdate(BaseModel, Generic[E]):
    """Change these, in the fields that `update_mask` names, or in all that are given."""

    model_config = _STRICT

    action: Literal["update"]
    entities: list[E]
    update_mask: list[StrictStr] | None = None
    action_on_non_existence: Literal["fail", "skip"] = "fail"


class BulkDelete(BaseModel, Generic[E]):
    """Remove these, named by themselves or by their names."""

    model_config = _STRICT

    action: Literal["delete"]
    entities: list[StrictStr | E]
    action_on_non_existence: Literal["fail", "skip"] = "fail"


class BulkBody(BaseModel, Generic[E]):
    """Changes, carried out in this order."""

    model_config = _STRICT

    actions: list[
        Annotated[BulkCreate[E] | BulkUpdate[E] | BulkDelete[E], Field(discriminator="action")]
    ]

    @validates(mode="after")
    def _is_limited(self) -> "BulkBody[E]":
        asked = sum(len(action.entities) for action in self.actions)
        if asked > ENTITIES_MAX:
            raise ValueError(f"{asked} entities in one request; {ENTITIES_MAX} are allowed")
        return self


class BulkActionResponse(BaseModel):
    """The names of what was done, and what was not, with the reason."""

    success: list[str] = []
    errors: list[dict[str, Any]] = []


class BulkResponse(BaseModel):
    """How each kind of change went; null for a kind that was not asked for."""

    create: BulkActionResponse | None = None
    update: BulkActionResponse | None = None
    delete: BulkActionResponse | None = None
