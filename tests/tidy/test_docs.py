"""Documents say what the code says, and nothing tracked tells where it was written."""

import re
from pathlib import Path

import pytest

from orchestrator.settings import CONFIG_VARIABLE, PREFIX, Settings
from scripts.generate_docs import DOCUMENTS
from tests.tidy.files import product_modules, tracked_texts

# Spelt so that this file does not match itself.
PRIVATE = re.compile(r"/wor[k]/(?:main|shared)|/roo[t]/|py[p]i\.org|python[h]osted")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_generated_documents_have_not_drifted(path: Path) -> None:
    assert path.read_text() == DOCUMENTS[path](), "run: make docs"


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = {
        name: match.group()
        for name, text in tracked_texts().items()
        if (match := PRIVATE.search(text))
    }
    assert found == {}


def test_every_variable_that_is_named_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    named = {
        (name, variable)
        for name, text in tracked_texts().items()
        if not name.startswith("tests/")  # tests name wrong ones on purpose
        for variable in re.findall(rf"\b{PREFIX}[A-Z][A-Z_]*[A-Z]\b", text)
    }
    # An author's own: ORCHESTRATOR_CONN_WAREHOUSE is a Connection and no setting.
    own = (f"{PREFIX}CONN_", f"{PREFIX}VAR_")
    unknown = {
        (name, variable)
        for name, variable in named
        if variable not in known and not variable.startswith(own)
    }
    assert unknown == set()


def test_every_setting_is_read() -> None:
    readers = [path for path in product_modules() if path.name not in ("model.py", "loading.py")]
    code = "\n".join(path.read_text() for path in readers)
    unread = {name for name in Settings.model_fields if not re.search(rf"\.{name}\b", code)}
    assert unread == set()
