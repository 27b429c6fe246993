"""Where do the data sets come from, and are they what they should be?"""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ARCHIVE = Path(__file__).parent.parent / "data"
REJECTED_SHARE_MAX = 0.05


@dataclass(frozen=True)
class DataSet:
    """One file of the archive: its name, its SHA-256, who publishes it, how its rows are read and
    which rows are fit for use."""

    name: str
    file: str
    sha256: str
    publisher: str
    read: Callable[[Path], list[dict[str, Any]]]
    accept: Callable[[dict[str, Any]], bool]


def read_weather(path: Path) -> list[dict[str, Any]]:
    """One row a day: date, precipitation in mm, temperatures in Celsius, wind in m/s, weather."""
    with path.open(newline="") as lines:
        return [
            {
                "day": row["date"],
                "rain": float(row["precipitation"]),
                "high": float(row["temp_max"]),
                "low": float(row["temp_min"]),
                "wind": float(row["wind"]),
                "weather": row["weather"],
            }
            for row in csv.DictReader(lines)
        ]


def read_earthquakes(path: Path) -> list[dict[str, Any]]:
    """One row an event: day, magnitude, place, depth in km."""
    return [
        {
            "day": _day(feature["properties"]["time"]),
            "kind": feature["properties"]["type"],
            "magnitude": feature["properties"]["mag"],
            "place": feature["properties"]["place"],
            "depth": feature["geometry"]["coordinates"][2],
        }
        for feature in json.loads(path.read_text())["features"]
    ]


def read_flights(path: Path) -> list[dict[str, Any]]:
    """One row a flight: day, hour, delay in minutes (negative: early), miles, airports."""
    return [
        {
            "day": flight["date"][:10].replace("/", "-"),
            "hour": int(flight["date"][11:13]),
            "delay": flight["delay"],
            "distance": flight["distance"],
            "origin": flight["origin"],
            "destination": flight["destination"],
        }
        for flight in json.loads(path.read_text())
    ]


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).date().isoformat()


DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        DataSet(
            "weather",
            "seattle-weather.csv",
            "0845078a290b48e3149ab8639966824110a251db4e06fc144c06ebb534af23be",
            "NOAA National Climatic Data Center",
            read_weather,
            lambda row: row["low"] <= row["high"] and row["rain"] >= 0,
        ),
        DataSet(
            "earthquakes",
            "earthquakes.json",
            "a42702a83ffbae679f95d1fa53e2cae0bae13b21e599a68cdd50a44fc52129f7",
            "USGS Earthquake Hazards Program",
            read_earthquakes,
            lambda row: row["kind"] == "earthquake" and row["magnitude"] is not None,
        ),
        DataSet(
            "flights",
            "flights-20k.json",
            "52f0ddd892d4569284b845e17323abc9afb7d303ec8f63251634a20327a610bb",
            "U.S. Bureau of Transportation Statistics",
            read_flights,
            lambda row: row["distance"] > 0 and row["origin"] != row["destination"],
        ),
    )
}


def working_folder(run_id: str) -> Path:
    """Return the folder of one run, below the orchestrator's data folder."""
    home = Path(os.environ.get("ORCHESTRATOR_HOME", ".orchestrator"))
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in run_id)
    folder = home.resolve() / "open_data" / safe
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetch(data_set: DataSet, folder: Path, *, line_breaks: bool) -> Path:
    """Copy a data set from the archive and check that all of it arrived.

    `line_breaks` plays a connection that is cut half way; the check finds it, as it would find a
    real one. The file appears under its name only when it is whole.
    """
    source, part = ARCHIVE / data_set.file, folder / f"{data_set.file}.part"
    if line_breaks:
        part.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    else:
        shutil.copyfile(source, part)
    arrived = part.stat().st_size
    if hashlib.sha256(part.read_bytes()).hexdigest() != data_set.sha256:
        raise ConnectionError(
            f"{data_set.file}: {arrived:,} of {source.stat().st_size:,} bytes arrived and the"
            " checksum does not match; trying again"
        )
    return part.rename(folder / data_set.file)


def validate(data_set: DataSet, path: Path) -> dict[str, Any]:
    """Say how many rows are fit for use and which years, months and days they cover."""
    rows = data_set.read(path)
    kept = [row for row in rows if data_set.accept(row)]
    days = sorted({row["day"] for row in kept})
    return {
        "data_set": data_set.name,
        "publisher": data_set.publisher,
        "path": str(path),
        "rows": len(rows),
        "rejected": len(rows) - len(kept),
        "first_day": days[0],
        "last_day": days[-1],
        "fit": len(rows) - len(kept) <= REJECTED_SHARE_MAX * len(rows),
    }


def accepted(checked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows fit for use of a validated data set."""
    data_set = DATA_SETS[checked["data_set"]]
    return [row for row in data_set.read(Path(checked["path"])) if data_set.accept(row)]
