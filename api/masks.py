"""Which fields does a PATCH change? Those its body gives, of those its update_mask names."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel

from orchestrator.errors import RequestInvalidError, did_you_mean

__all__ = ["UpdateMask", "changes_of"]

UpdateMask = Annotated[list[str], Query()]


def changes_of(
    body: BaseModel,
    update_mask: Sequence[str],
    changeable: Collection[str],
    *,
    accepted: Collection[str] = (),
) -> dict[str, Any]:
    """Return what is to change, by the names of the API; without a mask all that the body gives.
    `accepted` may be named too and changes nothing. Raise RequestInvalidError for other names."""
    for name in update_mask:
        if name not in changeable and name not in accepted:
            raise RequestInvalidError(
                f"update_mask names {name[:80]!r}; {', '.join(changeable)} can be changed"
                f"{did_you_mean(name, changeable)}"
            )
    given = body.model_dump(by_alias=True, exclude_unset=True)
    return {
        name: value
        for name, value in given.items()
        if name in changeable and (not update_mask or name in update_mask)
    }
