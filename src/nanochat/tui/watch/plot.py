"""Curves as characters: braille dots, nice ticks, a linear or logarithmic axis, a cursor. Pure functions.

Our own because the libraries at hand do less for this: textual-plot draws a later curve over the cells of an earlier
one, so that two runs which nearly agree tear each other to shreds, knows no span from least to greatest, and needs an
app to draw in, which `--once` is without; plotext's widget holds plotext below a version that is not maintained.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from nanochat.tui.watch.series import Point
from nanochat.tui.watch.ticks import Label, log_ticks, nice_ticks, number_label, time_label, time_ticks

# dots of a braille cell by row and column, as bits of the code point
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800
_MARK = "•"
_TINY = 1e-30  # less is nothing; arithmetic with far less is not to be trusted
_QUANTILE = 0.02  # of a span that may be cut off: one spike must not flatten the rest


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve.

    Attributes:
        points: from left to right.
        style: of its dots, for rich.
        span: fill from least to greatest instead of a line through the means.
        marks: show each point, as long as there are few.
    """

    points: Sequence[Point]
    style: str = ""
    span: bool = False
    marks: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """A plot.

    Attributes:
        lines: from top to bottom.
        gutter: cells at the left of each line that are labels.
    """

    lines: list[Text]
    gutter: int = 0

    def x_at(self, column: int, width: int, x_range: tuple[float, float]) -> float | None:
        """The x under a cell; None where that is a label."""
        columns = width - self.gutter
        if column < self.gutter or columns < 2:
            return None
        share = (column - self.gutter) / (columns - 1)
        return x_range[0] + min(1.0, share) * (x_range[1] - x_range[0])


def draw(
    curves: Sequence[Curve],
    *,
    width: int,
    height: int,
    x_range: tuple[float, float],
    log: bool = False,
    time: bool = False,
    cursor: float | None = None,
    y_label: Label = number_label,
) -> Drawing:
    """`height` lines of `width` cells: curves, labels at the left and in the last line.

    Args:
        curves: later ones are on top; spans before lines.
        width: cells.
        height: lines, the labels of the x axis included.
        x_range: what part of the x axis to show.
        log: logarithmic y axis, where all values are positive.
        time: x are seconds.
        cursor: x of a vertical line.
        y_label: text of a tick.
    """
    rows = height - 1
    bounds = _y_range(curves, x_range)
    if bounds is None or rows < 1 or width < 8:
        return Drawing(_blank("no data yet" if bounds is None else "", width, height))
    low, high = bounds
    log = log and low > 0
    forward: Callable[[float], float] = math.log10 if log else float
    bottom, top = forward(low), forward(high)
    margin = (top - bottom) * 0.03
    bottom, top = bottom - margin, top + margin
    least, greatest = (10**bottom, 10**top) if log else (bottom, top)
    ticks = (log_ticks if log else nice_ticks)(least, greatest, max(1, rows // 3))
    apart = min((b - a for a, b in itertools.pairwise(ticks)), default=high - low)
    labels = {min(rows - 1, int((top - forward(tick)) / (top - bottom) * rows)): y_label(tick, apart) for tick in ticks}
    gutter = max(map(len, labels.values()), default=0) + 1
    columns = width - gutter
    if columns < 4:
        return Drawing(_blank("", width, height))
    canvas = _Canvas(columns, rows, x_range, (bottom, top), forward)
    for curve in curves:
        canvas.add(curve)
    lines = [
        Text.assemble(
            (f"{labels.get(row, ''):>{gutter - 1}}{'┤' if row in labels else '│'}", "dim"), canvas.line(row, cursor)
        )
        for row in range(rows)
    ]
    return Drawing([*lines, Text(" " * gutter) + _x_labels(x_range, columns, time)], gutter)


class _Canvas:
    """Cells of 2 by 4 dots; a cell has the style of the last curve that touched it, and the dots of all lines.

    Where a line passes, the dots of spans give way: it would not be seen among them.
    """

    def __init__(
        self,
        columns: int,
        rows: int,
        x_range: tuple[float, float],
        y_range: tuple[float, float],
        forward: Callable[[float], float],
    ) -> None:
        self.columns = columns
        self.rows = rows
        self._x_range = x_range
        self._y_range = y_range
        self._forward = forward
        self._bits = [[0] * columns for _ in range(rows)]
        self._styles = [[""] * columns for _ in range(rows)]
        self._is_span = [[False] * columns for _ in range(rows)]
        self._marks: dict[tuple[int, int], str] = {}

    def add(self, curve: Curve) -> None:
        """Draw one curve over the others."""
        merged = self._by_column(curve.points)
        if curve.span:
            for column, point in merged:
                self._fill(column, self._row(point.high), self._row(point.low), curve.style, span=True)
            return
        before: tuple[int, int] | None = None
        for column, point in merged:
            row = self._row(point.mean)
            if before is None:
                self._fill(column, row, row, curve.style)
            else:
                self._line(*before, column, row, curve.style)
            before = column, row
        if curve.marks and len(merged) <= self.columns // 3:
            for column, point in merged:
                row = self._row(point.mean)
                if 0 <= column < 2 * self.columns and 0 <= row < 4 * self.rows:
                    self._marks[row // 4, column // 2] = curve.style

    def line(self, row: int, cursor: float | None) -> Text:
        """One line of cells."""
        at = None if cursor is None else self._column(cursor) // 2
        text = Text()
        for column, bits in enumerate(self._bits[row]):
            if (row, column) in self._marks:
                text.append(_MARK, self._marks[row, column])
            elif bits:
                text.append(chr(_BLANK + bits), self._styles[row][column])
            else:
                text.append("│" if column == at else " ", "dim" if column == at else "")
        return text

    def _by_column(self, points: Sequence[Point]) -> list[tuple[int, Point]]:
        """One point for each column of dots, and the nearest one at either side of the picture."""
        merged: list[tuple[int, Point]] = []
        last = 2 * self.columns
        for point in points:
            column = max(-1, min(last, self._column(point.x)))
            if not merged or merged[-1][0] != column:
                merged.append((column, point))
                continue
            before = merged[-1][1]
            if column == -1:
                merged[-1] = (column, point)
            elif column < last:
                n = before.n + point.n
                mean = before.mean + (point.mean - before.mean) * point.n / n
                low, high = min(before.low, point.low), max(before.high, point.high)
                merged[-1] = (column, Point(point.x, mean, low, high, n))
        return merged

    def _column(self, x: float) -> int:
        low, high = self._x_range
        return round((x - low) / (high - low) * (2 * self.columns - 1)) if high > low else 0

    def _row(self, y: float) -> int:
        """Row of dots; outside of the picture it is one beyond the edge."""
        bottom, top = self._y_range
        try:
            place = (top - self._forward(y)) / (top - bottom) * (4 * self.rows - 1)
        except ValueError:  # no logarithm: far below
            return 4 * self.rows
        return round(max(-1.0, min(4.0 * self.rows, place)))

    def _fill(self, column: int, upper: int, lower: int, style: str, span: bool = False) -> None:
        if not 0 <= column < 2 * self.columns:
            return
        x = column // 2
        for row in range(max(0, upper), min(4 * self.rows - 1, lower) + 1):
            y = row // 4
            if self._is_span[y][x] and not span:
                self._bits[y][x] = 0
            self._is_span[y][x] = span
            self._bits[y][x] |= _DOTS[row % 4][column % 2]
            self._styles[y][x] = style

    def _line(self, x0: int, y0: int, x1: int, y1: int, style: str) -> None:
        """From one point to the next, without gaps: each column has the rows between it and its neighbour."""
        before = y0
        for x in range(x0 + 1, x1 + 1):
            y = round(y0 + (y1 - y0) * (x - x0) / (x1 - x0))
            step = (y > before) - (y < before)
            start = before + step if x > x0 + 1 or step else y
            self._fill(x, min(start, y), max(start, y), style)
            before = y


def _y_range(curves: Sequence[Curve], x_range: tuple[float, float]) -> tuple[float, float] | None:
    """What must be seen: all lines, and of the spans all but their outermost parts. None when there is nothing."""
    lows: list[float] = []
    highs: list[float] = []
    span_lows: list[float] = []
    span_highs: list[float] = []
    for curve in curves:
        seen = [point for point in curve.points if x_range[0] <= point.x <= x_range[1]]
        (span_lows if curve.span else lows).extend(point.low if curve.span else point.mean for point in seen)
        (span_highs if curve.span else highs).extend(point.high if curve.span else point.mean for point in seen)
    if span_lows:
        span_lows.sort()
        span_highs.sort()
        cut = int(len(span_lows) * _QUANTILE)
        lows.append(span_lows[cut])
        highs.append(span_highs[-1 - cut])
    if not lows:
        return None
    low, high = min(lows), max(highs)
    if high - low <= max(1e-9 * max(abs(low), abs(high)), _TINY):
        room = abs(low) * 0.05 if abs(low) > _TINY else 0.5
        return low - room, high + room
    return low, high


def _x_labels(x_range: tuple[float, float], columns: int, time: bool) -> Text:
    """The labels of the x axis, each with its middle below its tick as far as there is room."""
    low, high = x_range
    cells = [" "] * columns
    if high > low:
        ticks = (time_ticks if time else nice_ticks)(low, high, max(1, columns // 14))
        apart = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
        free = 0
        for tick in ticks:
            text = time_label(tick, apart) if time else number_label(tick, max(1.0, apart))
            column = round((tick - low) / (high - low) * (columns - 1))
            start = max(0, min(columns - len(text), column - len(text) // 2))
            if start >= free:
                cells[start : start + len(text)] = text
                free = start + len(text) + 2
    return Text("".join(cells), "dim")


def _blank(words: str, width: int, height: int) -> list[Text]:
    lines = [Text() for _ in range(max(0, height))]
    if lines and len(words) <= width:
        lines[len(lines) // 2] = Text(words.center(width).rstrip(), "dim")
    return lines
