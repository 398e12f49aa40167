"""Numbers, times, bars and foreign text as short strings."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Sequence

SPARKS = "▁▂▃▄▅▆▇█"
_ASCII = str.maketrans(
    {"✓": "+", "▸": ">", "·": ".", "→": ">", "━": "#", "─": "-", "…": ".", "×": "x"}
) | str.maketrans(SPARKS, "__.--==#")
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control, bidi and joiners, surrogates, unassigned


def safe(text: str) -> str:
    """Foreign text on one line that cannot steer a terminal: any white space is a space, the unseen is �."""
    return "".join(
        " " if char.isspace() else "�" if unicodedata.category(char) in UNSEEN else char for char in text
    ).strip()


def to_ascii(text: str) -> str:
    """Our own signs for a stream that cannot show them, each one cell still; other characters stay."""
    return text.translate(_ASCII)


def duration(seconds: float) -> str:
    """0:58, 12:03 or 1:02:03."""
    whole = int(seconds + 0.5) if math.isfinite(seconds) and seconds > 0 else 0
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def short(value: float) -> str:
    """Three digits or so: 940, 15.3k, 1.2M."""
    if not math.isfinite(value):
        return "?"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * limit:
            scaled = value / limit
            return f"{scaled:.1f}{unit}" if abs(scaled) < 99.95 else f"{scaled:.0f}{unit}"
    return f"{value:.0f}" if abs(value) >= 9.95 or value == int(value) else f"{value:.1f}"


def size(value: float) -> str:
    """Bytes: 12.0 MB."""
    text = short(value)
    return f"{text[:-1]} {text[-1]}B" if text[-1:] in "kMGT" else f"{text} B"


def loss_text(value: float) -> str:
    """2.31, and one digit more below a tenth."""
    return f"{value:.2f}" if not abs(value) < 0.1 else f"{value:.3f}"


def money(dollars: float) -> str:
    """$0.004, $0.12, $1,234: cents where they count."""
    if not math.isfinite(dollars):
        return "$?"
    return f"${dollars:,.{3 if abs(dollars) < 0.0995 else 2 if abs(dollars) < 99.5 else 0}f}"


def bar(fraction: float, width: int) -> tuple[str, str]:
    """The done and the open part of a bar of `width` cells."""
    filled = int(min(1.0, max(0.0, fraction)) * width)
    return "━" * filled, "─" * (width - filled)


def condense(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: means of equal parts of them, in order."""
    if width < 1 or len(values) <= width:
        return list(values)
    edges = [round(at * len(values) / width) for at in range(width + 1)]
    return [sum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges)]


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as little columns between their least and greatest; only finite ones."""
    shown = [value for value in values[-width:] if math.isfinite(value)] if width > 0 else []
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    if high == low:
        return SPARKS[0] * len(shown)
    top = len(SPARKS) - 1
    return "".join(SPARKS[round((value - low) / (high - low) * top)] for value in shown)
