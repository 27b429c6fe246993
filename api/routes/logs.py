"""Task logs, also while the task runs."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse

from api.context import Context
from api.parameters import Index, Number
from api.problems import problem
from api.schemas.tasks import LogResponse, log_response
from orchestrator.core.ids import UNMAPPED
from orchestrator.core.views import LogPage

__all__ = ["router"]

router = APIRouter(
    prefix="/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}", tags=["Task Instance"]
)

NDJSON = "application/x-ndjson"
FULL_CONTENT_PAGES_MAX = 64
"""How much one JSON answer holds when all is asked for; a longer log goes on with its token."""
_OFFSET_DIGITS_MAX = 18


@router.get(
    "/logs/{try_number}",
    response_model=LogResponse,
    responses={200: {"content": {NDJSON: {"schema": {"type": "string"}}}}},
)
def get_log(
    *,
    context: Context,
    dag_id: str,
    dag_run_id: str,
    task_id: str,
    try_number: Number,
    full_content: bool = False,
    map_index: Index = UNMAPPED,
    token: str | None = None,
    accept: Annotated[str, Header()] = "*/*",
) -> Any:
    """Get the log of a try: a piece from `token` on, or (`full_content`) as much as there is. While
    the try runs there is always a next token, and a piece may be empty. On Accept:
    application/x-ndjson all lines there are come one per line."""
    offset = _offset(token)
    if offset is None:
        return problem(
            400, f"token={token[:80]!r} is none of this API; leave it out to start" if token else ""
        )

    def read(offset: int) -> LogPage:
        return context.reads.read_log(
            dag_id, dag_run_id, task_id, try_number, map_index=map_index, offset=offset
        )

    first = read(offset)
    if NDJSON in accept and "application/json" not in accept:
        return StreamingResponse(_ndjson(_pages(first, read)), media_type=NDJSON)
    if not full_content:
        return _answer(first.lines, first)
    lines: list[Mapping[str, Any]] = []
    last = first
    for last, _ in zip(_pages(first, read), range(FULL_CONTENT_PAGES_MAX), strict=False):
        lines.extend(last.lines)
    return _answer(lines, last)


def _answer(lines: Any, last: LogPage) -> LogResponse:
    token = None if last.is_complete else str(last.next_offset)
    return log_response(list(lines), token)


def _pages(first: LogPage, read: Any) -> Iterator[LogPage]:
    """Read on until the log is complete, or there is nothing more at present."""
    page = first
    yield page
    while not page.is_complete:
        following = read(page.next_offset)
        if not following.lines and not following.is_complete:
            return
        page = following
        yield page


def _ndjson(pages: Iterator[LogPage]) -> Iterator[str]:
    for page in pages:
        for line in page.lines:
            yield json.dumps(line) + "\n"


def _offset(token: str | None) -> int | None:
    """Return where to read from, None for a token that is not ours."""
    if not token:
        return 0
    is_ours = token.isascii() and token.isdecimal() and len(token) <= _OFFSET_DIGITS_MAX
    return int(token) if is_ours else None
