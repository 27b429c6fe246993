"""DAG files that do not import, and DAGs that import with a warning."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.context import Context
from api.parameters import ImportErrorQuery, Number, WarningQuery, text_match
from api.schemas.dags import BUNDLE
from api.schemas.services import (
    DagWarningCollection,
    ImportErrorCollection,
    ImportErrorResponse,
    import_error_response,
    warning_response,
)

__all__ = ["router"]

router = APIRouter()


@router.get("/importErrors", tags=["Import Error"])
def get_import_errors(
    context: Context, query: Annotated[ImportErrorQuery, Query()]
) -> ImportErrorCollection:
    """List the files that do not import."""
    match = text_match(query.filename_pattern, query.filename_prefix_pattern)
    page = context.reads.import_errors(query.page(), path=query.filename, path_match=match)
    return ImportErrorCollection(
        import_errors=[import_error_response(error, BUNDLE) for error in page.items],
        total_entries=page.total,
    )


@router.get("/importErrors/{import_error_id}", tags=["Import Error"])
def get_import_error(context: Context, import_error_id: Number) -> ImportErrorResponse:
    """Get one import error."""
    return import_error_response(context.reads.import_error(import_error_id), BUNDLE)


@router.get("/dagWarnings", tags=["DagWarning"])
def list_dag_warnings(
    context: Context, query: Annotated[WarningQuery, Query()]
) -> DagWarningCollection:
    """List what is odd about DAGs that import."""
    page = context.reads.dag_warnings(query.page(), dag_id=query.dag_id)
    return DagWarningCollection(
        dag_warnings=[warning_response(warning) for warning in page.items],
        total_entries=page.total,
    )
