"""How a command reads a listing to its end, or to the number of rows a person asked for."""

from collections.abc import Callable
from typing import TypeVar

from orchestrator.core.listings import Page, PageRequest

__all__ = ["all_pages"]

_PAGE_ROWS = 500

T = TypeVar("T")


def all_pages(
    fetch: Callable[[PageRequest], Page[T]],
    *,
    limit: int | None = None,
    order_by: tuple[str, ...] = (),
) -> list[T]:
    """Return the rows of all pages, at most `limit` if one is given."""
    rows: list[T] = []
    while limit is None or len(rows) < limit:
        wanted = _PAGE_ROWS if limit is None else min(_PAGE_ROWS, limit - len(rows))
        page = fetch(PageRequest(limit=wanted, offset=len(rows), order_by=order_by))
        rows.extend(page.items)
        if len(page.items) < wanted:
            break
    return rows
