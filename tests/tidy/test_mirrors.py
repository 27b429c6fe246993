"""A package's tests are where its name says; the other folders are the known kinds of test."""

from tests.tidy.files import ROOT

KINDS_OF_TEST = {
    "benchmarks",
    "browser",
    "chaos",
    "conformance",
    "dags",
    "deploy",
    "e2e",
    "simulation",
    "tidy",
}


def packages_with_code() -> set[str]:
    folders = [*(ROOT / "orchestrator").iterdir(), ROOT / "workers", ROOT / "api"]
    return {
        folder.name
        for folder in folders
        if folder.is_dir() and any(path.name != "__init__.py" for path in folder.glob("*.py"))
    }


def folders_of_tests() -> set[str]:
    return {
        folder.name
        for folder in (ROOT / "tests").iterdir()
        if folder.is_dir() and any(folder.rglob("test_*.py"))
    }


def test_every_package_has_its_tests() -> None:
    assert packages_with_code() - folders_of_tests() == set()


def test_every_folder_of_tests_is_a_package_or_a_known_kind() -> None:
    assert folders_of_tests() - packages_with_code() - KINDS_OF_TEST == set()
