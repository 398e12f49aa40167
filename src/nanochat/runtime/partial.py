"""Bytes of a file that have not all arrived: `.x.part` beside `x`, and `.x.part.json` with what they are bytes of.

They outlive the process, also one that is killed. After a crash of the machine the end of a file may be zeros, so then
they are believed only where the SHA-256 of the whole is known.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanochat.runtime.files import atomic_write_json

BLOCK_BYTES = 1 << 20
_SAME_BOOT_S = 60.0


def partial_path(target: Path) -> Path:
    """Where the bytes of a file are collected before they get its name."""
    return target.with_name(f".{target.name}.part")


def partial_bytes(target: Path) -> int:
    """Bytes of a file that have arrived and wait for the rest; 0 where none have."""
    try:
        return partial_path(target).stat().st_size
    except OSError:
        return 0


class PartialFile:
    """The bytes that have arrived of one file.

    Args:
        target: the final path.
        url: where it comes from, without secrets.
        sha256: of the whole, "" where nobody knows.
    """

    def __init__(self, target: Path, url: str, sha256: str) -> None:
        self.path = partial_path(target)
        self._note = self.path.with_name(f"{self.path.name}.json")
        self._url = url
        self._sha256 = sha256

    def believable(self) -> bool:
        """Whether the bytes are those of this file, as far as that can be known before the rest has come."""
        note = self._read()
        if not self.path.exists() or note.get("sha256", "") != self._sha256:
            return False
        return bool(self._sha256) or (note.get("url") == self._url and bool(self.etag) and _booted_at(note.get("boot")))

    @property
    def etag(self) -> str:
        """What the server called the file; "" where it did not say, or where another server said it."""
        note = self._read()
        return str(note.get("etag", "")) if note.get("url") == self._url else ""

    def hashed(self, go_on: Callable[[], None]) -> tuple[Any, int]:
        """SHA-256 so far, and the number of bytes. `go_on` is called before every block and may raise."""
        digest = hashlib.sha256()
        size = 0
        with self.path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                go_on()
                digest.update(block)
                size += len(block)
        return digest, size

    def note(self, etag: str) -> None:
        """Keep what the bytes belong to. A weak ETag (RFC 9110, 8.8.1) does not promise the same bytes."""
        import psutil

        strong = etag if etag.startswith('"') else ""
        note = {"url": self._url, "sha256": self._sha256, "etag": strong, "boot": psutil.boot_time()}
        old = self._read()
        if {**old, "boot": note["boot"]} != note or not _booted_at(old.get("boot")):
            atomic_write_json(self._note, note)

    def discard(self) -> None:
        """Forget them."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Give them the final name."""
        self.path.replace(target)
        self._note.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            note = json.loads(self._note.read_bytes())
            if isinstance(note, dict):
                return note
        return {}


def _booted_at(seconds: Any) -> bool:
    """Whether this machine still runs as it did then."""
    import psutil

    return isinstance(seconds, int | float) and abs(psutil.boot_time() - seconds) < _SAME_BOOT_S
