"""Where does a task get a virtual environment with the packages it names?

One is built for each set of requirements and kept, under a name made from what is in it; tries that
want the same one at a time wait for the first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.sdk.commands import Command, exit_in_words
from orchestrator.sdk.exceptions import TaskException

__all__ = ["VenvWish", "build_venv", "kept_venv"]

_COMPLETE = "orchestrator-complete"
_NAME_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class VenvWish:
    """What shall be in a virtual environment. `index_urls` None leaves the choice to pip."""

    requirements: tuple[str, ...] = ()
    python_version: str | None = None
    system_site_packages: bool = True
    pip_install_options: tuple[str, ...] = ()
    index_urls: tuple[str, ...] | None = None


def kept_venv(wish: VenvWish, folder: Path, log: logging.Logger) -> str:
    """Return the interpreter of the environment in `folder` that has what is wished for; build it
    if there is none."""
    python = _base_python(wish.python_version)
    text = json.dumps([asdict(wish), python, _version_of(python)], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:_NAME_LENGTH]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    venv = folder / name
    with _locked(folder / f"{name}.lock"):
        if not (venv / _COMPLETE).exists():
            shutil.rmtree(venv, ignore_errors=True)  # what somebody did not get done
            build_venv(wish, venv, log)
            (venv / _COMPLETE).touch()
    log.info("using the virtual environment %s", venv)
    return _python_of(venv)


def build_venv(wish: VenvWish, venv: Path, log: logging.Logger) -> str:
    """Build an environment in a folder that does not exist, and return its interpreter."""
    log.info("building the virtual environment %s", venv)
    options = ["--system-site-packages"] if wish.system_site_packages else []
    if not wish.requirements:
        options.append("--without-pip")
    base = _base_python(wish.python_version)
    _run((base, "-m", "venv", *options, str(venv)), log, "the virtual environment cannot be built")
    python = _python_of(venv)
    if wish.requirements:
        file = venv / "orchestrator-requirements.txt"
        file.write_text("\n".join(wish.requirements) + "\n", encoding="utf-8")
        words = (python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input")
        rest = (*_index_options(wish.index_urls), *wish.pip_install_options, "-r", str(file))
        named = ", ".join(wish.requirements)
        _run((*words, *rest), log, f"pip cannot install the requirements {named}")
    return python


def _index_options(urls: Sequence[str] | None) -> tuple[str, ...]:
    if urls is None:
        return ()
    if not urls:
        return ("--no-index",)
    extra = (word for url in urls[1:] for word in ("--extra-index-url", url))
    return ("--index-url", urls[0], *extra)


def _run(words: Sequence[str], log: logging.Logger, problem: str) -> None:
    command = Command(words, env=dict(os.environ), folder=str(Path.cwd()))
    try:
        last_line = command.follow(log, encoding="utf-8")
    finally:
        command.stop()
    if command.exit_code != 0:
        said = f": {last_line}" if last_line else f": it {exit_in_words(command.exit_code)}"
        raise TaskException(f"{problem}{said}")


def _base_python(version: str | None) -> str:
    if version is None:
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        raise TaskException(
            f"python_version is {version!r}, and there is no python{version} on this worker's "
            "PATH; install it"
        )
    return found


def _version_of(python: str) -> str:
    if python == sys.executable:
        return sys.version
    answer = subprocess.run([python, "-VV"], capture_output=True, text=True, check=False)
    return answer.stdout


def _python_of(venv: Path) -> str:
    return str(venv / "bin" / "python")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
