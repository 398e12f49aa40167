"""A disk that fails, or a process that dies, at the n-th change of the file system: for tests of what is left.

Counted are the calls that change something below a folder: mkdir, rename, unlink, rmdir, chmod, fsync, every write to
a file and the whole of a safetensors file. A failing write has written half of its bytes.
"""

from __future__ import annotations

import errno
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import safetensors.torch
from safetensors import SafetensorError

CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir", "chmod", "fsync")
REAL_OPEN = io.open


class Disk:
    """Counts changes and makes one of them, or all from one on, go wrong.

    Args:
        folder: what is elsewhere is left alone.
        fails_at: number of the call that goes wrong, from 1; 0 for none.
        number: of the error it raises; None kills the process (SIGKILL).
        lasting: whether what comes after goes wrong too: everything for EIO, what needs room for ENOSPC.
    """

    def __init__(self, folder: Path, fails_at: int = 0, number: int | None = None, *, lasting: bool = False) -> None:
        self._folder = str(folder)
        self._fails_at = fails_at
        self._number = number
        self._lasting = lasting
        self.calls: list[str] = []

    @contextmanager
    def in_use(self) -> Iterator[Disk]:
        """While the block runs, everyone in this process has this disk."""
        with ExitStack() as stack:
            for name in CALLS:
                stack.enter_context(mock.patch.object(os, name, self._watched(getattr(os, name), name)))
            stack.enter_context(mock.patch.object(io, "open", self._open))
            save_file = self._save_file(safetensors.torch.save_file)
            stack.enter_context(mock.patch.object(safetensors.torch, "save_file", save_file))
            yield self

    def _is_watched(self, place: Any, dir_fd: int | None = None) -> bool:
        if isinstance(place, int):
            place = Path(f"/proc/self/fd/{place}").readlink()
        elif dir_fd is not None:
            place = Path(f"/proc/self/fd/{dir_fd}").readlink() / place
        return os.fspath(place).startswith(self._folder)

    def _watched(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(place: Any, *args: Any, **options: Any) -> Any:
            if self._is_watched(place, options.get("dir_fd")):
                self.change(name, lambda: None)
            return real(place, *args, **options)

        return call

    def _open(self, place: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        watched = any(letter in mode for letter in "wxa+") and self._is_watched(place)
        if watched:
            self.change("open", lambda: None)
        file = REAL_OPEN(place, mode, *args, **options)
        return _File(file, self) if watched else file

    def _save_file(self, real: Callable[..., None]) -> Callable[..., None]:
        def save_file(tensors: Any, place: Path) -> None:
            def half() -> None:
                real(tensors, place)
                os.truncate(place, place.stat().st_size // 2)

            try:
                self.change("tensors", half)
            except OSError as error:
                raise SafetensorError(f"I/O error: {error.strerror} (os error {error.errno})") from error
            real(tensors, place)

        return save_file

    def change(self, name: str, half: Callable[[], None]) -> None:
        """Count a change that is about to be made; when it is the one, do half of it and fail."""
        self.calls.append(name)
        count = len(self.calls)
        needs_room = name in ("mkdir", "open", "write", "tensors", "fsync")
        later = self._lasting and 0 < self._fails_at < count and (needs_room or self._number != errno.ENOSPC)
        if count != self._fails_at and not later:
            return
        half()
        if self._number is None:
            os.kill(os.getpid(), signal.SIGKILL)
        assert self._number is not None
        raise OSError(self._number, os.strerror(self._number))


class _File:
    """A file of a watched folder."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file = file
        self._disk = disk

    def write(self, data: Any) -> int:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._disk.change("write", half)
        count: int = self._file.write(data)
        return count

    def __enter__(self) -> _File:
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
