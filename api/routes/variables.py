"""Variables: texts that DAGs read by their keys."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.bulk import Entities, change_in_bulk
from api.context import Context
from api.masks import UpdateMask, changes_of
from api.parameters import VariableQuery, text_match
from api.problems import problem
from api.schemas.bulk import BulkBody, BulkResponse
from api.schemas.secrets import (
    VariableBody,
    VariableCollection,
    VariablePatchBody,
    VariableResponse,
    variable_response,
)
from orchestrator.bootstrap import Services
from orchestrator.errors import ConflictError, SettingsError

__all__ = ["router"]

router = APIRouter(prefix="/variables", tags=["Variable"])

CHANGEABLE = ("value", "description")
_ACCEPTED = ("key", "team_name")


@router.get("")
def get_variables(context: Context, query: Annotated[VariableQuery, Query()]) -> VariableCollection:
    """List Variables; a value that is secret by its key reads ***."""
    match = text_match(query.variable_key_pattern, query.variable_key_prefix_pattern)
    page = context.stored_secrets.variables(query.page(), key=match)
    return VariableCollection(
        variables=[variable_response(seen) for seen in page.items], total_entries=page.total
    )


@router.post("", status_code=201, response_model=VariableResponse)
def post_variable(context: Context, body: VariableBody) -> Any:
    """Make a Variable."""
    try:
        _create(context, body)
    except ConflictError as error:
        return problem(409, str(error))  # here Airflow's detail is a text, elsewhere an object
    return _seen(context, body.key)


@router.patch("")
def bulk_variables(context: Context, body: BulkBody[VariableBody]) -> BulkResponse:
    """Make, change and remove many Variables; the answer says how each went."""
    return change_in_bulk(
        body,
        Entities(
            kind="Variables",
            name_of=lambda each: each.key,
            exists=lambda key: _exists(context, key),
            create=lambda each: _create(context, each),
            overwrite=lambda each: context.secrets.change_variable(
                each.key, {"value": each.value, "description": each.description}, user=None
            ),
            update=lambda each, mask: _change(context, each.key, each, mask),
            delete=context.secrets.delete_variable,
        ),
    )


@router.get("/{variable_key:path}")
def get_variable(context: Context, variable_key: str) -> VariableResponse:
    """Get one Variable; a value that is secret by its key reads ***."""
    return _seen(context, variable_key)


@router.patch("/{variable_key:path}", response_model=VariableResponse)
def patch_variable(
    context: Context,
    variable_key: str,
    body: VariablePatchBody,
    update_mask: UpdateMask = [],  # noqa: B006 - FastAPI copies it
) -> Any:
    """Change a Variable; what the body leaves out, says as ***, or the mask does not name,
    stays."""
    if body.key is not None and body.key != variable_key:
        return problem(400, "the key of the path and the one of the body differ")
    _change(context, variable_key, body, update_mask)
    return _seen(context, variable_key)


@router.delete("/{variable_key:path}", status_code=204)
def delete_variable(context: Context, variable_key: str) -> None:
    """Remove a Variable."""
    context.secrets.delete_variable(variable_key)


def _create(context: Services, body: VariableBody) -> None:
    context.secrets.create_variable(body.key, body.value, description=body.description, user=None)


def _change(
    context: Services,
    key: str,
    body: VariableBody | VariablePatchBody,
    update_mask: Sequence[str],
) -> None:
    changes = changes_of(body, update_mask, CHANGEABLE, accepted=_ACCEPTED)
    context.secrets.change_variable(key, changes, user=None)


def _seen(context: Services, key: str) -> VariableResponse:
    return variable_response(context.stored_secrets.variable(key))


def _exists(context: Services, key: str) -> bool:
    try:
        return context.stored_secrets.variable_fields(key) is not None
    except SettingsError:  # it is there, and its encryption key is missing
        return True
