"""Files that are either whole or absent, and file-system errors in words.

Covered: atomic replacement (temporary sibling, fsync, rename, fsync of the folder), checksums, the translation of
OSError into `StorageError`. Not covered: locking, downloads.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanochat.errors import StorageError

_HINTS = {
    errno.ENOSPC: "free some space, or put the data elsewhere with --base-dir",
    errno.EDQUOT: "your disk quota is used up; free some space or use --base-dir",
    errno.EFBIG: "a file-size limit is in force (ulimit -f); raise it or use --base-dir",
    errno.EACCES: "give yourself access to it, or use --base-dir",
    errno.EPERM: "give yourself access to it, or use --base-dir",
    errno.EROFS: "the file system is read-only; use --base-dir with a folder you can write to",
    errno.EIO: "the device reports a read or write error; check the disk",
    errno.EEXIST: "a file stands where a folder should be; move it away or choose another place",
    errno.ENOTDIR: "a file stands where a folder should be; move it away or use --base-dir",
}


@contextlib.contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a `StorageError` that names the file and the way out."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        what = os.strerror(error.errno) if error.errno else str(error)
        hint = _HINTS.get(error.errno or 0, f"check {path}")
        raise StorageError(f"{where}: {what}", hint) from error


def fsync_dir(path: Path) -> None:
    """Make the names in a folder durable. A no-op where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: after a crash the old or the new content is there, never a mixture.

    Raises:
        StorageError: disk full, no permission and their like; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_dir(path.parent)


def atomic_write_text(path: Path, text: str) -> None:
    """`atomic_write_bytes` of UTF-8 text."""
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: Path, value: Any) -> None:
    """`atomic_write_text` of indented JSON with a final newline."""
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in 1 MiB pieces."""
    import hashlib

    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
