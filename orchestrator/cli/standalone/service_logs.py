"""Where a service's own output goes: one file each, never larger than two limits together."""

import shutil
from io import FileIO
from pathlib import Path

__all__ = ["last_line", "limit_log", "open_log"]

LOG_BYTES_MAX = 10 << 20  # days of an ordinary installation, and nothing a laptop's disk notices
_TAIL_BYTES = 8192


def open_log(path: Path) -> FileIO:
    """Open a log for a child to write to. Appending, so that `limit_log` may cut it meanwhile."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    limit_log(path)
    return path.open("ab", buffering=0)


def limit_log(path: Path) -> None:
    """Move a log that has grown too large to `<name>.1`, and go on with an empty one.

    The writer keeps its file: what it writes between the copy and the cut is lost.
    """
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        with path.open("r+b") as file:
            file.truncate(0)


def last_line(path: Path) -> str:
    """Return what a service said last, usually why it ended."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote no log")
