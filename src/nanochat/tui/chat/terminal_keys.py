"""Keys that Textual (8.2) does not know, or by another name: Alt+Enter, and Shift+Enter as xterm sends it."""

from __future__ import annotations

from enum import Enum
from typing import Any, cast

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS

# xterm's modifyOtherKeys form, ESC [ 27 ; modifiers ; 13 ~, is read as one of kitty's
NAMES = {"shift+\r": "shift+enter", "alt+\r": "alt+enter", "ctrl+\r": "ctrl+enter"}


class _Key(Enum):
    ALT_ENTER = "alt+enter"


def teach() -> None:
    """From now on Alt+Enter (ESC and a carriage return) is a key of its own."""
    cast(dict[str, Any], ANSI_SEQUENCES_KEYS).setdefault("\x1b\r", (_Key.ALT_ENTER,))
