"""Connections: how tasks reach other services. Their secrets are written here and never read."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.bulk import Entities, change_in_bulk
from api.context import Context
from api.masks import UpdateMask, changes_of
from api.parameters import ConnectionQuery, text_match
from api.problems import problem
from api.schemas.bulk import BulkBody, BulkResponse
from api.schemas.secrets import (
    ConnectionBody,
    ConnectionCollection,
    ConnectionPatchBody,
    ConnectionResponse,
    connection_response,
)
from orchestrator.bootstrap import Services
from orchestrator.errors import SettingsError

__all__ = ["router"]

router = APIRouter(prefix="/connections", tags=["Connection"])

CHANGEABLE = (
    *("conn_type", "description", "host", "port", "login", "schema", "password", "extra"),
)
_ACCEPTED = ("connection_id", "team_name")
_NO_TESTS = (
    "testing a Connection is not allowed here: it would have this server call whatever address "
    "the Connection names; run a task that uses it instead"
)


@router.get("")
def get_connections(
    context: Context, query: Annotated[ConnectionQuery, Query()]
) -> ConnectionCollection:
    """List Connections; their secrets read ***."""
    match = text_match(query.connection_id_pattern, query.connection_id_prefix_pattern)
    page = context.stored_secrets.connections(query.page(), conn_id=match)
    return ConnectionCollection(
        connections=[connection_response(seen) for seen in page.items], total_entries=page.total
    )


@router.post("", status_code=201)
def post_connection(context: Context, body: ConnectionBody) -> ConnectionResponse:
    """Make a Connection."""
    context.secrets.create_connection(body.connection_id, _all_of(body), user=None)
    return _seen(context, body.connection_id)


@router.patch("")
def bulk_connections(context: Context, body: BulkBody[ConnectionBody]) -> BulkResponse:
    """Make, change and remove many Connections; the answer says how each went."""
    return change_in_bulk(
        body,
        Entities(
            kind="Connections",
            name_of=lambda each: each.connection_id,
            exists=lambda conn_id: _exists(context, conn_id),
            create=lambda each: context.secrets.create_connection(
                each.connection_id, _all_of(each), user=None
            ),
            overwrite=lambda each: context.secrets.change_connection(
                each.connection_id, _all_of(each), user=None
            ),
            update=lambda each, mask: _change(context, each.connection_id, each, mask),
            delete=context.secrets.delete_connection,
        ),
    )


@router.post("/test", response_model=None, status_code=403)
def test_connection() -> Any:
    """Refuse to test a Connection from this server."""
    return problem(403, _NO_TESTS)


@router.post("/enqueue-test", response_model=None, status_code=403)
def enqueue_connection_test() -> Any:
    """Refuse to have a worker test a Connection."""
    return problem(403, _NO_TESTS)


@router.get("/enqueue-test", response_model=None, status_code=403)
def get_connection_test() -> Any:
    """Refuse to say how a test went: there are none."""
    return problem(403, _NO_TESTS)


@router.get("/{connection_id:path}")
def get_connection(context: Context, connection_id: str) -> ConnectionResponse:
    """Get one Connection; its secrets read ***."""
    return _seen(context, connection_id)


@router.patch("/{connection_id:path}", response_model=ConnectionResponse)
def patch_connection(
    context: Context,
    connection_id: str,
    body: ConnectionPatchBody,
    update_mask: UpdateMask = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """Change a Connection; what the body leaves out, says as ***, or the mask does not name,
    stays."""
    if body.connection_id is not None and body.connection_id != connection_id:
        return problem(400, "the connection_id of the path and the one of the body differ")
    _change(context, connection_id, body, update_mask)
    return _seen(context, connection_id)


@router.delete("/{connection_id:path}", status_code=204)
def delete_connection(context: Context, connection_id: str) -> None:
    """Remove a Connection."""
    context.secrets.delete_connection(connection_id)


def _change(
    context: Services,
    conn_id: str,
    body: ConnectionBody | ConnectionPatchBody,
    update_mask: Sequence[str],
) -> None:
    changes = changes_of(body, update_mask, CHANGEABLE, accepted=_ACCEPTED)
    context.secrets.change_connection(conn_id, changes, user=None)


def _all_of(body: ConnectionBody) -> dict[str, Any]:
    return body.model_dump(by_alias=True, exclude={*_ACCEPTED})


def _seen(context: Services, conn_id: str) -> ConnectionResponse:
    return connection_response(context.stored_secrets.connection(conn_id))


def _exists(context: Services, conn_id: str) -> bool:
    try:
        return context.stored_secrets.connection_fields(conn_id) is not None
    except SettingsError:  # it is there, and its key is missing
        return True
