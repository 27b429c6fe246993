"""How does a page show the summaries? Plain HTML, charts drawn in SVG: no script, no link."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --quiet: #5d6b79; --line: #d9e0e7;
  --page: #fbfcfd; --card: #fff; --a: #2f6fb0; --b: #e08a2e; --c: #3d9a6c; --d: #8a5bb5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --quiet: #9aa8b5; --line: #33404d;
  --page: #12181e; --card: #1a222a; --a: #6aa9e6; --b: #f0aa5c; --c: #6cc79a; --d: #b98fe0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .25rem; } h2 { margin: 2.5rem 0 .25rem; }
.quiet, figcaption { color: var(--quiet); }
p { max-width: 46rem; margin: .25rem 0 1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; }
.card, figure { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem; margin: 0 0 1rem; }
.card b { display: block; font-size: 1.7rem; line-height: 1.2; }
table { border-collapse: collapse; width: 100%; margin: 0 0 1rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .left { text-align: left; } th { font-weight: 600; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--quiet); font-size: 11px; }
.scroll { overflow-x: auto; } footer { margin-top: 3rem; color: var(--quiet); font-size: .9rem; }
"""
COLOURS = ("var(--a)", "var(--b)", "var(--c)", "var(--d)")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 900, 260, 44, 28, 14


def page(title: str, intro: str, sections: Iterable[str], footer: str) -> str:
    """Put a page together; `intro` and `footer` are plain text."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class='quiet'>{escape(intro)}</p>"
        + "\n".join(sections)
        + f"<footer>{escape(footer)}</footer></main></body></html>\n"
    )


def inputs(checks: Sequence[dict[str, Any]]) -> str:
    """Say what was read: one card for each data set."""
    cards = "".join(
        f"<div class='card'><b>{check['rows']:,}</b>{escape(check['data_set'])} rows<br>"
        f"<span class='quiet'>{check['rejected']:,} left out · {check['first_day']} to"
        f" {check['last_day']}<br>{escape(check['publisher'])}</span></div>"
        for check in checks
    )
    return f"<h2>What was read</h2><div class='cards'>{cards}</div>"


def weather(years: Sequence[dict[str, Any]]) -> str:
    """Show the years side by side."""
    rows = [
        (
            year["year"],
            f"{year['mean_high']:.1f} °C",
            f"{year['rain']:,} mm",
            year["rainy_days"],
            f"{year['hottest'][1]:.1f} °C on {year['hottest'][0]}",
            f"{year['wettest'][1]:.1f} mm on {year['wettest'][0]}",
        )
        for year in years
    ]
    warmest = max(years, key=lambda year: year["mean_high"])
    wettest = max(years, key=lambda year: year["rain"])
    return (
        "<h2>Seattle's weather</h2>"
        f"<p>{warmest['year']} was the warmest of these years, {wettest['year']} the wettest.</p>"
        + table(("Year", "Mean high", "Rain", "Rainy days", "Hottest day", "Wettest day"), rows)
        + lines(
            "Mean daily high by month, °C",
            MONTHS,
            {str(year["year"]): year["high_by_month"] for year in years},
        )
    )


def earthquakes(week: dict[str, Any]) -> str:
    """Show one week of events."""
    rows = [(place, f"M {magnitude:.1f}", day) for magnitude, place, day in week["strongest"]]
    return (
        "<h2>A week of earthquakes</h2>"
        f"<p>{week['events']:,} earthquakes were recorded; half of them lay less than"
        f" {week['median_depth']:g} km deep.</p>"
        + bars("Events by magnitude", week["by_magnitude"])
        + table(("Strongest", "Magnitude", "Day (UTC)"), rows)
    )


def flights(months: Sequence[dict[str, Any]]) -> str:
    """Show the months side by side."""
    rows = [
        (
            month["month"],
            f"{month['flights']:,}",
            f"{month['mean_delay']:.1f} min",
            f"{month['late_share']:.1f} %",
            ", ".join(code for code, _ in month["busiest"]),
        )
        for month in months
    ]
    hours = sorted({int(hour) for month in months for hour in month["delay_by_hour"]})
    shown = [hour for hour in hours if all(str(hour) in month["delay_by_hour"] for month in months)]
    series = {
        month["month"]: [month["delay_by_hour"][str(hour)] for hour in shown] for month in months
    }
    return (
        "<h2>Domestic flights in early 2001</h2>"
        "<p>Delays grow through the day: fly in the morning.</p>"
        + table(("Month", "Flights", "Mean delay", "Over 15 min late", "Busiest origins"), rows)
        + lines("Mean delay by hour of departure, minutes", [f"{h}:00" for h in shown], series)
    )


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table whose first column is text."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<div class='scroll'><table><tr>{head}</tr>{body}</table></div>"


def bars(caption: str, counts: dict[str, int]) -> str:
    """A bar chart with the figure over each bar."""
    top = max(counts.values())
    step = (WIDTH - LEFT) / len(counts)
    drawn = []
    for index, (label, count) in enumerate(counts.items()):
        height = (HEIGHT - BOTTOM - TOP) * count / top
        x, y = LEFT + index * step, HEIGHT - BOTTOM - height
        middle = x + step / 2
        drawn.append(
            f"<rect x='{x + step * 0.12:.1f}' y='{y:.1f}' width='{step * 0.76:.1f}'"
            f" height='{height:.1f}' rx='3' fill='var(--a)'/>"
            f"<text x='{middle:.1f}' y='{y - 4:.1f}' text-anchor='middle'>{count:,}</text>"
            f"<text x='{middle:.1f}' y='{HEIGHT - 9}' text-anchor='middle'>{escape(label)}</text>"
        )
    return _figure(caption, "".join(drawn))


def lines(caption: str, labels: Sequence[str], series: dict[str, Sequence[float]]) -> str:
    """A line chart, one colour a series, with the series' name at its end."""
    values = [value for points in series.values() for value in points]
    low, high = min(0.0, *values), max(values)
    span = (high - low) or 1.0

    def x(index: int) -> float:
        return LEFT + 10 + index * (WIDTH - LEFT - 80) / max(1, len(labels) - 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - BOTTOM - TOP) * (high - value) / span

    drawn = [
        f"<line x1='{LEFT}' x2='{WIDTH - 60}' y1='{y(tick):.1f}' y2='{y(tick):.1f}'"
        f" stroke='var(--line)'/><text x='{LEFT - 6}' y='{y(tick) + 4:.1f}' text-anchor='end'>"
        f"{tick:.0f}</text>"
        for tick in (low, low + span / 2, high)
    ]
    drawn += [
        f"<text x='{x(index):.1f}' y='{HEIGHT - 9}' text-anchor='middle'>{escape(label)}</text>"
        for index, label in enumerate(labels)
    ]
    ends = _apart([y(points[-1]) for points in series.values()])
    for colour, (name, points), end in zip(COLOURS * 4, series.items(), ends, strict=False):
        path = " ".join(f"{x(i):.1f},{y(value):.1f}" for i, value in enumerate(points))
        drawn.append(
            f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2.2'"
            f" stroke-linejoin='round'/><text x='{x(len(points) - 1) + 7:.1f}' y='{end + 4:.1f}'"
            f" style='fill:{colour}'>{escape(name)}</text>"
        )
    return _figure(caption, "".join(drawn))


def _apart(heights: Sequence[float]) -> list[float]:
    """Move labels that would cover each other apart, keeping their order."""
    placed = dict.fromkeys(range(len(heights)), 0.0)
    previous = float("-inf")
    for index in sorted(placed, key=lambda i: heights[i]):
        previous = placed[index] = max(heights[index], previous + 13)
    return [placed[index] for index in range(len(heights))]


def _figure(caption: str, drawing: str) -> str:
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{escape(caption)}'>"
        f"{drawing}</svg></figure>"
    )
