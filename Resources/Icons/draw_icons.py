# ruff: noqa: E501  (SVG paths are not broken)
"""Draws the extension's icons: an axial CT, a place that the prior did not expect, and the outline that marks it.

    python Resources/Icons/draw_icons.py

writes KLIPSlicer.svg (the module's icon), KLIPSlicer.png (128 pixels, for the extension catalog) and
SyntheticStudy.png (for the Sample Data module). Needs PySide6-Essentials for the PNG files.
"""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent


def icon(width: int = 128, height: int = 128, corner: float = 26.0, scale: float = 1.0) -> str:
    """The drawing as SVG, centered in a tile of this size, ``scale`` times as large."""
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">
  <defs>
    <linearGradient id="night" x1="0" y1="0" x2="0" y2="1">
      <stop offset="0" stop-color="#1b2735"/><stop offset="1" stop-color="#0a0f16"/>
    </linearGradient>
    <radialGradient id="tissue" cx="0.5" cy="0.42" r="0.62">
      <stop offset="0" stop-color="#a9b4c0"/><stop offset="0.75" stop-color="#7c8895"/><stop offset="1" stop-color="#566370"/>
    </radialGradient>
    <radialGradient id="liver" cx="0.45" cy="0.45" r="0.7">
      <stop offset="0" stop-color="#c9d1d9"/><stop offset="1" stop-color="#9aa6b2"/>
    </radialGradient>
    <radialGradient id="heat" cx="0.5" cy="0.5" r="0.5">
      <stop offset="0" stop-color="#fcffa4"/><stop offset="0.28" stop-color="#fca50a"/><stop offset="0.55" stop-color="#dd513a"/>
      <stop offset="0.8" stop-color="#932667" stop-opacity="0.75"/><stop offset="1" stop-color="#420a68" stop-opacity="0"/>
    </radialGradient>
  </defs>
  <rect width="{width}" height="{height}" rx="{corner}" fill="url(#night)"/>
  <g transform="translate({width / 2} {height / 2}) scale({scale}) translate(-64 -65)">
    <ellipse cx="64" cy="65" rx="53" ry="41" fill="#3b4754"/>
    <ellipse cx="64" cy="65" rx="48" ry="36.5" fill="url(#tissue)"/>
    <path d="M20 62 C21 42 40 32 60 34 C72 35 77 42 70 51 C63 60 57 74 47 86 C33 90 20 78 20 62 Z" fill="url(#liver)"/>
    <ellipse cx="92" cy="56" rx="13" ry="17" fill="#8d99a6" transform="rotate(-14 92 56)"/>
    <circle cx="64" cy="69" r="4.6" fill="#e8edf2"/>
    <path d="M64 79 C72 79 75 84 74 89 C73 94 69 96 68 101 L60 101 C59 96 55 94 54 89 C53 84 56 79 64 79 Z" fill="#eef2f5"/>
    <circle cx="64" cy="92" r="3.1" fill="#6d7986"/>
    <circle cx="42" cy="58" r="21" fill="url(#heat)"/>
    <path d="M42 44.5 C50 44 56 50 55.5 58 C55 66.5 49.5 71.5 42 71.3 C33.5 71 28.5 65.5 28.8 57.5 C29.2 49.5 34.5 45 42 44.5 Z"
          fill="none" stroke="#19e3ff" stroke-width="2.6"/>
  </g>
</svg>
"""


def save_png(svg: str, path: Path, width: int, height: int) -> None:
    """Render an SVG."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6.QtCore import QByteArray, Qt
    from PySide6.QtGui import QGuiApplication, QImage, QPainter
    from PySide6.QtSvg import QSvgRenderer

    application = QGuiApplication.instance() or QGuiApplication([])
    image = QImage(width, height, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    QSvgRenderer(QByteArray(svg.encode())).render(painter)
    painter.end()
    image.save(str(path))
    assert application is not None


if __name__ == "__main__":
    (HERE / "KLIPSlicer.svg").write_text(icon(), encoding="utf-8")
    save_png(icon(), HERE / "KLIPSlicer.png", 128, 128)
    save_png(icon(260, 280, 12.0, 2.15), HERE / "SyntheticStudy.png", 260, 280)
