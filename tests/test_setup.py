"""Setting up on a machine that lacks something ends in one sentence that says what."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("cat", "chmod", "dirname", "flock", "grep", "id", "mkdir", "rm", "sh", "tail")

TOO_OLD = 'case "$*" in *version_info*) exit 1;; --version) echo "Python 3.8.18";; esac'
WITHOUT_PIP = 'case "$*" in *ensurepip*) exit 1;; *sys.executable*) echo /opt/python3;; esac'
# Stands for a sound Python whose `venv` makes one whose `pip` meets what the test says.
SOUND = """
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin; cat "$0" > .venv/bin/python; chmod +x .venv/bin/python;;
  *platform*) echo 3.12.1;;
  *"pip install"*) echo "{log}"; exit 1;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A copy of what setup reads, and a PATH with the tools of any system but no Python."""
    (tmp_path / "project/scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/setup.sh", tmp_path / "project/scripts")
    (tmp_path / "project/uv.lock").touch()
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        if program := shutil.which(tool):
            (tmp_path / "bin" / tool).symlink_to(program)
    return tmp_path


def add_python(machine: Path, script: str) -> Path:
    path = machine / "bin/python3"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def set_up(machine: Path, **variables: str) -> str:
    done = subprocess.run(
        ["sh", "scripts/setup.sh"],
        cwd=machine / "project",
        env={"PATH": str(machine / "bin"), "HOME": str(machine), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout
    return done.stderr.strip()


def test_without_any_python(machine: Path) -> None:
    assert set_up(machine) == (
        "setup: Python 3.11 or newer is needed, and here is no python3 at all; install one, or "
        "run: make setup PYTHON=/path/to/python3.12"
    )


def test_with_an_old_python_only(machine: Path) -> None:
    add_python(machine, TOO_OLD)
    assert set_up(machine) == (
        "setup: Python 3.11 or newer is needed, and here is Python 3.8.18; install one, or "
        "run: make setup PYTHON=/path/to/python3.12"
    )


def test_with_an_old_python_named(machine: Path) -> None:
    python = add_python(machine, TOO_OLD)
    assert set_up(machine, PYTHON=str(python)) == (
        f"setup: PYTHON={python} is not a Python 3.11 or newer; name one that is, or leave "
        "PYTHON unset"
    )


def test_without_pip(machine: Path) -> None:
    add_python(machine, WITHOUT_PIP)
    assert set_up(machine) == (
        "setup: python3 (/opt/python3) comes without venv or pip; on Debian or Ubuntu: "
        "apt install python3-venv"
    )


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (
            "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution",
            "installing uv failed because the package index cannot be reached (see "
            ".venv/setup.log); check the network, behind a proxy set HTTPS_PROXY, and run make "
            "again",
        ),
        (
            "SSLError: certificate verify failed: self-signed certificate in certificate chain",
            "installing uv failed because the package index shows a certificate this machine does "
            "not trust; if a proxy is in between, set SSL_CERT_FILE to its certificate file and "
            "run make again",
        ),
        (
            "OSError: [Errno 28] No space left on device",
            "installing uv failed because the disk is full; free about 600 MB and run make again",
        ),
    ],
)
def test_packages_that_cannot_be_installed(machine: Path, log: str, sentence: str) -> None:
    add_python(machine, SOUND.replace("{log}", log))
    assert set_up(machine) == f"setup: {sentence}"
    assert not (machine / "project/.venv/.ready").exists()


def test_an_unknown_failure_shows_itself(machine: Path) -> None:
    add_python(machine, SOUND.replace("{log}", "the moon is full"))
    assert set_up(machine).splitlines() == [
        "the moon is full",
        "setup: installing uv failed as shown above (all of it in .venv/setup.log)",
    ]


def test_a_virtual_environment_that_was_moved_is_made_anew(machine: Path) -> None:
    add_python(machine, SOUND.replace("{log}", "no"))
    set_up(machine)
    (machine / "project/.venv/.ready").write_text("/elsewhere")
    (machine / "project/.venv/old").touch()
    set_up(machine)
    assert not (machine / "project/.venv/old").exists()
