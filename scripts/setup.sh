#!/bin/sh
# Makes .venv from the lock file on a machine that has Python and nothing else; called by `make`.
# Everything that usually goes wrong is one sentence.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

LOG=.venv/setup.log

# Run quietly; on failure say what failed, and why if the reason is a known one.
run() {
    what=$1
    shift
    if "$@" >"$LOG" 2>&1; then
        return
    fi
    if grep -qi 'no space left' "$LOG"; then
        fail "$what failed because the disk is full; free about 600 MB and run make again"
    fi
    if grep -qiE 'certificate|unknownissuer' "$LOG"; then
        fail "$what failed because the package index shows a certificate this machine does not trust; if a proxy is in between, set SSL_CERT_FILE to its certificate file and run make again"
    fi
    if grep -qiE 'name resolution|name or service not known|connection|client error \(connect|network is|timed out|dns error|no matching distribution' "$LOG"; then
        fail "$what failed because the package index cannot be reached (see $LOG); check the network, behind a proxy set HTTPS_PROXY, and run make again"
    fi
    tail -n 15 "$LOG" >&2
    fail "$what failed as shown above (all of it in $LOG)"
}

# uv brings its own certificates, which a bare machine needs; where a proxy shows its own instead,
# the machine's are the ones to trust.
sync_packages() {
    set -- .venv/bin/uv sync --frozen --python .venv/bin/python
    "$@" || UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 "$@"
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer; name one that is, or leave PYTHON unset"
        echo "$PYTHON"
        return
    fi
    for candidate in python3.13 python3.12 python3.11 python3 python3.14 python; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    found=$(python3 --version 2>/dev/null || echo "no python3 at all")
    fail "Python 3.11 or newer is needed, and here is $found; install one, or run: make setup PYTHON=/path/to/python3.12"
}

[ -w . ] || fail "$PWD cannot be written by $(id -un); make a copy of the project in a folder of your own"
[ ! -e .venv ] || [ -w .venv ] || fail "$PWD/.venv belongs to another user; remove it, or use a copy of the project of your own"

# Two makes at once take turns, where flock exists; uv has its own lock for the rest.
if command -v flock >/dev/null 2>&1; then
    exec 9<uv.lock
    flock 9
fi

# A .venv made elsewhere or from another Python is of no use: its scripts name both.
origin_of() {
    "$1" -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null
}
usable() {
    [ -x .venv/bin/python ] && new_enough .venv/bin/python &&
        { [ ! -f .venv/.ready ] || [ "$(cat .venv/.ready)" = "$PWD" ]; } &&
        { [ -z "${PYTHON:-}" ] || [ "$(origin_of "$PYTHON")" = "$(origin_of .venv/bin/python)" ]; }
}
if ! usable; then
    python=$(find_python) || exit 1
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python ($("$python" -c 'import sys; print(sys.executable)')) comes without venv or pip; on Debian or Ubuntu: apt install python3-venv"
    rm -rf .venv
    mkdir .venv
    run "creating .venv" "$python" -m venv .venv
fi
rm -f .venv/.ready
version=$(.venv/bin/python -c 'import platform; print(platform.python_version())')
echo "setup: installing the locked packages into .venv (Python $version) ..."

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
[ -x .venv/bin/uv ] || run "installing uv" .venv/bin/python -m pip install --quiet 'uv>=0.8,<1'

unset VIRTUAL_ENV CONDA_PREFIX UV_PROJECT_ENVIRONMENT UV_PYTHON 2>/dev/null || true
export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
# An account without a home of its own (a service, a container) keeps uv's cache here.
[ -w "${HOME:-/nonexistent}" ] || export UV_CACHE_DIR="$PWD/.venv/.uv-cache"
run "installing the locked packages" sync_packages

printf '%s' "$PWD" >.venv/.ready
