"""What do the data sets say? One summary for each year, month or day."""

from collections import Counter
from statistics import fmean, median
from typing import Any

Rows = list[dict[str, Any]]


def weather_of_year(rows: Rows, year: int) -> dict[str, Any]:
    """Summarise one year: temperatures in Celsius, rain in mm."""
    mine = [row for row in rows if row["day"].startswith(f"{year}-")]
    hottest = max(mine, key=lambda row: row["high"])
    wettest = max(mine, key=lambda row: row["rain"])
    months = [[row for row in mine if row["day"][5:7] == f"{month:02}"] for month in range(1, 13)]
    return {
        "year": year,
        "days": len(mine),
        "mean_high": round(fmean(row["high"] for row in mine), 1),
        "rain": round(sum(row["rain"] for row in mine)),
        "rainy_days": sum(row["rain"] > 0 for row in mine),
        "hottest": [hottest["day"], hottest["high"]],
        "wettest": [wettest["day"], wettest["rain"]],
        "high_by_month": [round(fmean(row["high"] for row in month), 1) for month in months],
        "rain_by_month": [round(sum(row["rain"] for row in month), 1) for month in months],
    }


def earthquakes_of_week(rows: Rows) -> dict[str, Any]:
    """Summarise the week: events by day and by magnitude, and the strongest five."""
    strongest = sorted(rows, key=lambda row: (-row["magnitude"], row["place"]))[:5]
    return {
        "events": len(rows),
        "by_day": dict(sorted(Counter(row["day"] for row in rows).items())),
        "by_magnitude": {
            f"{low} to {low + 1}": sum(low <= row["magnitude"] < low + 1 for row in rows)
            for low in range(-1, 8)
        },
        "median_depth": round(median(row["depth"] for row in rows), 1),
        "strongest": [[row["magnitude"], row["place"], row["day"]] for row in strongest],
    }


def flights_of_month(rows: Rows, month: str) -> dict[str, Any]:
    """Summarise one month (`2001-01`): delays in minutes, shares in percent."""
    mine = [row for row in rows if row["day"].startswith(month)]
    late = [row for row in mine if row["delay"] > 15]
    by_hour: dict[int, list[int]] = {}
    for row in mine:
        by_hour.setdefault(row["hour"], []).append(row["delay"])
    return {
        "month": month,
        "flights": len(mine),
        "mean_delay": round(fmean(row["delay"] for row in mine), 1),
        "late_share": round(100 * len(late) / len(mine), 1),
        "miles": sum(row["distance"] for row in mine),
        "busiest": Counter(row["origin"] for row in mine).most_common(5),
        "delay_by_hour": {
            str(hour): round(fmean(delays), 1)
            for hour, delays in sorted(by_hour.items())
            if len(delays) >= 60
        },
    }


def delays_of_airport(rows: Rows) -> dict[str, Any]:
    """Summarise the departures of one airport."""
    delays = [row["delay"] for row in rows]
    return {
        "flights": len(delays),
        "mean_delay": round(fmean(delays), 1),
        "late_share": round(100 * sum(delay > 15 for delay in delays) / len(delays), 1),
        "worst": max(delays),
    }
