"""How the panel's labels and its one large button look."""

from __future__ import annotations

PLAIN, WARNING, ERROR = (
    "QLabel { padding: 2px; }",
    "QLabel { background: #fff3d1; color: #5a4300; border: 1px solid #e8cb75; border-radius: 4px; padding: 6px; }",
    "QLabel { background: #fde8e6; color: #8c1d18; border: 1px solid #f0b4ae; border-radius: 4px; padding: 6px; }",
)
CARD = "QLabel { background: #eef2f6; color: #28323c; border-radius: 4px; padding: 6px; }"
NOTE = "QLabel { color: #7a8794; }"
DETECT = (
    "QPushButton { background: #1f6feb; color: white; font-weight: bold; border: none; border-radius: 5px; }"
    "QPushButton:hover { background: #3b82f6; } QPushButton:pressed { background: #1a5fcb; }"
    "QPushButton:disabled { background: #c3ccd6; color: #f4f6f8; }"
)
CANCEL = (
    "QPushButton { background: #b3372f; color: white; font-weight: bold; border: none; border-radius: 5px; }"
    "QPushButton:hover { background: #c94a41; } QPushButton:disabled { background: #c3ccd6; color: #f4f6f8; }"
)
