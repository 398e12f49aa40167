"""Our two sets of colours; those that Textual brings can be chosen too."""

from __future__ import annotations

from textual.theme import Theme

THEMES: tuple[Theme, ...] = (
    Theme(
        name="dark",
        primary="#7aa2f7",
        secondary="#7dcfc0",
        accent="#e0af68",
        foreground="#d5d9e8",
        background="#16181f",
        surface="#1c1f29",
        panel="#262a37",
        success="#9ece6a",
        warning="#e0af68",
        error="#f7768e",
        dark=True,
        variables={"footer-key-foreground": "#e0af68"},
    ),
    Theme(
        name="light",
        primary="#2b5fb4",
        secondary="#0b7a6b",
        accent="#9a5b00",
        foreground="#23262f",
        background="#fbfaf7",
        surface="#f2f0ea",
        panel="#e6e3da",
        success="#3d7a1f",
        warning="#9a5b00",
        error="#b3261e",
        dark=False,
        variables={"footer-key-foreground": "#9a5b00"},
    ),
)
