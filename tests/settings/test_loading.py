"""Environment over file over default, and a sentence for everything that cannot be."""

from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings import Origin, SettingRow, Settings, describe, load_settings


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def row(settings: Settings, name: str) -> SettingRow:
    return next(row for row in describe(settings) if row.name == name)


def test_defaults_lie_under_the_current_folder(project: Path) -> None:
    settings = load_settings({})
    assert settings.home == project / ".orchestrator"
    assert settings.dags_folder == project / "dags"
    assert settings.spool_folder == project / ".orchestrator/spool"
    assert settings.database_url == f"sqlite:///{project}/.orchestrator/orchestrator.db"
    assert (settings.api_host, settings.api_port) == ("127.0.0.1", 8080)
    assert settings.redis_url is None
    assert settings.config_file is None
    assert {row.origin for row in describe(settings)} == {Origin.DEFAULT}


def test_environment_wins_over_the_file_and_the_file_over_defaults(project: Path) -> None:
    file = project / ".orchestrator/orchestrator.toml"
    file.parent.mkdir()
    file.write_text("api_port = 9000\nworker_concurrency = 8\n")
    settings = load_settings({"ORCHESTRATOR_API_PORT": "9001"})
    assert settings.config_file == file
    assert row(settings, "ORCHESTRATOR_API_PORT") == SettingRow(
        "ORCHESTRATOR_API_PORT", "9001", Origin.ENVIRONMENT
    )
    assert row(settings, "ORCHESTRATOR_WORKER_CONCURRENCY").origin is Origin.FILE
    assert settings.worker_concurrency == 8
    assert row(settings, "ORCHESTRATOR_LEASE_S").origin is Origin.DEFAULT


def test_the_file_is_found_in_the_home_that_the_environment_names(project: Path) -> None:
    (project / "data").mkdir()
    (project / "data/orchestrator.toml").write_text("api_port = 9000\n")
    settings = load_settings({"ORCHESTRATOR_HOME": "data"})
    assert settings.home == project / "data"
    assert settings.api_port == 9000


def test_a_named_file_moves_home_and_its_paths_start_at_its_own_folder(project: Path) -> None:
    folder = project / "etc"
    folder.mkdir()
    (folder / "settings.toml").write_text(
        "home = 'data'\ndags_folder = '/srv/dags'\ndatabase_url = 'sqlite:///my.db'\n"
        "worker_queues = ['default', 'gpu']\n"
    )
    settings = load_settings({"ORCHESTRATOR_CONFIG": "etc/settings.toml"})
    assert settings.home == folder / "data"
    assert settings.dags_folder == Path("/srv/dags")
    assert settings.database_url == f"sqlite:///{folder}/my.db"
    assert settings.worker_queues == ("default", "gpu")


def test_an_empty_variable_is_unset_and_other_programs_variables_are_theirs(project: Path) -> None:
    settings = load_settings({"ORCHESTRATOR_REDIS_URL": " ", "CELERY_BROKER_URL": "x"})
    assert settings.redis_url is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
        ("postgresql+psycopg:///d?host=/run/pg", "postgresql+psycopg:///d?host=/run/pg"),
        ("sqlite:////srv/x.db", "sqlite:////srv/x.db"),
    ],
)
def test_database_urls_as_people_write_them(project: Path, given: str, meant: str) -> None:
    assert load_settings({"ORCHESTRATOR_DATABASE_URL": given}).database_url == meant


def test_a_list_in_the_environment_is_separated_by_commas(project: Path) -> None:
    settings = load_settings({"ORCHESTRATOR_WORKER_QUEUES": "default, gpu,"})
    assert settings.worker_queues == ("default", "gpu")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("DATABASE_URL", "postgresql://me:s3cret@h/d", "postgresql+psycopg://me:***@h/d"),
        ("DATABASE_URL", "postgresql://me:s3@cr/et@h/d", "postgresql+psycopg://me:***@h/d"),
        (
            "DATABASE_URL",
            "postgresql://h/d?user=me&password=s3cret&sslmode=require",
            "postgresql+psycopg://h/d?user=me&password=***&sslmode=require",
        ),
        ("REDIS_URL", "redis://:s3cret@h:6379/0", "redis://:***@h:6379/0"),
        ("SECRET_KEY", "s3cret" * 8, "***"),
    ],
)
def test_secrets_are_shown_nowhere(project: Path, name: str, value: str, shown: str) -> None:
    settings = load_settings({f"ORCHESTRATOR_{name}": value})
    assert row(settings, f"ORCHESTRATOR_{name}").value == shown
    assert "s3" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "ORCHESTRATOR_API_PRT",
            "1",
            "unknown setting ORCHESTRATOR_API_PRT in the environment; "
            "did you mean 'ORCHESTRATOR_API_PORT'?",
        ),
        (
            "ORCHESTRATOR_ZZZ",
            "1",
            "unknown setting ORCHESTRATOR_ZZZ in the environment; "
            "`orchestrator config list` shows all",
        ),
        (
            "ORCHESTRATOR_API_PORT",
            "http",
            "ORCHESTRATOR_API_PORT='http' must be a whole number from 0 to 65535",
        ),
        (
            "ORCHESTRATOR_API_PORT",
            "65536",
            "ORCHESTRATOR_API_PORT='65536' must be a whole number from 0 to 65535",
        ),
        (
            "ORCHESTRATOR_HEARTBEAT_S",
            "nan",
            "ORCHESTRATOR_HEARTBEAT_S='nan' must be a number of seconds, at least 0.05",
        ),
        (
            "ORCHESTRATOR_LEASE_S",
            "10",
            "ORCHESTRATOR_LEASE_S=10 must be at least three times ORCHESTRATOR_HEARTBEAT_S=10, "
            "or one late heartbeat loses a running task; set it to 30 or more",
        ),
        (
            "ORCHESTRATOR_LOG_LEVEL",
            "loud",
            "ORCHESTRATOR_LOG_LEVEL='loud' must be one of debug, info, warning, error",
        ),
        (
            "ORCHESTRATOR_SECRET_KEY",
            "short",
            "ORCHESTRATOR_SECRET_KEY='***' must be at least 32 characters; "
            "`openssl rand -hex 32` makes one",
        ),
        (
            "ORCHESTRATOR_DATABASE_URL",
            "mysql://me:s3cret@h/d",
            "ORCHESTRATOR_DATABASE_URL='mysql://me:***@h/d' must be a "
            "postgresql://user@host/database or sqlite:///path URL",
        ),
        (
            "ORCHESTRATOR_DATABASE_URL",
            "sqlite:///:memory:",
            "ORCHESTRATOR_DATABASE_URL='sqlite:///:memory:' must name a file, "
            "since several processes share the database",
        ),
        (
            "ORCHESTRATOR_REDIS_URL",
            "localhost:6379",
            "ORCHESTRATOR_REDIS_URL='localhost:6379' must be a redis://, rediss://, unix:// or "
            "redis+socket:// URL",
        ),
        (
            "ORCHESTRATOR_WORKER_QUEUES",
            ",",
            "ORCHESTRATOR_WORKER_QUEUES=',' must be one or more names, "
            "separated by commas in the environment",
        ),
        (
            "ORCHESTRATOR_CONFIG",
            "nowhere.toml",
            "ORCHESTRATOR_CONFIG='nowhere.toml' is not a file; correct or unset it",
        ),
    ],
)
def test_a_wrong_variable_is_one_sentence(
    project: Path, variable: str, value: str, sentence: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: value})
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("api_prt = 1", "unknown setting 'api_prt' in {file}; did you mean 'api_port'?"),
        ("[api]\nport = 1", "unknown setting 'api' in {file}; its names are lower case, flat"),
        ("api_port = 'x'", "api_port = 'x' in {file} must be a whole number from 0 to 65535"),
        (
            "worker_concurrency = true",
            "worker_concurrency = true in {file} must be a whole number, at least 1",
        ),
        ("home = 3", "home = '3' in {file} must be a path"),
        ("api_host = ''", "api_host = '' in {file} must be a text that is not empty"),
        (
            "api_port =",
            "the settings file {file} is not valid TOML: Invalid value (at end of document)",
        ),
    ],
)
def test_a_wrong_line_in_the_file_is_one_sentence(project: Path, text: str, sentence: str) -> None:
    file = project / "settings.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings({"ORCHESTRATOR_CONFIG": str(file)})
    assert str(caught.value) == sentence.format(file=file)


def test_a_file_found_in_home_cannot_move_home(project: Path) -> None:
    file = project / ".orchestrator/orchestrator.toml"
    file.parent.mkdir()
    file.write_text("home = '/elsewhere'")
    with pytest.raises(SettingsError, match="would move the folder this file was found in"):
        load_settings({})
