"""Which files the rules of this folder look at."""

import subprocess
from functools import cache
from pathlib import Path

__all__ = ["PRODUCT", "ROOT", "product_modules", "tracked_texts"]

ROOT = Path(__file__).parent.parent.parent
PRODUCT = ("orchestrator", "workers", "api")


def product_modules() -> list[Path]:
    """Return the product's own Python files, those not yet committed included."""
    found = (path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))
    return sorted(path for path in found if "node_modules" not in path.parts)


@cache
def tracked_texts() -> dict[str, str]:
    """Return every text file git knows, by its path from the root; locks and bundles are not ours.

    A copy without git has nothing to leak, but the rule must not pass unseen: there it fails.
    """
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    texts = {}
    for name in listing.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and not name.endswith(("uv.lock", "package-lock.json")):
            raw = path.read_bytes()
            if b"\0" not in raw and not name.startswith("api/static/"):
                texts[name] = raw.decode()
    return texts
