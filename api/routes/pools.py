"""Pools: limits on what runs at a time."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.bulk import Entities, change_in_bulk
from api.context import Context
from api.masks import UpdateMask, changes_of
from api.parameters import PoolQuery, text_match
from api.problems import problem
from api.schemas.bulk import BulkBody, BulkResponse
from api.schemas.services import (
    PoolBody,
    PoolCollection,
    PoolPatchBody,
    PoolResponse,
    pool_response,
)
from orchestrator.bootstrap import Services
from orchestrator.core.specs import DEFAULT_POOL
from orchestrator.core.views import PoolView
from orchestrator.errors import NotFoundError

__all__ = ["router"]

router = APIRouter(prefix="/pools", tags=["Pool"])

CHANGEABLE = ("slots", "description", "include_deferred", "queue")
_NEVER_NULL = ("slots", "include_deferred")
_ACCEPTED = ("pool", "name", "team_name")


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
    return pool_response(_create(context, body))


@router.patch("")
def bulk_pools(context: Context, body: BulkBody[PoolBody]) -> BulkResponse:
    """Make, change and remove many pools; the answer says how each went."""
    return change_in_bulk(
        body,
        Entities(
            kind="pools",
            name_of=lambda each: each.name,
            exists=lambda name: _exists(context, name),
            create=lambda each: _create(context, each),
            overwrite=lambda each: context.control.update_pool(
                each.name, each.model_dump(include={*CHANGEABLE})
            ),
            update=lambda each, mask: _change(context, each.name, each, mask),
            delete=context.control.delete_pool,
        ),
    )


@router.patch("/{pool_name}", response_model=PoolResponse)
def patch_pool(
    context: Context,
    pool_name: str,
    body: PoolPatchBody,
    update_mask: UpdateMask = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """Change a pool; what the body leaves out, or the mask does not name, stays."""
    if body.pool is not None and body.pool != pool_name:
        return problem(400, "the pool of the path and the one of the body differ")
    return pool_response(_change(context, pool_name, body, update_mask))


@router.delete("/{pool_name}", status_code=204, response_model=None)
def delete_pool(context: Context, pool_name: str) -> Any:
    """Remove a pool. What names it waits, and says so, until it is made again."""
    if pool_name == DEFAULT_POOL:
        return problem(400, f"{DEFAULT_POOL} cannot be deleted: tasks that name no pool are in it")
    context.control.delete_pool(pool_name)
    return Response(status_code=204)


def _create(context: Services, body: PoolBody) -> PoolView:
    return context.control.create_pool(
        body.name,
        slots=body.slots,
        queue=body.queue,
        description=body.description,
        include_deferred=body.include_deferred,
    )


def _change(
    context: Services, name: str, body: PoolBody | PoolPatchBody, update_mask: Sequence[str]
) -> PoolView:
    changes = changes_of(body, update_mask, CHANGEABLE, accepted=_ACCEPTED)
    kept = {
        key: value for key, value in changes.items() if key not in _NEVER_NULL or value is not None
    }
    return context.control.update_pool(name, kept)


def _exists(context: Services, name: str) -> bool:
    try:
        context.reads.pool(name)
    except NotFoundError:
        return False
    return True
