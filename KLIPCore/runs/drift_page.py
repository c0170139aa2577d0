"""The drift chart as a page: one self-contained HTML file with a picture for each scanner and quantity.

Above, the distance of each week's mean from the usual one in standard errors, with the limits of 3 sigma; below, the
two CUSUM sums with theirs. Lines are SVG, drawn here: the page fetches nothing and grows with the number of weeks.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from KLIPCore.export.files import write_bytes
from KLIPCore.runs.drift import LIMIT, SIGMAS, Point

WIDTH, UPPER, LOWER, LEFT, GAP = 720, 110, 80, 46, 26
"""Pixels of a picture: its width, the heights of both charts, the room for numbers, and that between the charts."""
MOST_SIGMAS, MOST_SUM = 9.0, 20.0
"""What lies beyond is drawn at the rim."""
MEANING = {
    "anatomy": "anatomy: distance from the prior's training slices, z",
    "air": "air inside the body, z",
    "contrast": "brightest plain soft tissue, z towards the dark",
    "left-right": "agreement of left and right with the training slices, z",
    "front-back": "agreement of front and back with the training slices, z",
    "noise_hu": "noise in soft tissue, HU",
    "fat_hu": "peak of fat, HU",
    "air_hu": "peak of air, HU",
}
STYLE = """
:root { --page: #f4f5f7; --card: #fff; --ink: #1a1f27; --soft: #5b6675; --line: #cfd6de; --up: #1f5fbf; --down: #9a5b00; --alarm: #c22a20; }
@media (prefers-color-scheme: dark) { :root { --page: #0a0d11; --card: #13181f; --ink: #e4e9f0; --soft: #95a1b1; --line: #3a4552; --up: #7db2ff; --down: #ffc46b; --alarm: #ff7a70; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 800px; margin: 0 auto; padding: 24px 20px 48px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 20px; margin-top: 16px; }
h1 { font-size: 1.7rem; margin: 0; } h2 { font-size: 1.2rem; margin: 26px 0 0; } h3 { font-size: 1rem; margin: 0 0 6px; }
p { margin: 6px 0; max-width: 78ch; } .soft { color: var(--soft); font-size: .92rem; } .alarm { color: var(--alarm); font-weight: 600; }
svg { width: 100%; height: auto; display: block; } text { fill: var(--soft); font-size: 11px; }
.axis { stroke: var(--line); } .limit { stroke: var(--alarm); stroke-dasharray: 5 4; } .means { stroke: var(--ink); fill: none; stroke-width: 1.4; }
.up { stroke: var(--up); fill: none; stroke-width: 2; } .down { stroke: var(--down); fill: none; stroke-width: 2; stroke-dasharray: 2 3; }
.dot { fill: var(--ink); } .dot.alarm { fill: var(--alarm); }
"""  # noqa: E501


def write_drift_page(points: Sequence[Point], path: Path) -> Path:
    """Write the page.

    Parameters
    ----------
    points : of :func:`KLIPCore.runs.drift.drift_chart`.
    path : of the page.

    Raises
    ------
    OutputError : it cannot be written.
    """
    return write_bytes(path, drift_page(points).encode("utf-8"))


def drift_page(points: Sequence[Point]) -> str:
    """Return the page as text; names of scanners are escaped."""
    alarms = sum(bool(point.alarm) for point in points)
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Drift of scanners</title><style>{STYLE}</style></head><body><main>",
        "<h1>Drift of scanners</h1>",
        f"<p>{alarms} alarms among {len(points)} weekly means. Each week of a scanner is compared with its own first "
        "studies.</p>",
        f'<p class="soft">Upper chart: distance of the week\'s mean from the usual one in standard errors; dashed: ±'
        f"{SIGMAS:g}. Lower chart: CUSUM of small lasting shifts upwards (solid) and downwards (dotted); dashed: "
        f"{LIMIT:g}. Red: an alarm.</p>",
    ]
    for scanner in dict.fromkeys(point.scanner for point in points):
        parts.append(f"<h2>{escape(scanner)}</h2>")
        own = [point for point in points if point.scanner == scanner]
        for quantity in dict.fromkeys(point.quantity for point in own):
            parts.append(_section([point for point in own if point.quantity == quantity]))
    if not points:
        parts.append("<p>No scanner has more studies than its baseline: there is nothing to chart yet.</p>")
    parts.append('<p class="soft">Research software. Not a medical device.</p></main></body></html>\n')
    return "\n".join(parts)


def _section(chart: Sequence[Point]) -> str:
    """One quantity of one scanner."""
    first, alarms = chart[0], [point for point in chart if point.alarm]
    said = "; ".join(f"{point.week} {point.alarm}" for point in alarms[:6]) + ("; …" if len(alarms) > 6 else "")
    return (
        f"<section><h3>{escape(MEANING.get(first.quantity, first.quantity))}</h3>"
        f'<p class="soft">Usually {first.usual:.2f} ± {first.spread:.2f}.'
        + (f' <span class="alarm">{escape(said)}</span>' if said else "")
        + f"</p>{_picture(chart)}</section>"
    )


def _picture(chart: Sequence[Point]) -> str:
    """The two charts of one quantity as SVG."""
    height = UPPER + GAP + LOWER + 22
    step = (WIDTH - LEFT - 12) / max(len(chart) - 1, 1)
    x = [LEFT + step * n for n in range(len(chart))]
    top = min(MOST_SIGMAS, max(SIGMAS + 1, *(abs(point.u) for point in chart)))
    high = min(MOST_SUM, max(LIMIT + 1, *(max(point.up, point.down) for point in chart)))

    def upper(u: float) -> float:
        return 8 + (UPPER - 16) * (top - min(max(u, -top), top)) / (2 * top)

    def lower(s: float) -> float:
        return UPPER + GAP + (LOWER - 6) * (high - min(s, high)) / high

    lines = [
        _level(upper(value), f"{value:+g}" if value else "0", "limit" if value else "axis")
        for value in (SIGMAS, 0.0, -SIGMAS)
    ]
    lines += [_level(lower(0.0), "0", "axis"), _level(lower(LIMIT), f"{LIMIT:g}", "limit")]
    lines.append(_line(x, [upper(point.u) for point in chart], "means"))
    lines.append(_line(x, [lower(point.up) for point in chart], "up"))
    lines.append(_line(x, [lower(point.down) for point in chart], "down"))
    for place, point in zip(x, chart, strict=True):
        kind = "dot alarm" if point.alarm else "dot"
        title = escape(
            f"{point.week}: {point.mean:.2f} in {point.n} studies; u = {point.u:+.1f} {point.alarm}".strip()
        )
        lines.append(
            f'<circle class="{kind}" cx="{place:.1f}" cy="{upper(point.u):.1f}" r="3.2">'
            f"<title>{title}</title></circle>"
        )
    every = max(1, round(len(chart) / 8))
    for place, point in list(zip(x, chart, strict=True))[::every]:
        lines.append(f'<text x="{place:.1f}" y="{height - 4}" text-anchor="middle">{escape(point.week)}</text>')
    label = escape(f"Weekly means and CUSUM of {chart[0].quantity}, {chart[0].scanner}")
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">{"".join(lines)}</svg>'


def _level(y: float, text: str, kind: str) -> str:
    """A horizontal line with its number."""
    return (
        f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - 12}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _line(x: Sequence[float], y: Sequence[float], kind: str) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline class="{kind}" points="{points}"/>'
