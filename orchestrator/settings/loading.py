"""Where each setting's value comes from: environment over file over default.

The file is the one `ORCHESTRATOR_CONFIG` names, or `orchestrator.toml` in the data folder. An empty
variable counts as unset. Relative paths are relative to the current folder, those in the file to
the file's folder.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from orchestrator.errors import SettingsError, did_you_mean
from orchestrator.settings.model import (
    PREFIX,
    SECRET_KEY_LENGTH_MIN,
    Origin,
    Settings,
    absolute_sqlite_url,
)

__all__ = ["CONFIG_VARIABLE", "SettingRow", "describe", "load_settings"]

CONFIG_VARIABLE = "ORCHESTRATOR_CONFIG"

_FILE_NAME = "orchestrator.toml"
_MASK = "***"
_NOT_SETTINGS = (f"{PREFIX}CONN_", f"{PREFIX}VAR_")
"""Connections and Variables of authors, which tasks read."""


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of `orchestrator config list`; secrets are masked."""

    name: str
    value: str
    origin: Origin


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read all three layers; SettingsError names the one thing to change."""
    environ = os.environ if environ is None else environ
    from_environment = _read_environment(environ)
    config_file = _find_config_file(environ)
    from_file = {} if config_file is None else _read_file(config_file)
    if "home" in from_file and CONFIG_VARIABLE not in environ:
        raise SettingsError(
            f"home in {config_file} would move the folder this file was found in; "
            f"set {PREFIX}HOME instead"
        )
    values = from_file | from_environment
    origins = dict.fromkeys(from_file, Origin.FILE)
    origins |= dict.fromkeys(from_environment, Origin.ENVIRONMENT)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_sentence(error, values, origins, config_file)) from None
    settings._origins = origins
    settings._config_file = config_file
    return settings


def describe(settings: Settings) -> list[SettingRow]:
    """Say each setting's value and where it came from, in the order of the model."""
    return [
        SettingRow(
            name=PREFIX + name.upper(),
            value=_shown(getattr(settings, name), field),
            origin=settings._origins.get(name, Origin.DEFAULT),
        )
        for name, field in Settings.model_fields.items()
    ]


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings among the variables, by field name."""
    values: dict[str, Any] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == CONFIG_VARIABLE:
            continue
        if variable.startswith(_NOT_SETTINGS):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in Settings.model_fields:
            raise SettingsError(
                f"unknown setting {variable} in the environment{_nearest_variable(name)}"
            )
        if environ[variable].strip():
            values[name] = environ[variable].strip()
    return values


def _nearest_variable(name: str) -> str:
    """Judge likeness without the prefix: it would make every variable look alike."""
    names = [*Settings.model_fields, CONFIG_VARIABLE.removeprefix(PREFIX).lower()]
    if not did_you_mean(name, names):
        return "; `orchestrator config list` shows all"
    return did_you_mean(PREFIX + name.upper(), [PREFIX + known.upper() for known in names])


def _find_config_file(environ: Mapping[str, str]) -> Path | None:
    """Return the file that is named (it must exist) or the one in the data folder, if any."""
    if named := environ.get(CONFIG_VARIABLE, "").strip():
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise SettingsError(f"{CONFIG_VARIABLE}={named!r} is not a file; correct or unset it")
        return path
    home = environ.get(f"{PREFIX}HOME", "").strip() or ".orchestrator"
    path = Path(home).expanduser().absolute() / _FILE_NAME
    return path if path.is_file() else None


def _read_file(path: Path) -> dict[str, Any]:
    """Return the file's settings, with its relative paths made absolute from its own folder."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"the settings file {path} cannot be read ({error.strerror}); correct its permissions"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings file {path} is not valid TOML: {error}") from None
    for key, value in values.items():
        if key not in Settings.model_fields:
            raise SettingsError(
                f"unknown setting {key!r} in {path}"
                f"{did_you_mean(key, Settings.model_fields) or '; its names are lower case, flat'}"
            )
        if isinstance(value, bool) and Settings.model_fields[key].annotation is not bool:
            raise SettingsError(
                f"{key} = {str(value).lower()} in {path} must be {_expectation(key)}"
            )
    for key in ("home", "dags_folder", "spool_folder"):
        if isinstance(values.get(key), str):
            values[key] = path.parent / Path(values[key]).expanduser()
    if isinstance(url := values.get("database_url"), str) and url.startswith("sqlite:///"):
        values["database_url"] = absolute_sqlite_url(url, path.parent)
    return values


def _sentence(
    error: ValidationError,
    values: Mapping[str, Any],
    origins: Mapping[str, Origin],
    config_file: Path | None,
) -> str:
    """Turn pydantic's first complaint into one sentence: setting, value, cure."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    field = Settings.model_fields[name]
    shown = _shown(values[name], field)
    if origins[name] is Origin.FILE:
        label = f"{name} = {shown!r} in {config_file}"
    else:
        label = f"{PREFIX}{name.upper()}={shown!r}"
    if first["type"] == "value_error":
        return f"{label} {first['ctx']['error']}"
    return f"{label} must be {_expectation(name)}"


def _expectation(name: str) -> str:
    """Say in words which values a setting takes, from its JSON schema."""
    schema = Settings.model_json_schema()["properties"][name]
    if name == "secret_key":
        return f"at least {SECRET_KEY_LENGTH_MIN} characters; `openssl rand -hex 32` makes one"
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if "maximum" in schema:
        return f"a whole number from {schema['minimum']} to {schema['maximum']}"
    if "minimum" in schema:
        kind = "a whole number" if schema["type"] == "integer" else "a number of seconds"
        return f"{kind}, at least {schema['minimum']:g}"
    if schema.get("type") == "boolean":
        return "true or false"
    if schema.get("type") == "array":
        return "one or more names, separated by commas in the environment"
    return "a path" if schema.get("format") == "path" else "a text that is not empty"


def _shown(value: object, field: FieldInfo) -> str:
    """Write a value for a person, secrets and the passwords within URLs masked."""
    if value is None or value == ():
        assert isinstance(field.json_schema_extra, dict)
        return str(field.json_schema_extra["shown"])
    if field.annotation == SecretStr | None:
        return _MASK
    if isinstance(value, tuple | list):
        return ",".join(str(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return _masked_url(str(value))


def _masked_url(text: str) -> str:
    """Hide the password of a URL, wherever it is written: before the host or in the query.

    Greedy up to the last `@`: a password with an unescaped `@` or `/` must not show its end.
    """
    text = re.sub(r"(://[^:/@]*:).*@", rf"\g<1>{_MASK}@", text)
    return re.sub(r"([?&][^=&]*pass[^=&]*=)[^&#]*", rf"\g<1>{_MASK}", text, flags=re.IGNORECASE)
