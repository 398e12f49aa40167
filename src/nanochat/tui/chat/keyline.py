"""The last line: the keys of where one is, as many as there is room for; a click does what the key does."""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style
from rich.text import Text
from textual.widgets import Static

from nanochat.tui.chat.registry import KEYS, Where, key_name

SHORT = {"older": "before", "newer": "after", "yank": "copy", "good": "good", "bad": "bad", "tokens": "tokens"}


class KeyLine(Static):
    """The keys.

    Args:
        keymap: keys that were chosen by the user, by the id of what they do.
        id: in the app.
    """

    def __init__(self, keymap: Mapping[str, str], *, id: str) -> None:
        super().__init__(id=id)
        self._keymap = keymap

    def show(self, where: Where, width: int) -> None:
        """The keys of a place."""
        line = Text(no_wrap=True)
        key_style = Style.parse("bold")
        for key in KEYS:
            name = SHORT.get(key.id, key.id) if where == "message" and key.where == "message" else ""
            name = name if key.id not in ("previous", "next", "fold", "code") else ""
            name = name or (key.footer if where != "message" or key.id in ("stop", "help") else "")
            if not name:
                continue
            shown = key_name(self._keymap.get(key.id, key.keys))
            piece = Text.assemble((f" {shown}", key_style), f" {name} ")
            if line.cell_len + piece.cell_len > width:
                break
            piece.stylize(Style(meta={"@click": f"app.{key.does}"}))
            line.append_text(piece)
        self.update(line)
