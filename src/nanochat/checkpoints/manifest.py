"""The manifest of a checkpoint: size and SHA-256 of every file, written last.

A folder without one was never finished; a file that differs from it is damaged. The manifest carries a
checksum of itself, so that a flipped bit in it is not blamed on the files. Covered: accidents. Not covered:
a forger, who can write a manifest as well as we can.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.files import fsync_dir, sha256_file, translate_os_errors

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """What one file must be."""

    size: int  # bytes
    sha256: str  # hexadecimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a checkpoint must be. `files` maps a path inside the folder, with `/`, to its entry."""

    step: int
    created: float  # unix seconds
    files: Mapping[str, FileEntry]

    @property
    def size_bytes(self) -> int:
        """All files together, the manifest itself left out."""
        return sum(entry.size for entry in self.files.values())


def write_manifest(folder: Path, step: int) -> Manifest:
    """Force every file below `folder` to disk, then describe them all in its manifest.

    Raises:
        OSError: a file could not be read or made durable.
    """
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        name = path.relative_to(folder).as_posix()
        files[name] = FileEntry(size=path.stat().st_size, sha256=sha256_file(path))
    manifest = Manifest(step=step, created=round(time.time(), 3), files=files)
    body = {"format": FORMAT, **asdict(manifest)}
    with (folder / MANIFEST).open("wb") as file:
        file.write(_text({**body, "sha256": _checksum(body)}))
        file.flush()
        os.fsync(file.fileno())
    for path in folder.rglob("*"):
        if path.is_dir():
            fsync_dir(path)
    fsync_dir(folder)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a checkpoint.

    Raises:
        MissingError: there is no such folder.
        DamagedError: the manifest is absent, cut short or altered.
        UsageError: a newer version of this program wrote it.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise MissingError(f"there is no checkpoint at {folder}", "nanochat models list")
    with _naming_unreadable(path):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise _damaged(path, "is missing") from None
    try:
        body = json.loads(data)
        as_written = _text(body)
        stated = body.pop("sha256")
        if stated != _checksum(body):
            raise _damaged(path, "is damaged (its checksum differs)")
        if body["format"] > FORMAT:
            raise UsageError(
                f"{path} has format {body['format']}, this version reads {FORMAT}",
                "the checkpoint was made by a newer nanochat; upgrade this one",
            )
        if data.replace(b"\r\n", b"\n") != as_written:
            raise _damaged(path, "is damaged (its white space differs)")
        files = {name: FileEntry(**entry) for name, entry in body["files"].items()}
        manifest = Manifest(step=body["step"], created=body["created"], files=files)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path, "is damaged (not a manifest)") from None
    for name in manifest.files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise _damaged(path, f"names a file outside of its folder ({name})")
    return manifest


def check_file(folder: Path, manifest: Manifest, name: str) -> Path:
    """The path of one file, once its size and SHA-256 have been compared with the manifest.

    Raises:
        DamagedError: the file is missing, longer, shorter or altered, or the device cannot read it; the message
            names it.
        StorageError: the system does not let us read it.
    """
    path = folder / name
    entry = manifest.files.get(name)
    if entry is None:
        raise _damaged(folder / MANIFEST, f"does not list {name}")
    with _naming_unreadable(path):
        if not path.is_file():
            raise _damaged(path, "is missing")
        size = path.stat().st_size
        if size != entry.size:
            raise _damaged(path, f"is damaged ({size:,} bytes instead of {entry.size:,})")
        if sha256_file(path) != entry.sha256:
            raise _damaged(path, "is damaged (its SHA-256 differs from the manifest)")
    return path


def verify(folder: Path, names: Iterable[str] | None = None) -> Manifest:
    """Check a checkpoint, or only the files `names` of it.

    Raises:
        DamagedError: naming the first file that is not as the manifest says.
    """
    manifest = read_manifest(folder)
    for name in manifest.files if names is None else names:
        check_file(folder, manifest, name)
    return manifest


def check_all(folder: Path) -> dict[str, str]:
    """The state of every file: "ok", or what is wrong with it.

    Raises:
        DamagedError: the manifest itself cannot be trusted.
    """
    manifest = read_manifest(folder)
    states = {}
    for name in manifest.files:
        try:
            check_file(folder, manifest, name)
            states[name] = "ok"
        except DamagedError as error:
            states[name] = error.message.removeprefix(f"{folder / name} ")
    return states


@contextlib.contextmanager
def _naming_unreadable(path: Path) -> Iterator[None]:
    """A file that the device cannot give back is as good as damaged; other errors of the system can be mended."""
    with translate_os_errors(path):
        try:
            yield
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise _damaged(path, f"cannot be read ({os.strerror(errno.EIO)})") from error


def _text(body: Mapping[str, Any]) -> bytes:
    return (json.dumps(body, indent=2) + "\n").encode()


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(f"{path} {what}", "use an older checkpoint, copy this one again, or train it again")
