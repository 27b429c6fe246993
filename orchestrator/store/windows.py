"""How the first few rows are read for each row of something else, without reading the others."""

from typing import Any

from sqlalchemy import FromClause, Select, true


def join_windows(
    dialect: str, outer: FromClause, window: Select[Any], inner: FromClause
) -> FromClause:
    """Join each row of `outer` with the rows of `inner` whose ids its `window` selects; `window` is
    correlated with `outer` and has a LIMIT.

    SQLite has no LATERAL; PostgreSQL would answer the IN by reading the whole table.
    """
    if dialect == "postgresql":
        chosen = window.lateral()
        return outer.join(chosen, true()).join(inner, inner.c.id == chosen.c.id)
    return outer.join(inner, inner.c.id.in_(window))
