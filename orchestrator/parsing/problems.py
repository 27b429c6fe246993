"""What a person must read when a DAG file does not import: where, why, what helps."""

import re
import traceback
from pathlib import Path
from types import TracebackType

from orchestrator.errors import AuthorError, did_you_mean
from orchestrator.parsing.results import ImportProblem, ProblemKind
from orchestrator.sdk.operators import BaseOperator

__all__ = ["problem_of", "shorten"]

STACKTRACE_CHARACTERS_MAX = 32_000
"""Enough for any honest traceback; a recursion of generated names must not fill the database."""

_MESSAGE_CHARACTERS_MAX = 2_000

_SITE = re.compile(r" \(([^()/]+):(\d+)\)$")
"""How the SDK ends a message: the author's line. The message here begins with it."""

_OWN_FOLDER = str(Path(__file__).parent)


def problem_of(
    error: BaseException, *, path: Path, dags_folder: Path, invalid_as: ProblemKind
) -> ImportProblem:
    """Describe what the import of `path` raised. `invalid_as` is the kind of an AuthorError: what
    the step at hand checks."""
    author_frames = _skip_own_frames(error.__traceback__)
    kind, cause = _kind_and_cause(error, invalid_as, dags_folder)
    line = _line_in(path, error, author_frames)
    if isinstance(error, AuthorError) and (site := _SITE.search(cause)) and site[1] == path.name:
        line = line or int(site[2])
        cause = cause[: site.start()]
    place = _place(error, path=path, dags_folder=dags_folder, line=line)
    return ImportProblem(
        kind=kind,
        message=shorten(f"{place}: {cause}", _MESSAGE_CHARACTERS_MAX),
        line=line,
        stacktrace=_stacktrace(error, author_frames),
    )


def shorten(text: str, characters_max: int) -> str:
    """Keep both ends of a long text: the cause is at one of them."""
    if len(text) <= characters_max:
        return text
    half = characters_max // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def _kind_and_cause(
    error: BaseException, invalid_as: ProblemKind, dags_folder: Path
) -> tuple[ProblemKind, str]:
    match error:
        case SyntaxError():
            code = f" in `{error.text.strip()}`" if error.text and error.text.strip() else ""
            return ProblemKind.SYNTAX, f"{type(error).__name__}: {error.msg}{code}"
        case SystemExit():
            return ProblemKind.EXIT, (
                f"the file calls sys.exit({'' if error.code is None else repr(error.code)}) while "
                "it is imported; leave it out, or put it into a task or under "
                '`if __name__ == "__main__":`'
            )
        case MemoryError():
            return ProblemKind.MEMORY, (
                "the import wanted more memory than it may have; load data in a task, not while "
                "the file is imported, or raise ORCHESTRATOR_PARSE_MEMORY_MB"
            )
        case AuthorError():
            return invalid_as, str(error)
        case ModuleNotFoundError():
            return ProblemKind.EXCEPTION, f"{_described(error)}; {_module_cure(error.name or '')}"
        case ImportError():
            return ProblemKind.EXCEPTION, f"{_described(error)}{_name_cure(error)}"
        case RecursionError():
            return (
                ProblemKind.EXCEPTION,
                f"{_described(error)}; a function calls itself without end",
            )
        case _:
            cure = _cure_of_misuse(error) if isinstance(error, TypeError | AttributeError) else ""
            code = _raising_code(error, dags_folder)
            return ProblemKind.EXCEPTION, f"{_described(error)}{code}{cure}"


def _described(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # the author's own __str__
        text = "(its text cannot be shown: __str__ raises too)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _module_cure(name: str) -> str:
    root = name.partition(".")[0]
    if name.startswith("orchestrator."):
        return "import what DAG files need from orchestrator.sdk itself, not from its parts"
    if root == "airflow":
        return (
            "DAG files here import from orchestrator.sdk: `from orchestrator.sdk import DAG, task`"
        )
    return f"install {root} where schedulers and workers run, or put {root}.py into the DAG folder"


def _name_cure(error: ImportError) -> str:
    match = re.search(r"cannot import name '(\w+)'", str(error))
    if match is None or not (error.name or "").startswith("orchestrator.sdk"):
        return ""
    from orchestrator import sdk  # noqa: PLC0415 - loaded long ago, or this error could not be

    if match[1] in sdk.__all__:
        return f"; it stands in orchestrator.sdk: `from orchestrator.sdk import {match[1]}`"
    return did_you_mean(match[1], dir(sdk))


def _cure_of_misuse(error: TypeError | AttributeError) -> str:
    """What to write instead where Python only says what an object of the SDK cannot do."""
    text = str(error)
    if "'list' and 'list'" in text and (" >>:" in text or " <<:" in text):
        return "; two lists are joined by cross_downstream([...], [...]) or chain([...], [...])"
    if "'XComArg'" in text:
        return (
            "; a task's output is not known before the run: compare, count and take it apart "
            "inside a task"
        )
    if isinstance(getattr(error, "obj", None), BaseOperator) and not hasattr(error.obj, "label"):  # type: ignore[union-attr]
        return "; call super().__init__(**kwargs) before anything else in __init__"
    return ""


def _raising_code(error: BaseException, dags_folder: Path) -> str:
    """The innermost line of the folder's own files; where there is none, of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(dags_folder)]
    frames = traceback.StackSummary(own or frames)
    code = (frames[-1].line or "").strip() if frames else ""
    return f" in `{code}`" if code else ""


def _line_in(path: Path, error: BaseException, frames: TracebackType | None) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [line for frame, line in traceback.walk_tb(frames) if _file(frame) == str(path)]
    return lines[-1] if lines else None


def _place(error: BaseException, *, path: Path, dags_folder: Path, line: int | None) -> str:
    """Say file:line, and which line of which other file of the folder it was that failed."""
    shown = _relative(str(path), dags_folder)
    here = f"{shown}:{line}" if line else shown
    deepest = _deepest_of_folder(error, dags_folder)
    if deepest is None or deepest[0] == str(path):
        return here
    return f"{_relative(deepest[0], dags_folder)}:{deepest[1]} (from {here})"


def _deepest_of_folder(error: BaseException, dags_folder: Path) -> tuple[str, int] | None:
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return (error.filename, error.lineno)
    deepest: tuple[str, int] | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if Path(_file(frame)).is_relative_to(dags_folder):
            deepest = (_file(frame), line)
    return deepest


def _relative(file: str, dags_folder: Path) -> str:
    path = Path(file)
    return path.relative_to(dags_folder).as_posix() if path.is_relative_to(dags_folder) else file


def _file(frame: object) -> str:
    code = getattr(frame, "f_code", None)
    return str(getattr(code, "co_filename", ""))


def _skip_own_frames(tb: TracebackType | None) -> TracebackType | None:
    """Leave out the importer's frames: the author's traceback begins in the author's file."""
    while tb is not None and _file(tb.tb_frame).startswith(_OWN_FOLDER):
        tb = tb.tb_next
    return tb


def _stacktrace(error: BaseException, frames: TracebackType | None) -> str:
    try:
        lines = traceback.format_exception(type(error), error, frames)
    except Exception:  # the author's exception may break its own formatting
        lines = [_described(error)]
    text = "".join(line for line in lines if "<frozen importlib" not in line)
    return shorten(text, STACKTRACE_CHARACTERS_MAX)
