"""How the panel's labels and its one large button look, in Slicer's light style and in its dark one.

Texts have no color of their own here, and backgrounds are a thin wash over the application's: so both follow the style
that Slicer was started with. Nothing is told by color alone: an error has a bar at its left, and its words say
what it is.
"""

from __future__ import annotations

PLAIN, WARNING, ERROR = (
    "QLabel { padding: 2px; }",
    "QLabel { background: rgba(232, 172, 16, 50); border: 1px solid #b8860b; border-radius: 4px; padding: 6px; }",
    "QLabel { background: rgba(213, 60, 50, 45); border: 1px solid #c0392b;"
    " border-left: 6px solid #c0392b; border-radius: 4px; padding: 6px; }",
)
CARD = "QLabel { background: rgba(90, 130, 170, 38); border-radius: 4px; padding: 6px; }"
NOTE = "QLabel { font-style: italic; }"
FOCUS = " QPushButton:focus { border: 2px solid #ffb000; }"
DETECT = (
    "QPushButton { background: #1f6feb; color: white; font-weight: bold; border: none; border-radius: 5px; }"
    "QPushButton:hover { background: #1a62d0; } QPushButton:pressed { background: #1a5fcb; }"
    "QPushButton:disabled { background: #6b7580; color: white; }" + FOCUS
)
CANCEL = (
    "QPushButton { background: #b3372f; color: white; font-weight: bold; border: none; border-radius: 5px; }"
    "QPushButton:hover { background: #9d2f28; } QPushButton:disabled { background: #6b7580; color: white; }" + FOCUS
)
