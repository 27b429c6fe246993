"""The pages without scripts: what runs at present, and what the API offers."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from api.context import Context
from orchestrator.core.listings import DagFilter, PageRequest, RunFilter
from orchestrator.core.views import DagView, RunView

__all__ = ["router"]

ROWS_SHOWN = 50

router = APIRouter(include_in_schema=False)

_STYLE = """\
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; color: #1c2430; background: #fff; }
h1, h2, h3 { line-height: 1.2; }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem; }
th, td { text-align: left; padding: .35rem .75rem; border-bottom: 1px solid #dde3ea;
  vertical-align: top; }
th { color: #566375; font-weight: 600; }
code { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
.success { color: #1a7f37; } .failed { color: #b42318; } .running { color: #1757b8; }
@media (prefers-color-scheme: dark) {
  body { color: #e6eaf0; background: #12161c; } th { color: #9aa7b8; }
  th, td { border-color: #2c3440; } a { color: #7ab7ff; }
  .success { color: #4ac26b; } .failed { color: #ff8a80; } .running { color: #7ab7ff; }
}
"""


@router.get("/")
def show_overview(context: Context) -> HTMLResponse:
    """Show the DAGs and the newest runs."""
    dags = context.reads.dags(DagFilter(), PageRequest(limit=ROWS_SHOWN))
    runs = context.reads.runs(RunFilter(), PageRequest(limit=ROWS_SHOWN, order_by=("-id",)))
    errors = context.reads.import_errors(PageRequest(limit=ROWS_SHOWN))
    body = [
        "<h1>Orchestrator</h1>",
        '<p>The <a href="/docs">API</a> and <code>orchestrator --help</code> do everything; '
        "this page only shows.</p>",
    ]
    if errors.items:
        body += [
            f"<h2>{errors.total} files do not import</h2>",
            _table(("file", "cause"), ((_code(e.path), escape(e.message)) for e in errors.items)),
        ]
    body += [
        f"<h2>DAGs ({dags.total})</h2>",
        _table(("DAG", "schedule", "state", "next run"), map(_dag_row, dags.items)),
        "<h2>Newest runs</h2>",
        _table(("DAG", "run", "state", "started", "seconds"), map(_run_row, runs.items)),
    ]
    return _page("Orchestrator", body)


@router.get("/docs")
def show_api(request: Request) -> HTMLResponse:
    """Show every operation of the API, from its own description."""
    schema: Mapping[str, Any] = request.app.openapi()
    operations = [
        (operation.get("tags", [""])[0], method.upper(), path, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    body = [
        f"<h1>{escape(schema['info']['title'])} API</h1>",
        f"<p>{escape(schema['info']['description'])} For programs: "
        '<a href="/openapi.json">openapi.json</a>.</p>',
    ]
    for tag in sorted({operation[0] for operation in operations}):
        rows = (_operation_row(*rest) for name, *rest in operations if name == tag)
        body += [
            f"<h2>{escape(tag)}</h2>",
            _table(("operation", "what it does", "parameters"), rows),
        ]
    return _page("Orchestrator API", body)


@router.get("/style.css")
def show_style() -> Response:
    """Return how the pages look."""
    return Response(_STYLE, media_type="text/css")


def _dag_row(dag: DagView) -> tuple[str, ...]:
    state = "paused" if dag.is_paused else "active"
    if dag.has_import_error:
        state += ", file does not import"
    return _code(dag.dag_id), _code(dag.schedule or "on request"), state, _clock(dag.next_run_at)


def _run_row(run: RunView) -> tuple[str, ...]:
    seconds = "" if run.duration_s is None else f"{run.duration_s:.2f}"
    state = f'<span class="{run.state.value}">{run.state.value}</span>'
    return _code(run.dag_id), _code(run.run_id), state, _clock(run.started_at), seconds


def _operation_row(method: str, path: str, operation: Mapping[str, Any]) -> tuple[str, ...]:
    names = [parameter["name"] for parameter in operation.get("parameters", ())]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "$ref" in body.get("schema", {}):
        names.append("body: " + body["schema"]["$ref"].rpartition("/")[2])
    what = escape(operation.get("description", ""))
    return _code(f"{method} {path}"), what, escape(", ".join(names))


def _page(title: str, body: Iterable[str]) -> HTMLResponse:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="/style.css"></head>'
        f"<body>{''.join(body)}</body></html>"
    )


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table; cells are HTML already."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _clock(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S} UTC"
