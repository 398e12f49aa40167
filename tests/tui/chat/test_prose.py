"""Markdown that comes in pieces: the same lines as all at once, nothing in it acts, and long answers stay cheap."""

from __future__ import annotations

import random
import time
from typing import Any

import pyte
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.theme import Theme

from nanochat.runtime.safe_text import safe_text
from nanochat.tui.chat.cards import Said, ToolCard
from nanochat.tui.chat.prose import PIECE_LINES, WHOLE_LINES, Prose
from nanochat.tui.chat.styles import COMPONENTS, Styles

NAMED = {name: Style() for name in COMPONENTS} | {"code": Style(bgcolor="#222222")}
STYLES = Styles(Console(color_system="truecolor", force_terminal=True, theme=Theme({}), width=80), NAMED, "ansi_dark")
PARTS = (
    *("```\n", "```py\n", "~~~", "````\n", "`", "`c`", "\n", "\n\n", "\r\n", "\t", "    four\n", "\\"),
    *("word ", "*b*", "**b", "- x\n", "* ", "1. y", "7) z\n", "# h\n", "#", "> q\n", "---\n", "===\n"),
    *("|a|b|\n", "|-|-|\n", "日本 🦊 ", "שלום ", "é", "&#8238;", "[l](u)"),
)
DOCUMENT = """# Title

Some *text* with `code`
on two lines

- one
- two
  - three

3. c
4. d

> quote

```python
def f(x):
    '''doc
    string'''

    return x  # c
```
| a | b |
|---|---|
| 1 | 2 |

    indented

end"""


def drawn(text: str, width: int = 60) -> list[str]:
    return [strip.text for strip in Prose(text).lines(width, STYLES)]


def in_pieces(text: str, rng: random.Random, width: int = 60) -> Prose:
    prose, at = Prose(), 0
    while at < len(text):
        size = rng.randint(1, 9)
        prose.push(text[at : at + size])
        at += size
        if rng.random() < 0.7:
            prose.lines(width, STYLES)
    prose.finish()
    return prose


def test_a_document() -> None:
    lines = [line.rstrip() for line in drawn(DOCUMENT)]
    assert lines[:4] == ["Title", "", "Some text with code", "on two lines"]
    assert lines[4:11] == ["", " • one", " • two", "    • three", "", " 3 c", " 4 d"]
    assert "▌ quote" in lines and " python" in lines and "     return x  # c" in lines
    assert lines[-3:] == [" indented", "", "end"]


@pytest.mark.parametrize("seed", range(24))
def test_pieces_give_the_lines_of_the_whole(seed: int) -> None:
    rng = random.Random(seed)
    text = DOCUMENT if seed % 6 == 0 else "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 60)))
    prose = in_pieces(text, rng)
    assert prose.text == text
    assert [strip.text for strip in prose.lines(60, STYLES)] == drawn(text), repr(text)


@pytest.mark.parametrize("count", [PIECE_LINES - 1, PIECE_LINES, WHOLE_LINES, WHOLE_LINES + 1, 1000])
@pytest.mark.parametrize("closed", [True, False])
def test_long_code_in_pieces(count: int, closed: bool) -> None:
    code = "".join(f"line {number}\n" for number in range(count))
    text = "before\n\n```\n" + code + ("```\nafter" if closed else "")
    prose = in_pieces(text, random.Random(count))
    lines = [strip.text.strip() for strip in prose.lines(60, STYLES)]
    assert lines == ["before", "", *code.split("\n")[:-1], *(["", "after"] if closed else [])]
    assert prose.code_blocks() == [code]


def test_another_width_and_wide_characters() -> None:
    prose = Prose("日本語の文章です。" * 20 + "\n\n```\n" + "🦊" * 100 + "\n```\n\n" + "x" * 200)
    for width in (60, 20, 7, 3, 1, 300):
        for strip in prose.lines(width, STYLES):
            assert cell_len(strip.text) <= max(width, 4), (width, strip.text)


HOSTILE = (
    *(
        "\x1b[31mred",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x\x1b\\link",
        "\x1b[2J",
        "\x9b31m",
        "\x07",
        "\x00",
        "\x08\x08",
        "\r",
    ),
    *("\u202eback", "\u200b", "\ud83d", "`\x1b[0m`", "```\n\x1b[2J\n```\n", "&#27;[31m", "&#8238;"),
    *("[bold red]markup[/]", "[@click=app.quit]go[/]", "[link](http://evil)", "![i](http://evil)", "<http://evil>"),
    *("<b>html</b>", "http://evil.example", "[ref]: http://evil\n[ref]"),
)


@pytest.mark.parametrize("seed", range(16))
def test_nothing_in_it_acts(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice((*HOSTILE, *PARTS)) for _ in range(30))
    for strip in in_pieces(text, rng).lines(50, STYLES):
        shown = strip.text
        assert shown == safe_text(shown), repr(shown)
        assert not any(segment.control for segment in strip)
        assert not any(segment.style and (segment.style.link or segment.style.meta) for segment in strip)


class Recorder:
    """A terminal that notes everything it is told to do but to show text in colours."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: name in ("draw", "select_graphic_rendition") or self.done.append(name)


def test_a_terminal_only_shows_what_a_model_says() -> None:
    rng, recorder = random.Random(3), Recorder()
    terminal = pyte.Stream(recorder)
    console = Console(color_system="truecolor", force_terminal=True, width=60)
    for _ in range(80):
        text = "".join(rng.choice((*HOSTILE, *PARTS)) for _ in range(rng.randint(1, 12)))
        card = ToolCard(text, text)
        card.open = rng.random() < 0.5
        for item in (in_pieces(text, rng), card, Said(text)):
            for strip in item.lines(58, STYLES):
                terminal.feed(strip.render(console))
        assert not recorder.done, (recorder.done, text)


def test_what_looks_like_markup_is_shown_as_it_stands() -> None:
    for text in ("[bold red]x[/]", "[@click=app.quit]go[/]", "[link](http://evil)", "<b>html</b>", "&lt; &#8238;"):
        assert drawn(text) == [text]


@pytest.mark.parametrize("kind", ["code", "prose", "list"])
def test_the_cost_of_an_update_does_not_grow(kind: str) -> None:
    """The last fifth of 500 lines costs about as much as the second: it was quadratic, five or more times as much."""
    line = {"code": "x = compute(7)  # so\n", "prose": "word word word\n\n", "list": "- an item of it\n"}[kind]
    prose = Prose("")
    prose.push("```python\n" if kind == "code" else "")
    spent = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(25):
            prose.push(line * 4)
            prose.lines(80, STYLES)
        spent.append(time.process_time() - began)
    assert spent[4] < 2.5 * min(spent[1:3]) + 0.05, spent
