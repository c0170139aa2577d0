"""The table of regions: what stands out, how much, how surely, where, and what the reader says of it.

Sorting is done here and not by the table widget, which would sort "9.8" after "12.1". A row is always known by its
region's place in the results, whatever the order on screen. Keys do what the mouse does (table_keys).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from .table_keys import TableKeys

if TYPE_CHECKING:
    from KLIPCore.maps.regions import Region

SWATCH = 12
"""Pixels of a color's square."""

NARROWEST, WIDEST = 7, 28
"""Characters of a column, about: numbers stand apart where no organ needs the room; a longer name is cut, and its
tooltip has all of it."""

DOWNWARDS, UPWARDS = "▾", "▴"
"""After the heading that is sorted by. Qt's own arrow takes its room in every heading, which names of organs need."""

REGION, ORGAN, PROBABILITIES, IN_HEALTH, LARGEST_FIRST = 0, 1, (4, 5), 8, (2, 3, 6)
"""Columns. Of p and q, and of what healthy studies show, a score has one or the other; the last sort downwards."""


def columns(mark: Callable[[Region], str]) -> list[tuple[str, str, Callable[[Region], Any], Callable[[Region], str]]]:
    """Heading, tooltip, value to sort by and text of each column.

    :param mark: what the reader says of a region, in a character or two.
    """
    return [
        (
            _("Region"),
            _(
                "Name and color. Uncheck to hide the region and to keep it out of exports. "
                "Your reading: ✓ real, ≈ normal variant, ✗ artefact, ? unsure, … a note."
            ),
            lambda r: r.label,
            lambda r: f"{r.name} {mark(r)}".rstrip(),
        ),
        organColumn(),
        (
            _("Total"),
            _("Departure from healthy anatomy in all, in the score's unit: the larger, the less it was expected."),
            lambda r: r.total_nats,
            lambda r: _number(r.total_nats),
        ),
        (
            _("Peak"),
            _("The strongest block in the region, in the unit of the map's colors."),
            lambda r: r.peak_nats,
            lambda r: _number(r.peak_nats),
        ),
        (
            "p",
            _("How often chance alone would mark even one region like this in such a scan. Small is surer."),
            lambda r: r.p_value,
            lambda r: _probability(r.p_value),
        ),
        (
            "q",
            _("Part of the regions as strong as this one or stronger that chance may have made. Small is surer."),
            lambda r: r.q_value,
            lambda r: _probability(r.q_value),
        ),
        *_sizes(),
    ]


def _sizes() -> list[tuple[str, str, Callable[[Region], Any], Callable[[Region], str]]]:
    """How large a region is and where, and how often health shows such a one."""
    return [
        (
            _("mL"),
            _("Volume of the marked region. It may reach up to half a block beyond what caused it."),
            lambda r: r.volume_ml,
            lambda r: _number(r.volume_ml),
        ),
        (
            _("Slices"),
            _("First and last slice, counted from the feet, from 0."),
            lambda r: r.slices,
            lambda r: f"{r.slices[0]}–{r.slices[1]}" if r.slices[1] > r.slices[0] else f"{r.slices[0]}",
        ),
        (
            _("In health"),
            _(
                "How many regions as strong a healthy study of this size shows: 1:25 is one in 25 studies. "
                "Empty where no reference of health judged; then see p and q. "
                "~ marks what was found over several centimeters: its outline is rough."
            ),
            lambda r: math.inf if r.expected is None else r.expected,
            lambda r: ("~ " if r.broad else "") + _inHealth(r.expected),
        ),
    ]


def organColumn() -> tuple[str, str, Callable[[Region], Any], Callable[[Region], str]]:
    """The column that says in which organ a region lies."""
    tip = _("The segment that holds most of the region, of the segmentation under “Organs”.")
    return (_("Organ"), tip, lambda r: (r.organ is None, r.organ or ""), lambda r: _organ(r.organ))


class RegionTable:
    """Fills a QTableWidget and says what was clicked.

    onJump(i), onVisible(i, visible) and onVerdict(i, n) are called with the region's place in the results; onCurrent()
    when another row is the current one.
    """

    def __init__(
        self,
        widget: Any,
        onJump: Callable[[int], None],
        onVisible: Callable[[int, bool], None],
        onVerdict: Callable[[int, int], None],
        onCurrent: Callable[[], None],
    ) -> None:
        self._widget, self._onJump, self._onVisible = widget, onJump, onVisible
        self._onVerdict, self._onCurrent = onVerdict, onCurrent
        self._columns = columns(lambda region: self._said.get(region.label, ("", ""))[0])
        self._regions: Sequence[Region] = ()
        self._visible: Callable[[int], bool] = lambda i: True
        self._said: dict[int, tuple[str, str]] = {}
        self._keys = TableKeys(self._toggleCurrent, self._jumpToCurrent, self._judgeCurrent)
        self._order: list[int] = []
        self._sorting: tuple[int, bool] = (REGION, False)  # as they are numbered: the least usual first
        self._filling = False
        self._toggledRow = -1
        setUpTable(widget, [(heading, tip) for heading, tip, *_rest in self._columns])
        widget.verticalHeader().setDefaultSectionSize(2 * SWATCH)
        widget.setIconSize(qt.QSize(SWATCH, SWATCH))
        header = widget.horizontalHeader()
        header.sectionClicked.connect(self.sortBy)
        widget.connect("cellClicked(int,int)", self._onClicked)
        widget.connect("currentCellChanged(int,int,int,int)", self._onCurrentChanged)
        widget.installEventFilter(self._keys)
        widget.connect("itemChanged(QTableWidgetItem*)", self._onChanged)

    def show(
        self, regions: Sequence[Region], visible: Callable[[int], bool], said: dict[int, tuple[str, str]]
    ) -> None:
        """Show these regions.

        :param visible: whether region i is checked.
        :param said: label of a region → what the reader says of it, as a mark and in words.
        """
        self._regions, self._visible, self._said = regions, visible, said
        healthy = any(region.expected is not None for region in regions)
        for n in PROBABILITIES:
            self._widget.setColumnHidden(n, healthy)
        self._widget.setColumnHidden(IN_HEALTH, not healthy)
        self._showOrgans(any(region.organ is not None for region in regions))
        self._fill()

    def _showOrgans(self, known: bool) -> None:
        """Make room for organs where some are known: q then stands for p, which tooltips have, too."""
        if known:
            self._widget.setColumnHidden(PROBABILITIES[0], True)
        self._widget.setColumnHidden(ORGAN, not known)
        header, modes = self._widget.horizontalHeader(), qt.QHeaderView
        header.setSectionResizeMode(REGION, modes.ResizeToContents if known else modes.Stretch)
        header.setSectionResizeMode(ORGAN, modes.ResizeToContents)
        character = self._widget.fontMetrics().averageCharWidth()
        header.setMinimumSectionSize(-1 if known else NARROWEST * character)
        header.setMaximumSectionSize(WIDEST * character if known else -1)
        header.setStretchLastSection(known)

    @property
    def current(self) -> int:
        """Place in the results of the region whose row is the current one; -1 for none."""
        row = self._widget.currentRow()
        return self._order[row] if 0 <= row < len(self._order) else -1

    def sortBy(self, column: int) -> None:
        """Sort by a column; once more, the other way round. Nats and volumes start with the largest."""
        before, descending = self._sorting
        self._sorting = (column, not descending if column == before else column in LARGEST_FIRST)
        self._fill()

    @property
    def order(self) -> list[int]:
        """Places of the regions in the results, from the first row to the last."""
        return list(self._order)

    def _fill(self) -> None:
        column, descending = self._sorting
        key = self._columns[column][2]
        current = self.current
        self._order = sorted(range(len(self._regions)), key=lambda i: key(self._regions[i]), reverse=descending)
        self._filling = True
        self._widget.setRowCount(len(self._order))
        for row, i in enumerate(self._order):
            for n, (_heading, _tip, _value, text) in enumerate(self._columns):
                self._widget.setItem(row, n, self._item(i, n, text(self._regions[i])))
        if 0 <= current < len(self._order):
            self._widget.setCurrentCell(self._order.index(current), max(0, self._widget.currentColumn()))
        self._filling = False
        self._onCurrent()
        for n, (heading, _tip, *_rest) in enumerate(self._columns):
            mark = (DOWNWARDS if descending else UPWARDS) if n == column else ""
            self._widget.horizontalHeaderItem(n).setText(f"{heading} {mark}".rstrip())

    def _item(self, i: int, column: int, text: str) -> Any:
        region = self._regions[i]
        item = qt.QTableWidgetItem(text)
        if column == 0:
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if self._visible(i) else qt.Qt.Unchecked)
            item.setIcon(swatchOf(region.hex_colour))
        elif column > 1:
            item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        numbers = _("{name}: total {total}, p = {p}, q = {q}. Click to see it in all views.").format(
            name=region.name,
            total=_number(region.total_nats),
            p=_probability(region.p_value),
            q=_probability(region.q_value),
        )
        words = self._said.get(region.label, ("", ""))[1]
        rough = _("Found over several centimeters: its outline is rough.") if region.broad else ""
        lines = [line for line in (numbers, region.organ, rough, words) if line]
        item.setToolTip("\n".join(lines))
        return item

    def _onChanged(self, item: Any) -> None:
        if self._filling or item.column() != 0 or item.row() >= len(self._order):
            return
        self._toggledRow = item.row()  # the click that follows in the same event belongs to the checkbox
        qt.QTimer.singleShot(0, self._forgetToggle)
        self._onVisible(self._order[item.row()], item.checkState() == qt.Qt.Checked)

    def _onCurrentChanged(self, *_cells: int) -> None:
        if not self._filling:
            self._onCurrent()

    # -- the keyboard

    def _toggleCurrent(self) -> None:
        if self.current >= 0:
            self._onVisible(self.current, not self._visible(self.current))
            self._fill()

    def _jumpToCurrent(self) -> None:
        if self.current >= 0:
            self._onJump(self.current)

    def _judgeCurrent(self, n: int) -> None:
        if self.current >= 0:
            self._onVerdict(self.current, n)

    def _forgetToggle(self) -> None:
        self._toggledRow = -1

    def _onClicked(self, row: int, column: int) -> None:
        toggled, self._toggledRow = self._toggledRow, -1
        if row < len(self._order) and not (column == 0 and row == toggled):
            self._onJump(self._order[row])


def setUpTable(widget: Any, headings: Sequence[tuple[str, str]], stretched: int = 0) -> None:
    """Make a table of whole rows that are read and not edited.

    :param headings: heading and tooltip of each column.
    :param stretched: the column that takes what room is left.
    """
    widget.setColumnCount(len(headings))
    widget.setHorizontalHeaderLabels([heading for heading, _tip in headings])
    for n, (_heading, tip) in enumerate(headings):
        widget.horizontalHeaderItem(n).setToolTip(tip)
    widget.verticalHeader().setVisible(False)
    widget.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
    widget.setSelectionMode(qt.QAbstractItemView.SingleSelection)
    widget.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
    widget.setAlternatingRowColors(True)
    widget.setShowGrid(False)
    widget.setWordWrap(False)
    widget.setTabKeyNavigation(False)  # Tab leaves the table, as it leaves every other control
    header = widget.horizontalHeader()
    for n in range(len(headings)):
        mode = qt.QHeaderView.Stretch if n == stretched else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(n, mode)
    header.setHighlightSections(False)


def swatchOf(colour: str) -> Any:
    """An icon of one color."""
    swatch = qt.QPixmap(SWATCH, SWATCH)
    swatch.fill(qt.QColor(colour))
    return qt.QIcon(swatch)


def _organ(name: str | None) -> str:
    """An organ's name, or that it is in none, or not known."""
    return _("unknown") if name is None else _("outside") if name == "outside" else name


def _number(value: float) -> str:
    """Three digits that mean something."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _inHealth(expected: float | None) -> str:
    """How many regions as strong a healthy study shows: 0.4, or 1:25."""
    if expected is None:
        return "–"
    return f"{expected:.1f}" if expected >= 0.2 else f"1:{1 / max(expected, 1e-3):.0f}"


def _probability(value: float) -> str:
    if not math.isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
