"""The picture of the drift chart in docs/guard.md: `python docs/make_drift_image.py`.

Verdicts of a simulated scanner, four studies a week for 26 weeks (seed 0): from week 14 on its contrast protocol is a
little weaker, in week 20 its noise is far too high. Writes docs/images/drift.png, two charts of the page that
`klip drift --page` makes, in the page's light colours.
"""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from KLIPCore.runs.drift import drift_chart
from KLIPCore.runs.drift_page import MEANING, drift_page

IMAGES = Path(__file__).resolve().parent / "images"
WEEKS, A_WEEK, WEAKER, NOISY = 26, 4, 14, 20
SCALE = 1.25


def verdicts(seed: int = 0) -> list[dict[str, Any]]:
    """What `klip guard --format json` would have written."""
    rng, first = np.random.default_rng(seed), datetime.date(2026, 1, 5)
    return [
        {
            "scanner": "simulated scanner",
            "date": (first + datetime.timedelta(weeks=week, days=day)).isoformat(),
            "z": {"contrast": rng.normal() + 1.0 * (week >= WEAKER)},
            "physical": {"noise_hu": 12 + rng.normal() + 9.0 * (week == NOISY)},
        }
        for week in range(WEEKS)
        for day in range(A_WEEK)
    ]


def main() -> None:
    """Draw."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6 import QtCore, QtGui, QtSvg

    application = QtGui.QGuiApplication([])
    page = drift_page(drift_chart(verdicts()))
    style = re.sub(r"@media.*\n", "", re.findall(r"<style>(.*?)</style>", page, re.DOTALL)[0])
    colours = dict(re.findall(r"(--\w+): (#\w+)", style))
    style = re.sub(r"var\((--\w+)\)", lambda found: colours[found[1]], style)
    looks = {  # Qt's SVG knows no style sheets
        name: " ".join(f'{key.strip()}="{value.strip()}"' for key, value in re.findall(r"([\w-]+):([^;]+);", rules))
        for name, rules in re.findall(r"\.([\w. ]+) \{(.*?)\}", style)
    }
    pictures = re.findall(r"<svg (.*?)>(.*?)</svg>", page, re.DOTALL)
    titles = [MEANING[name] for name in ("contrast", "noise_hu")]
    box = [float(v) for v in re.findall(r'viewBox="([^"]*)"', pictures[0][0])[0].split()]
    width, height = int(SCALE * (box[2] + 40)), int(SCALE * (box[3] + 44))
    image = QtGui.QImage(width, height * len(pictures), QtGui.QImage.Format.Format_RGB32)
    image.fill(QtGui.QColor("white"))
    painter = QtGui.QPainter(image)
    for n, (head, body) in enumerate(pictures):
        body = re.sub(r'class="([\w ]+)"', lambda found: looks[found[1].replace(" ", ".")], body)
        body = body.replace("<text ", f'<text fill="{colours["--soft"]}" font-size="11" font-family="DejaVu Sans" ')
        text = f'<svg xmlns="http://www.w3.org/2000/svg" {head}>{body}</svg>'
        renderer = QtSvg.QSvgRenderer(QtCore.QByteArray(text.encode()))
        painter.setFont(QtGui.QFont("DejaVu Sans", int(9 * SCALE)))
        painter.drawText(QtCore.QPointF(20 * SCALE, n * height + 24 * SCALE), titles[n])
        target = QtCore.QRectF(20 * SCALE, n * height + 34 * SCALE, SCALE * box[2], SCALE * box[3])
        renderer.render(painter, target)
    painter.end()
    image.save(str(IMAGES / "drift.png"))
    del application


if __name__ == "__main__":
    main()
