"""What is new in files that somebody else writes.

Covered: logs that grow, that end in half a line, that are cut, replaced or not there; small JSON files that change.
Nothing is read again unless it changed, and never more than a block at a time. Not covered: what the lines mean.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from nanochat.errors import StorageError

T = TypeVar("T")

BLOCK_BYTES = 1 << 19  # some 1,700 steps: 20 ms to decode, so that keys are answered meanwhile
_ANCHOR_BYTES = 64  # every event carries its time in milliseconds: other files do not have the same ones here

Signature = tuple[int, int, int]


def signature(path: Path) -> Signature | None:
    """What changes when a file does; None when there is no such file or it may not be looked at."""
    try:
        return _signature(path)
    except OSError:
        return None


def _signature(path: Path) -> Signature:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True, slots=True)
class News:
    """What was new in a log.

    Attributes:
        lines: whole lines, without their ends.
        anew: the file is another one than before: forget what came from it.
        left: bytes that wait to be read.
        total: bytes of the file.
    """

    lines: list[bytes]
    anew: bool = False
    left: int = 0
    total: int = 0


class Tail:
    """The end of a log that grows. A line counts once its newline is there.

    A file that was replaced is read on when the bytes before the place match, as after a copy that has grown, else
    from its beginning. A line longer than a block is passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: Signature | None = None
        self._at = 0
        self._anchor = b""
        self._skipping = False

    def read(self, limit: int = BLOCK_BYTES) -> News:
        """At most `limit` bytes of what is new.

        Raises:
            OSError: the file is there but cannot be read, or nobody may look whether it is.
        """
        try:
            now = _signature(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return News([])
        if now == self._seen:
            return News([], total=now[1])
        with self.path.open("rb") as file:
            anew = not self._goes_on(file.read, file.seek, now[1])
            if anew:
                self._at, self._anchor, self._skipping = 0, b"", False
            file.seek(self._at)
            block = file.read(limit)
        end = block.rfind(b"\n") + 1
        if not end and len(block) == limit:
            self._at += limit
            self._anchor, self._skipping = block[-_ANCHOR_BYTES:], True
            return News([], anew, left=max(0, now[1] - self._at), total=now[1])
        lines = block[:end].split(b"\n")[:-1]
        if self._skipping and end:
            lines, self._skipping = lines[1:], False
        self._at += end
        self._anchor = (self._anchor + block[:end])[-_ANCHOR_BYTES:]
        complete = len(block) < limit
        self._seen = now if complete else None
        return News(lines, anew, left=0 if complete else max(0, now[1] - self._at), total=now[1])

    def _goes_on(self, read: Callable[[int], bytes], seek: Callable[[int], int], size: int) -> bool:
        if size < self._at:
            return False
        seek(self._at - len(self._anchor))
        return read(len(self._anchor)) == self._anchor


class Watched(Generic[T]):
    """A value made of files; made again when one of them changed. What cannot be read counts as it was before.

    Args:
        load: makes the value.
        empty: the value as long as nothing could be read.
        paths: the files, or folders whose entries count.
    """

    def __init__(self, load: Callable[[], T], empty: T, *paths: Path) -> None:
        self.value = empty
        self._load = load
        self._paths = paths
        self._seen: list[Signature | None] | None = None

    def read(self) -> bool:
        """Look again; True when the value is a new one."""
        now = [signature(path) for path in self._files()]
        if now == self._seen:
            return False
        self._seen = now
        try:
            self.value = self._load()
        except (OSError, StorageError):
            return False
        return True

    def _files(self) -> list[Path]:
        files = list(self._paths)
        for path in self._paths:
            with contextlib.suppress(OSError):
                files += sorted(path.iterdir()) if path.is_dir() else []
        return files
