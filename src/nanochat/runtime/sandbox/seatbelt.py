"""The profile for `sandbox-exec` of macOS: later lines win over earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PROGRAM = Path("/usr/bin/sandbox-exec")

_PRIVATE = (
    "/Users",
    "/Volumes",
    "/Network",
    "/home",
    "/opt",
    "/usr/local",
    "/private/tmp",
    "/private/var",
    "/private/etc",
)
"""Where people, and programs they installed, keep files."""


def command(programs: Sequence[str], readable: Sequence[str]) -> list[str]:
    """What to put before the words of a command so that neither it nor its children write, connect or spy.

    Args:
        programs: the interpreter, and the folder in which it looks for its parts; nothing else is executed.
        readable: what may be read of the places where people keep files.
    """
    lines = [
        "(version 1)",
        "(allow default)",
        "(deny network*)",
        "(deny file-write*)",
        '(allow file-write* (literal "/dev/null"))',
        f"(deny file-read-data {' '.join(map(_below, _PRIVATE))})",
        f"(allow file-read-data {' '.join(map(_below, readable))})",
        "(deny signal)",
        "(allow signal (target same-sandbox))",
        "(deny process-info*)",
        "(allow process-info* (target same-sandbox))",
        "(deny mach-priv*)",
        "(deny appleevent-send)",
        "(deny process-exec*)",
        f"(allow process-exec* {' '.join(map(_below, programs))})",
    ]
    return [str(PROGRAM), "-p", "\n".join(lines)]


def _below(path: str) -> str:
    return f"(subpath {_quoted(path)})"


def _quoted(path: str) -> str:
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
