"""Pools: limits on what runs at a time."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.context import Context
from api.parameters import PoolQuery, text_match
from api.problems import problem
from api.schemas.services import (
    PoolBody,
    PoolCollection,
    PoolPatchBody,
    PoolResponse,
    pool_response,
)
from orchestrator.errors import RequestInvalidError, did_you_mean

__all__ = ["router"]

router = APIRouter(prefix="/pools", tags=["Pool"])

CHANGEABLE = ("slots", "description", "include_deferred", "queue")
_NEVER_NULL = ("slots", "include_deferred")
_MASKABLE = (*CHANGEABLE, "pool", "name", "team_name")


@router.get("")
def get_pools(context: Context, query: Annotated[PoolQuery, Query()]) -> PoolCollection:
    """List pools with their use."""
    match = text_match(query.pool_name_pattern, query.pool_name_prefix_pattern)
    page = context.reads.pools(query.page(), name=match)
    return PoolCollection(
        pools=[pool_response(pool) for pool in page.items], total_entries=page.total
    )


@router.get("/{pool_name}")
def get_pool(context: Context, pool_name: str) -> PoolResponse:
    """Get one pool with its use."""
    return pool_response(context.reads.pool(pool_name))


@router.post("", status_code=201)
def post_pool(context: Context, body: PoolBody) -> PoolResponse:
    """Make a pool."""
    pool = context.control.create_pool(
        body.name,
        slots=body.slots,
        queue=body.queue,
        description=body.description,
        include_deferred=body.include_deferred,
    )
    return pool_response(pool)


@router.patch("/{pool_name}", response_model=PoolResponse)
def patch_pool(
    context: Context,
    pool_name: str,
    body: PoolPatchBody,
    update_mask: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """Change a pool; what the body leaves out, or the mask does not name, stays."""
    if body.pool is not None and body.pool != pool_name:
        return problem(400, "the pool of the path and the one of the body differ")
    for name in update_mask:
        if name not in _MASKABLE:
            raise RequestInvalidError(
                f"update_mask names {name[:80]!r}, which a pool does not have"
                f"{did_you_mean(name, CHANGEABLE)}"
            )
    changes: dict[str, int | str | None] = {}
    for name in CHANGEABLE:
        value = getattr(body, name)
        is_left_out = name not in body.model_fields_set or (value is None and name in _NEVER_NULL)
        if not is_left_out and (not update_mask or name in update_mask):
            changes[name] = value
    return pool_response(context.control.update_pool(pool_name, changes))
