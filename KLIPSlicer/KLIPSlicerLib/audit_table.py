"""The table of an audit: each structure, what the data say of it, and by how much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from .audit_scene import verdictNames
from .region_table import setUpTable, swatchOf
from .table_keys import TableKeys


def columns() -> list[tuple[str, str, Callable[[dict[str, Any]], str]]]:
    """Heading, tooltip and text of each column."""
    return [
        (_("Structure"), _("Its color is that of the verdict."), lambda r: str(r["name"])),
        (
            _("The data say"),
            _(
                "measured: the data hold it. contradicted: they speak against it, so it was probably invented. "
                "unprovable: they cannot tell, invented or not."
            ),
            lambda r: verdictNames()[r["verdict"]],
        ),
        (
            _("Held"),
            _("How much of the structure the data hold: 1 all of it, 0 none. With its standard error."),
            lambda r: f"{_number(r['amplitude'], 2)} ± {_number(r['amplitude_error'], 2)}",
        ),
        (
            _("Nats"),
            _("For the structure as it is shown, against none. Three are odds of twenty to one."),
            lambda r: _number(r["support_nats"], 1, sign=True),
        ),
        (
            _("Expected"),
            _("Nats that this scan would give were the structure there as shown. Below three it cannot show it."),
            lambda r: _number(r["information_nats"], 1),
        ),
    ]


class AuditTable:
    """Fills a QTableWidget and says what was clicked.

    :param onJump: called with a structure's place in the audit.
    """

    def __init__(self, widget: Any, onJump: Callable[[int], None]) -> None:
        self._widget, self._onJump = widget, onJump
        self._columns = columns()
        self._keys = TableKeys(lambda: None, self._jumpToCurrent, lambda _digit: None)
        setUpTable(widget, [(heading, tip) for heading, tip, _text in self._columns], stretched=1)
        widget.connect("cellClicked(int,int)", lambda row, _column: self._onJump(row))
        widget.installEventFilter(self._keys)

    def show(self, found: Sequence[dict[str, Any]]) -> None:
        """Show these structures."""
        from KLIPCore.audit.colours import COLOURS

        self._widget.setRowCount(len(found))
        for row, region in enumerate(found):
            for n, (_heading, _tip, text) in enumerate(self._columns):
                item = qt.QTableWidgetItem(text(region))
                item.setToolTip(str(region["sentence"]))
                if n == 0:
                    item.setIcon(swatchOf(COLOURS[region["verdict"]]))
                if n > 1:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                self._widget.setItem(row, n, item)

    def _jumpToCurrent(self) -> None:
        if self._widget.currentRow() >= 0:
            self._onJump(self._widget.currentRow())


def _number(value: float | None, digits: int, sign: bool = False) -> str:
    """A number; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
