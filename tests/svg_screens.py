"""The picture of a screen in a form that is the same everywhere: a small SVG with colours, weights and places.

Textual's own picture brings fonts of the network, ids made of its content, clip paths and a window around it; none of
that is looked at. Left are, in cells of 10 by 20, the backgrounds and the texts, those of one look joined.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from textual.app import App

CELL, LINE = 12.2, 24.4  # of Rich's picture
WIDTH, HEIGHT, BASELINE = 10, 20, 15  # of ours
_STYLE = re.compile(r"\.terminal-\d+-(r\d+) \{ (.*?) \}")
_RECT = re.compile(r'<rect fill="(#\w+)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"')
_TEXT = re.compile(
    r'<text class="terminal-\d+-(r\d+)" x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"[^>]*>(.*?)</text>', re.DOTALL
)

Piece = tuple[int, int, int, str, str]  # row, first cell, cells, look, text


def picture(app: App[None]) -> str:
    """The screen as it is now."""
    svg = app.export_screenshot()
    looks = {name: _attributes(style) for name, style in _STYLE.findall(svg)}
    behind = ((_row(y), _cell(x), _cell(wide), fill, "") for fill, x, y, wide in _RECT.findall(svg))
    texts = (
        (_row(y), _cell(x), _cell(wide), looks[name], text.replace("&#160;", "\N{NO-BREAK SPACE}"))
        for name, x, y, wide, text in _TEXT.findall(svg)
        if text != "\n"
    )
    size = f"{app.size.width * WIDTH} {app.size.height * HEIGHT}"
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="monospace" font-size="16">']
    for fill, first, wide, row, rows in _columns(_joined(behind)):
        place = f'x="{first * WIDTH}" y="{row * HEIGHT}" width="{wide * WIDTH}" height="{rows * HEIGHT}"'
        lines.append(f'<rect fill="{fill}" {place}/>')
    for row, first, wide, look, text in _joined(texts):
        place = f'x="{first * WIDTH}" y="{row * HEIGHT + BASELINE}" textLength="{wide * WIDTH}"'
        lines.append(f"<text {place} {look}>{text}</text>")
    return "\n".join([*lines, "</svg>\n"])


def _row(length: str) -> int:
    return int(float(length) // LINE)


def _cell(length: str) -> int:
    return round(float(length) / CELL)


def _attributes(style: str) -> str:
    pairs = (part.split(":") for part in style.split(";") if part.strip())
    return " ".join(f'{name.strip()}="{value.strip()}"' for name, value in pairs)


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbours in a row that look the same are one."""
    made: list[Piece] = []
    for row, first, wide, look, text in sorted(pieces):
        last = made[-1] if made else None
        if last and (last[0], last[1] + last[2], last[3]) == (row, first, look):
            made[-1] = (row, last[1], last[2] + wide, look, last[4] + text)
        else:
            made.append((row, first, wide, look, text))
    return made


def _columns(pieces: Iterable[Piece]) -> Iterable[tuple[str, int, int, int, int]]:
    """(colour, first cell, cells, first row, rows): equal backgrounds below each other are one."""

    def place(piece: Piece) -> tuple[str, int, int]:
        return piece[3], piece[1], piece[2]

    for (fill, first, wide), group in itertools.groupby(
        sorted(pieces, key=lambda piece: (*place(piece), piece)), place
    ):
        rows = [piece[0] for piece in group]
        start = 0
        for at in range(1, len(rows) + 1):
            if at == len(rows) or rows[at] != rows[at - 1] + 1:
                yield fill, first, wide, rows[start], at - start
                start = at
