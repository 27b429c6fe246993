"""The files to deploy with call commands, name settings and find paths that exist."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from orchestrator.cli.app import app
from orchestrator.settings import CONFIG_VARIABLE, PREFIX, Settings, load_settings

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
COMPOSE: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {
    name: service
    for name, service in COMPOSE["services"].items()
    if service.get("image") == "orchestrator"
}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
README = (DEPLOY / "README.md").read_text()
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}


def parse(arguments: list[str]) -> None:
    """Have the CLI read a command line, without doing what it says."""
    command: Any = typer.main.get_command(app)
    context = None
    while hasattr(command, "commands"):
        name, *arguments = arguments
        assert name in command.commands, f"there is no command {name!r}"
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
        command = command.commands[name]
    command.make_context(command.name, arguments, parent=context)


def settings_in(text: str) -> set[str]:
    return set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text))


def unit_lines(unit: Path) -> Mapping[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            lines.setdefault(name, []).append(value)
    return lines


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_the_parser_of_this_file_refuses_what_the_cli_does() -> None:
    parse(["worker", "-Q", "default", "-c", "4"])
    with pytest.raises(AssertionError, match="no command 'wrk'"):
        parse(["wrk"])
    with pytest.raises(Exception, match="No such option"):
        parse(["worker", "--queue", "default"])


@pytest.mark.parametrize("service", sorted(OURS))
def test_each_service_of_compose_calls_a_command_that_exists(service: str) -> None:
    parse(OURS[service]["command"])
    if "healthcheck" in OURS[service]:
        kind, program, *arguments = OURS[service]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "orchestrator")
        parse(arguments)


def test_compose_has_what_an_installation_needs() -> None:
    commands = [service["command"][0] for service in OURS.values()]
    assert sorted(commands) == ["api", "db", "scheduler", "scheduler", "worker"]
    assert OURS["migrate"]["command"] == ["db", "migrate"]
    for name, service in OURS.items():
        waits_for = service["depends_on"]
        assert set(waits_for) <= set(COMPOSE["services"])
        if name != "migrate":
            assert waits_for["migrate"]["condition"] == "service_completed_successfully"


def test_what_compose_mounts_and_builds_from_is_there() -> None:
    build = OURS["api"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]) == DEPLOY / "Dockerfile"
    for service in COMPOSE["services"].values():
        for mount in service["volumes"]:
            source = mount.partition(":")[0]
            assert (
                (DEPLOY / source).is_dir()
                if source.startswith(".")
                else source in COMPOSE["volumes"]
            )
        if "env_file" in service:
            assert (DEPLOY / f"{service['env_file']}.example").is_file()


def test_a_worker_gets_its_grace_before_it_is_killed() -> None:
    grace_s = load_settings({}).shutdown_grace_s
    assert seconds(OURS["worker"]["stop_grace_period"]) > grace_s + 10
    (worker,) = [unit for unit in UNITS if "worker" in unit.name]
    assert seconds(unit_lines(worker)["TimeoutStopSec"][0]) > grace_s + 10


def test_only_this_machine_reaches_the_api_and_nobody_else_anything() -> None:
    published = [port for s in COMPOSE["services"].values() for port in s.get("ports", ())]
    assert published == ["127.0.0.1:8080:8080"]


def test_the_example_of_settings_is_complete_but_for_its_secrets() -> None:
    lines = [
        line.partition("=")[::2]
        for line in (DEPLOY / "orchestrator.env.example").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    values = dict(lines)
    assert [name for name, value in lines if not value] == [
        "ORCHESTRATOR_SECRET_KEY",
        "POSTGRES_PASSWORD",
    ]
    assert {name for name in values if not name.startswith(PREFIX)} == {
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
        "POSTGRES_DB",
    }
    settings = load_settings(
        {name: value for name, value in values.items() if name.startswith(PREFIX)}
        | {"ORCHESTRATOR_SECRET_KEY": "0123456789abcdef" * 4}
    )
    hosts = {settings.database_url.partition("@")[2].partition("/")[0]}
    assert settings.redis_url is not None
    hosts.add(settings.redis_url.removeprefix("redis://").partition(":")[0])
    assert hosts == {"postgres", "redis"} <= set(COMPOSE["services"])


def test_every_setting_named_is_one() -> None:
    for path in (*DEPLOY.rglob("*"), ROOT / ".dockerignore"):
        if path.is_file():
            assert settings_in(path.read_text()) <= SETTINGS, path


def test_the_image_is_built_from_what_is_there_and_not_excluded() -> None:
    taken = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == taken
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_runs_our_command_and_not_as_root() -> None:
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert 'ENTRYPOINT ["orchestrator"]' in DOCKERFILE
    assert 'orchestrator = "orchestrator.cli:main"' in (ROOT / "pyproject.toml").read_text()
    assert "uv sync --frozen" in DOCKERFILE


def commands_of(unit: Path) -> Iterator[list[str]]:
    for line in unit_lines(unit)["ExecStart"]:
        program, *arguments = shlex.split(line.replace("%i", "default,gpu"))
        assert program == "/opt/orchestrator/bin/orchestrator"
        yield arguments


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_unit_calls_a_command_that_exists(unit: Path) -> None:
    for arguments in commands_of(unit):
        parse(arguments)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_each_unit_has_few_rights(unit: Path) -> None:
    lines = unit_lines(unit)
    assert lines["User"] == ["orchestrator"]
    assert lines["NoNewPrivileges"] == ["yes"]
    assert lines["ProtectSystem"] == ["strict"]
    assert lines["CapabilityBoundingSet"] == [""]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_each_unit(unit: Path, tmp_path: Path) -> None:
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        # Without systemd: the sections are known, and nothing stands outside of one.
        assert re.findall(r"^\[(.+)\]$", unit.read_text(), re.MULTILINE) == [
            "Unit",
            "Service",
            "Install",
        ]
        return
    copy = tmp_path / unit.name
    # The program is not installed where tests run; everything else is verified.
    copy.write_text(unit.read_text().replace("/opt/orchestrator/bin/orchestrator", "/bin/true"))
    done = subprocess.run(
        [verifier, "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_of_the_readme_exists() -> None:
    called = re.findall(r"`orchestrator ((?:db|health|worker|scheduler|api)[^`]*)`", README)
    assert called
    for line in called:
        parse(shlex.split(line))


def test_the_readme_names_the_files_there_are() -> None:
    named = set(re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE))
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in DEPLOY.iterdir()
        if path.name not in ("README.md", "orchestrator.env")
    }
    assert named == there
