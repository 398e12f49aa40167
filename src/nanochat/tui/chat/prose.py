"""Markdown that grows at its end becomes lines, at a cost that does not grow with it.

Blocks that can no longer change are drawn once; only the last one is parsed and drawn again when more text comes, and
of a block of code only what is new. The text is a model's: control characters are shown, never sent, and there are no
links, images, HTML or entities that could act or hide anything.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.strip import Strip

from nanochat.runtime.safe_text import SafeText
from nanochat.tui.chat.styles import Styles

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

PIECE_LINES = 20  # of code, drawn and coloured together while more comes
WHOLE_LINES = 400  # a block of code up to this is coloured as a whole when it ends: strings may span pieces
_OPENER = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})[ \t]*(.*)$")
_HARMFUL = ("link", "image", "autolink", "html_inline", "html_block", "reference", "entity")


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt  # with rich.markdown 80 ms, which the first frame does not wait for

    return MarkdownIt("commonmark").enable(["strikethrough", "table"]).disable(list(_HARMFUL))


@dataclass(frozen=True, slots=True)
class _Marked:
    """A block that is no code, or an item of a list; `first` ones stand apart from what is before them."""

    tokens: Sequence[Token]
    first: bool = True

    def lines(self, width: int, styles: Styles) -> list[Strip]:
        from nanochat.tui.chat.markdown import draw

        return draw(self.tokens, width, styles)


@dataclass(frozen=True, slots=True)
class _Code:
    """Some lines of a block of code; `first` ones bring the name of its language."""

    code: str
    language: str
    first: bool = True

    def lines(self, width: int, styles: Styles) -> list[Strip]:
        back = styles["code"]
        text = Text(self.code)
        if self.language:
            from rich.syntax import Syntax

            text = Syntax("", self.language, theme=styles.code_theme).highlight(self.code)
            if text.plain.endswith("\n") and not self.code.endswith("\n"):  # it ends the last line
                text.right_crop(1)
        text.expand_tabs(4)
        drawn = [Text(self.language, styles["dim"])] if self.first and self.language else []
        wide = max(1, width - 2)
        for line in text.split("\n", allow_blank=True):
            drawn += line.wrap(styles.console, wide, overflow="fold", tab_size=4) or [line]
        return [_padded(line, width, styles, back) for line in drawn]


class Prose:
    """Text that comes in pieces, as lines of a width.

    Args:
        text: what there is of it at first.
    """

    def __init__(self, text: str = "") -> None:
        self.text = ""
        self._safe = SafeText()
        self._tail = ""  # source of the block that may still change
        self._fence: _Fence | None = None
        self._open: list[_Marked | _Code] = []
        self._after: _Item | None = None  # of the list that what is open goes on with
        self._blocks: list[_Marked | _Code] = []
        self._lines: list[Strip] = []
        self._drawn = 0  # blocks whose lines stand in `_lines`
        self._places: list[int] = []  # of the first line of each of them
        self._kept = 0  # lines that will not change
        self._look: tuple[int, Styles] | None = None
        self._stale = False
        if text:
            self.push(text)
            self.finish()

    def push(self, text: str) -> None:
        """More of it."""
        self.text += text
        self._grow(self._safe.push(text))

    def finish(self) -> None:
        """Nothing more comes."""
        self._grow(self._safe.finish())
        self._settle()
        if self._fence is not None:
            self._close_fence()
        self._blocks += self._open
        self._tail, self._open, self._stale = "", [], False

    def lines(self, width: int, styles: Styles) -> list[Strip]:
        """All of it. The list is the same one each time, and grows at its end."""
        if self._look is None or self._look[0] != width or self._look[1] is not styles:
            self._look, self._drawn, self._kept = (width, styles), 0, 0
        self._settle()
        del self._lines[self._kept :]
        del self._places[self._drawn :]
        for block in self._blocks[self._drawn :]:
            self._places.append(len(self._lines))
            self._draw(block, width, styles)
        self._drawn, self._kept = len(self._blocks), len(self._lines)
        for block in self._open:
            self._draw(block, width, styles)
        return self._lines

    def code_blocks(self) -> list[str]:
        """The blocks of code, as they stand in the source."""
        return [token.content for token in _parser().parse(self.text) if token.type in ("fence", "code_block")]

    def _draw(self, block: _Marked | _Code, width: int, styles: Styles) -> None:
        if self._lines and block.first:
            self._lines.append(Strip([]))
        self._lines += block.lines(width, styles)

    def _grow(self, text: str) -> None:
        if text:
            self._tail += text
            self._stale = True

    def _settle(self) -> None:
        """Put aside the blocks that can no longer change."""
        if not self._stale:
            return
        self._stale = False
        while self._fence is not None or not self._parse():
            assert self._fence is not None
            if not self._read_code(self._fence):
                return

    def _parse(self) -> bool:
        """Take apart what is open; whether nothing is left to do, as no block of code has begun.

        Only a line that is whole may end what is before it: `#` begins a heading until `#x` goes on with a paragraph.
        """
        lines = self._tail.split("\n")
        units = list(_units(_parser().parse(self._tail), self._after))
        keep = max((at for at, unit in enumerate(units) if unit.line < len(lines) - 1), default=0)
        self._blocks += [unit.block for unit in units[:keep]]
        self._open = [unit.block for unit in units[keep:]]
        if not units:
            return True
        first = units[keep]
        if keep:
            before = units[keep - 1]
            self._after = before.item if not first.block.first else None
        lines = lines[first.line :]
        self._tail = "\n".join(lines)
        opener = _OPENER.match(lines[0]) if isinstance(first.block, _Code) and len(lines) > 1 else None
        if opener is None or keep < len(units) - 1:
            return True
        indent = len(lines[0]) - len(lines[0].lstrip(" "))
        self._fence = _Fence(opener[1], indent, _language(opener[2]), len(self._blocks))
        self._after = None
        self._tail = "\n".join(lines[1:])
        return False

    def _read_code(self, fence: _Fence) -> bool:
        """Take the lines that are whole; whether the block of code has ended."""
        *whole, rest = self._tail.split("\n")
        for at, line in enumerate(whole):
            if fence.closer.fullmatch(line):
                self._close_fence()
                self._tail = "\n".join([*whole[at + 1 :], rest])
                return True
            fence.take(line)
            if len(fence.lines) >= PIECE_LINES:
                self._blocks.append(fence.piece())
        self._tail = rest
        waiting = [] if not rest or fence.closes(rest) else [rest]
        self._open = [fence.block(waiting)] if fence.lines or waiting or not fence.count else []
        return False

    def _close_fence(self) -> None:
        fence, self._fence, self._open = self._fence, None, []
        assert fence is not None
        if self._tail and not fence.closer.fullmatch(self._tail.split("\n")[0]) and "\n" not in self._tail:
            fence.take(self._tail)  # a last line without its end
        if fence.count <= WHOLE_LINES:
            del self._blocks[fence.place :]
            self._blocks.append(_Code("\n".join(fence.all), fence.language))
            if self._drawn > fence.place:  # its pieces were drawn already
                self._drawn, self._kept = fence.place, self._places[fence.place]
        elif fence.lines:
            self._blocks.append(fence.piece())


class _Fence:
    """A block of code that has not ended."""

    def __init__(self, mark: str, indent: int, language: str, place: int) -> None:
        self.closer = re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*")
        self.language = language
        self.place = place  # of its first piece among the blocks
        self.lines: list[str] = []  # since the last piece
        self.all: list[str] = []  # up to WHOLE_LINES
        self.count = 0
        self._mark = mark
        self._indent = indent
        self._first = True

    def take(self, line: str) -> None:
        """One more line."""
        spaces = min(self._indent, len(line) - len(line.lstrip(" ")))
        self.lines.append(line[spaces:])
        self.count += 1
        if self.count <= WHOLE_LINES:
            self.all.append(line[spaces:])

    def closes(self, beginning: str) -> bool:
        """Whether a line that has begun so may turn out to be the end."""
        text = beginning.strip()
        return bool(text) and set(text) == {self._mark[0]}

    def block(self, more: list[str]) -> _Code:
        """What has come since the last piece."""
        return _Code("\n".join([*self.lines, *more]), self.language, self._first)

    def piece(self) -> _Code:
        """The same, put aside."""
        made = self.block([])
        self.lines, self._first = [], False
        return made


def plain_lines(text: str, width: int, styles: Styles) -> list[Strip]:
    """What a person wrote, as it stands."""
    made: list[Strip] = []
    for line in Text(text).split("\n", allow_blank=True):
        line.expand_tabs(4)
        for piece in line.wrap(styles.console, max(1, width), overflow="fold") or [line]:
            made.append(strip_of(piece, styles))
    return made


def strip_of(text: Text, styles: Styles) -> Strip:
    """One line."""
    text.end = ""
    segments = [segment for segment in text.render(styles.console) if segment.text]
    return Strip(Segment.apply_style(segments, styles.console.get_style(text.style)))


def _padded(text: Text, width: int, styles: Styles, back: Style) -> Strip:
    strip = strip_of(text, styles)
    return Strip(Segment.apply_style([Segment(" "), *strip], back)).adjust_cell_length(width, back)


class _Item(NamedTuple):
    """What an item of a list is told by: the kind of the list, its mark, and the number of the item."""

    kind: str
    mark: str
    number: int


class _Unit(NamedTuple):
    """A block or an item of a list, and the line of the source it begins at."""

    block: _Marked | _Code
    line: int
    item: _Item | None = None


def _units(tokens: Sequence[Token], after: _Item | None) -> Iterator[_Unit]:
    """The blocks of a text, lists by their items.

    Args:
        tokens: the text.
        after: the item before the text, where it is taken from the middle of a list.
    """
    for group in _groups(tokens, 0):
        opening = group[0]
        line = (opening.map or [0])[0]
        if opening.type in ("bullet_list_open", "ordered_list_open"):
            goes_on = after is not None and (after.kind, after.mark) == (opening.type, opening.markup)
            number = after.number + 1 if after and goes_on else int(opening.attrs.get("start", 1))
            for at, item in enumerate(_groups(group[1:-1], 1)):
                own = copy(opening)
                own.attrs = {"start": number + at}
                block = _Marked([own, *item, group[-1]], first=not goes_on and not at)
                where = _Item(opening.type, opening.markup, number + at)
                yield _Unit(block, (item[0].map or [line])[0], where)
        elif opening.type in ("fence", "code_block"):
            yield _Unit(_Code(opening.content.removesuffix("\n"), _language(opening.info)), line)
        else:
            yield _Unit(_Marked(group), line)
        after = None


def _groups(tokens: Sequence[Token], level: int) -> Iterator[Sequence[Token]]:
    """The tokens of each element of a level."""
    starts = [at for at, token in enumerate(tokens) if token.level == level and token.nesting >= 0]
    for start, end in itertools.pairwise([*starts, len(tokens)]):
        yield tokens[start:end]


def _language(info: str) -> str:
    return info.split()[0] if info.split() else ""
