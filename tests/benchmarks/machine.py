"""What the machine did meanwhile: CPU time of processes, the share others used, memory."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds of CPU used by everybody and by one tree of processes, at one moment."""

    at_s: float
    busy_s: float
    ours_s: float


def read(roots: Iterable[int]) -> Reading:
    """Read the machine's and the process trees' CPU time."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    idle = int(fields[3]) + int(fields[4])
    busy = sum(int(field) for field in fields[:8]) - idle
    ours = sum(_cpu_ticks(pid) for pid in tree(roots))
    return Reading(time.monotonic(), busy / _TICKS_PER_S, ours / _TICKS_PER_S)


def share_of_others(before: Reading, after: Reading) -> float:
    """Return the part of the machine, 0 to 1, that other processes used between two readings."""
    capacity_s = (after.at_s - before.at_s) * (os.cpu_count() or 1)
    others_s = (after.busy_s - before.busy_s) - (after.ours_s - before.ours_s)
    return max(0.0, others_s / capacity_s) if capacity_s else 0.0


def tree(roots: Iterable[int]) -> set[int]:
    """Return the processes `roots` and all their descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, frontier = set[int](), list(roots)
    while frontier:
        pid = frontier.pop()
        if pid not in found:
            found.add(pid)
            frontier.extend(children.get(pid, ()))
    return found


def memory_mb(roots: Iterable[int]) -> float:
    """Return the proportional set size (PSS) of process trees, in MB."""
    total_kb = 0
    for pid in tree(roots):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kb / 1024


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def middle(values: Iterable[float]) -> float:
    """Return the median."""
    return float(median(values))


def _cpu_ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    # Own time and that of children already waited for, which no longer have a line of their own.
    return sum(int(field) for field in fields[11:15])
