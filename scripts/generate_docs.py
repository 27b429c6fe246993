"""Which documents are written by the code they describe: the settings and the state diagram.

`make docs` writes them; a tidy test compares, so that neither can tell yesterday's story.
"""

import ast
import inspect
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from orchestrator.core import lifecycle, states
from orchestrator.core.lifecycle import RUN_TRANSITIONS, TRANSITIONS, TaskEvent
from orchestrator.core.states import RunState, TaskState
from orchestrator.settings import CONFIG_VARIABLE, PREFIX, Settings

_SOURCES_DRAWN_MAX = 3
_FOLDER = Path(__file__).parent.parent / "docs"


def settings_document() -> str:
    """Write the settings reference from the model's own descriptions."""
    lines = [
        "# Settings",
        "",
        "*Generated from `orchestrator/settings/model.py` by `make docs`.*",
        "",
        "Each setting is an environment variable, or the same name in lower case without the",
        f"prefix in a TOML file (`{PREFIX}API_PORT=8081` or `api_port = 8081`). The environment",
        "wins over the file, the file over the default. The file is `orchestrator.toml` in the",
        f"data folder, or the one `{CONFIG_VARIABLE}` names. An empty variable counts as unset.",
        "Relative paths start at the current folder, those in the file at the file's folder; so",
        "run commands from the project's folder, or set absolute paths. An unknown name is an",
        "error. `orchestrator config list` shows every value and where it came from.",
        "",
        "| setting | default | meaning |",
        "|---|---|---|",
        f"| `{CONFIG_VARIABLE}` | `HOME/orchestrator.toml` | The file; environment only. |",
    ]
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        default = extra["shown"] if isinstance(extra, dict) else field.default
        if isinstance(default, tuple):
            default = ",".join(default)
        if isinstance(default, float):
            default = f"{default:g}"
        lines.append(f"| `{PREFIX}{name.upper()}` | `{default}` | {field.description} |")
    return "\n".join(lines) + "\n"


def states_document() -> str:
    """Draw the transition tables, and list what each event means and does."""
    meanings = _member_docstrings(lifecycle, "TaskEvent")
    state_meanings = _member_docstrings(states, "TaskState")
    arrows: dict[tuple[TaskState, TaskState], list[str]] = {}
    undrawn = [event for event, way in TRANSITIONS.items() if len(way.sources) > _SOURCES_DRAWN_MAX]
    for event, transition in TRANSITIONS.items():
        for source in TaskState:
            if source in transition.sources and event not in undrawn:
                arrows.setdefault((source, transition.target), []).append(event.value)
    lines = [
        "# States",
        "",
        "*Generated from `orchestrator/core/lifecycle.py` by `make docs`.*",
        "",
        "## A task instance",
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {TaskState.NONE}",
        *(f"    {source} --> {target}: {', '.join(e)}" for (source, target), e in arrows.items()),
        "```",
        "",
        f"Not drawn, as they leave from almost everywhere: {', '.join(f'`{e}`' for e in undrawn)}.",
        "",
        "| state | meaning |",
        "|---|---|",
        *(f"| `{state}` | {state_meanings.get(state.name, '')} |" for state in TaskState),
        "",
        "The epoch is the fencing token: a report counts only for the epoch it was started with.",
        "",
        "| event | by | from | to | epoch rises | meaning |",
        "|---|---|---|---|---|---|",
        *(_event_row(event, meanings) for event in TaskEvent),
        "",
        "## A run",
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {RunState.QUEUED}",
        *(
            f"    {source} --> {target}"
            for source in RunState
            for target in RunState
            if target in RUN_TRANSITIONS[source]
        ),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _event_row(event: TaskEvent, meanings: Mapping[str, str]) -> str:
    transition = TRANSITIONS[event]
    sources = ", ".join(f"`{state}`" for state in TaskState if state in transition.sources)
    rises = "yes" if transition.bumps_epoch else ""
    meaning = meanings.get(event.name, "")
    return (
        f"| `{event}` | {transition.actor} | {sources} | `{transition.target}` "
        f"| {rises} | {meaning} |"
    )


def _member_docstrings(module: object, class_name: str) -> dict[str, str]:
    """Return the string written under each member of an enum; Python itself forgets them."""
    tree = ast.parse(inspect.getsource(getattr(module, class_name)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found: dict[str, str] = {}
    for member, note in pairwise(body):
        match member, note:
            case (
                ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


DOCUMENTS: Mapping[Path, Callable[[], str]] = MappingProxyType(
    {
        _FOLDER / "settings.md": settings_document,
        _FOLDER / "states.md": states_document,
    }
)

if __name__ == "__main__":
    for path, write in DOCUMENTS.items():
        path.write_text(write(), encoding="utf-8")
