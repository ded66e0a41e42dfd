"""The report as PDF: the answer, the task's blocks and the provenance, as text and figures on A4 pages.

It has what a reader of the result needs; plans, code and calls are in the HTML report and the trace.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.image import imread

from agents.trace.words import visible
from tasks.page import Block, Numbers, Plot, Table, Text, Warning
from tasks.plotting import styled

A4 = (8.27, 11.69)  # inches
MARGIN = 0.9
LINE = 0.19  # inches between lines of text of size 10
WIDTH = 94  # characters of a line of text
CELL = 26  # characters of a cell of a table
PICTURE = 4.2  # inches, height of a figure


class Line(NamedTuple):
    """A line of text in one of three styles: heading, text, table."""

    text: str
    style: str = "text"


STYLES: dict[str, dict[str, Any]] = {
    "heading": {"fontsize": 13, "fontweight": "bold"},
    "text": {"fontsize": 10},
    "table": {"fontsize": 7.5, "fontfamily": "DejaVu Sans Mono"},
}


def report(
    title: str, sections: Sequence[tuple[str, Sequence[Block]]], pictures: Mapping[str, bytes] | None = None
) -> bytes:
    """Return the PDF of a report: its title and sections of blocks. The same blocks give the same bytes.

    `pictures`: PNG by the name of the plot; a plot without one is left out.
    """
    out = io.BytesIO()
    nothing = {"Creator": None, "Producer": None, "CreationDate": None}
    with styled(), PdfPages(out, metadata=nothing) as pages:
        paper = _Paper(pages)
        paper.lines(Line(text, "heading") for text in textwrap.wrap(visible(title), 60))
        for heading, blocks in sections:
            paper.lines([Line(""), Line(heading, "heading")])
            for block in blocks:
                picture = (pictures or {}).get(block.name) if isinstance(block, Plot) else None
                if picture:
                    paper.picture(picture, lines_of(block))
                elif not isinstance(block, Plot):
                    paper.lines(lines_of(block))
        paper.turn()
    return out.getvalue()


def lines_of(block: Block) -> list[Line]:
    """Return a block as lines of text; of a figure, its caption."""
    match block:
        case Text():
            return _wrapped(block.text)
        case Warning():
            return _wrapped(f"A warning. {block.who}: {block.text}")
        case Numbers():
            title = [Line(block.title)] if block.title else []
            return [*title, *(Line(visible(f"{n.title}: {n.text}")) for n in block.numbers)]
        case Plot():
            return _wrapped(block.caption)
        case Table():
            return _table(block)


def _wrapped(text: str) -> list[Line]:
    return [Line(line) for part in visible(text).splitlines() for line in textwrap.wrap(part, WIDTH) or [""]]


def _table(table: Table) -> list[Line]:
    rows = [[visible(cell) for cell in row] for row in [table.head, *table.rows]]
    widths = [min(CELL, max(map(len, column))) for column in zip(*rows, strict=True)]
    lines = [Line(table.title)] if table.title else []
    for k, row in enumerate(rows):
        cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for i in range(max(map(len, cells))):
            parts = [(cell[i] if i < len(cell) else "").ljust(width) for cell, width in zip(cells, widths, strict=True)]
            lines.append(Line(("* " if k - 1 == table.mark and i == 0 else "  ") + "  ".join(parts), "table"))
    return [*lines, *_wrapped(table.note)]


class _Paper:
    """Pages that fill from top to bottom."""

    def __init__(self, pages: PdfPages) -> None:
        self._pages, self._page, self._y = pages, Figure(figsize=A4), A4[1] - MARGIN

    def lines(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._room(6 * LINE if line.style == "heading" else LINE)
            at = (MARGIN / A4[0], self._y / A4[1])
            self._page.text(*at, line.text, va="top", parse_math=False, **STYLES[line.style])
            self._y -= 1.4 * LINE if line.style == "heading" else LINE
        self._y -= LINE / 2

    def picture(self, data: bytes, caption: Sequence[Line]) -> None:
        """Put a figure on the page, at most as wide as the text, and its caption below."""
        image = imread(io.BytesIO(data))
        wide = min(PICTURE * image.shape[1] / image.shape[0], A4[0] - 2 * MARGIN)
        high = wide * image.shape[0] / image.shape[1]
        self._room(high + (1 + len(caption)) * LINE)
        axes = self._page.add_axes((MARGIN / A4[0], (self._y - high) / A4[1], wide / A4[0], high / A4[1]))
        axes.imshow(image, interpolation="none")
        axes.axis("off")
        self._y -= high + LINE / 2
        self.lines(caption)

    def turn(self) -> None:
        """Finish the page."""
        self._pages.savefig(self._page, dpi=200)  # type: ignore[no-untyped-call]
        self._page, self._y = Figure(figsize=A4), A4[1] - MARGIN

    def _room(self, height: float) -> None:
        if self._y - height < MARGIN:
            self.turn()
