"""The data folder is private, and its secret key is made once."""

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from orchestrator.errors import SettingsError
from orchestrator.settings import Settings, prepare_home, secret_key


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_the_data_folder_is_made_private(settings: Settings) -> None:
    assert prepare_home(settings) == settings.home
    assert settings.home.stat().st_mode & 0o777 == 0o700
    assert list(settings.home.iterdir()) == []


def test_a_data_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SettingsError) as caught:
        prepare_home(Settings(home=tmp_path / "file"))
    assert str(caught.value) == (
        f"the data folder {tmp_path}/file cannot be written (File exists); "
        "set ORCHESTRATOR_HOME to a folder that can"
    )


def test_the_key_is_made_once_and_private(settings: Settings) -> None:
    key = secret_key(settings)
    file = settings.home / "secret_key"
    assert len(key) >= 32
    assert secret_key(settings) == key == file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in settings.home.iterdir()] == ["secret_key"]


def test_threads_that_race_for_the_first_key_agree(settings: Settings) -> None:
    start, keys = threading.Barrier(8), list[str]()

    def read() -> None:
        start.wait()
        keys.append(secret_key(settings))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


def test_a_configured_key_wins_and_leaves_no_file(settings: Settings) -> None:
    configured = settings.model_copy(update={"secret_key": SecretStr("k" * 32)})
    assert secret_key(configured) == "k" * 32
    assert not settings.home.exists()


def test_a_key_that_others_can_read_is_refused(settings: Settings) -> None:
    secret_key(settings)
    file = settings.home / "secret_key"
    file.chmod(0o644)
    with pytest.raises(SettingsError, match=r"mode 644\); run: chmod 600"):
        secret_key(settings)


def test_a_short_key_is_refused(settings: Settings) -> None:
    file = prepare_home(settings) / "secret_key"
    file.write_text("short\n")
    file.chmod(0o600)
    with pytest.raises(SettingsError, match="holds 5 characters, fewer than 32"):
        secret_key(settings)


def test_machines_with_the_same_database_password_agree_without_a_key(tmp_path: Path) -> None:
    """A worker elsewhere needs two URLs and no third secret; hosts may be named differently."""

    def key(home: str, url: str) -> str:
        return secret_key(Settings(home=tmp_path / home, database_url=url))

    first = key("a", "postgresql://me:p%40ss@db.internal/x")
    assert first == key("b", "postgresql://me:p%40ss@127.0.0.1/x")
    assert first != key("a", "postgresql://me:other@db.internal/x")
    assert not (tmp_path / "a" / "secret_key").exists()
    assert key("a", "postgresql://me@db.internal/x") != key("b", "postgresql://me@db.internal/x")
