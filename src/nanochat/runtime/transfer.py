"""One file over HTTP: it goes on where an earlier attempt ended, and is checked before it gets its final name.

What an earlier attempt, or process, has left is hashed and the rest asked for (Range, If-Range); a server that has
another file by then sends it from the beginning. Bytes are hashed as they come. The final name is given last, after
size, SHA-256 and the caller's own check, so a bad file never has it.

Not covered: trying again, and who may work on a file; see `download.py`.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nanochat.errors import DamagedError, DownloadError
from nanochat.runtime.files import fsync_dir, sha256_file, translate_os_errors
from nanochat.runtime.http import Http, TransientError, shown
from nanochat.runtime.partial import BLOCK_BYTES, PartialFile, partial_bytes

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_PACKED = {"gzip": (".gz", ".tgz"), "x-gzip": (".gz", ".tgz"), "zstd": (".zst",), "bzip2": (".bz2",), "xz": (".xz",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRequest:
    """A file to have.

    Attributes:
        url: http or https.
        target: its final path; the partial file lies beside it.
        size_bytes: what it must be, None where nobody knows.
        sha256: hexadecimal, "" where nobody knows.
        check: looks at the whole file before it gets its name, and raises DamagedError.
    """

    url: str
    target: Path
    size_bytes: int | None = None
    sha256: str = ""
    check: Callable[[Path], None] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A file that is there. `here_before`: nothing was transferred for it by this call."""

    request: FileRequest
    size_bytes: int
    sha256: str
    here_before: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Patience.

    Attributes:
        attempts: failures in a row after which a file is given up; one that brought `progress_bytes` starts a new row.
        damaged: times that a file may arrive with a wrong SHA-256.
        backoff_s: mean wait before the second attempt; doubled for each that follows, up to `backoff_most_s`.
        retry_after_most_s: a server that asks to wait longer than this is given up.
        connect_s: to open a connection.
        stall_s: without a byte.
        window_s: seconds in which at least `window_bytes` must come.
        deadline_s: for one file, with all its attempts.
        busy_s: between two looks at a file that another process fetches.
    """

    attempts: int = 6
    progress_bytes: int = 1 << 16
    damaged: int = 2
    backoff_s: float = 1.0
    backoff_most_s: float = 60.0
    retry_after_most_s: float = 900.0
    connect_s: float = 10.0
    stall_s: float = 30.0
    window_s: float = 60.0
    window_bytes: int = 60_000
    deadline_s: float = 6 * 3600.0
    busy_s: float = 0.5


class ChangedError(TransientError):
    """The bytes that have arrived are worthless; the next attempt begins at the first byte."""


class HashMismatch(ChangedError):
    """The whole file came, and is another one than it must be."""


class Stopped(Exception):
    """The caller wants to end, or the lease is lost."""


class Transfer:
    """Attempts at one file.

    Args:
        request: the file.
        http: connections.
        limits: patience.

    Attributes:
        done_bytes: that are there.
        received_bytes: of these, that the newest attempt brought.
        total_bytes: of the file; None until the server says it.
        elsewhere: whether another process has it.
    """

    def __init__(self, request: FileRequest, http: Http, limits: Limits) -> None:
        self.request = request
        self._http = http
        self._limits = limits
        self._go_on: Callable[[], None] = _always
        self._part = PartialFile(request.target, shown(request.url), request.sha256)
        self.done_bytes = partial_bytes(request.target)
        self.received_bytes = 0
        self.total_bytes = request.size_bytes
        self.elsewhere = False

    def run(self, go_on: Callable[[], None]) -> Fetched:
        """One attempt.

        Args:
            go_on: called before every block; raises to end the attempt.

        Raises:
            TransientError: another attempt may do; what has arrived is kept.
            ChangedError: so it is, but nothing is kept.
            DownloadError: an answer that will stay the same.
            DamagedError: what the caller's check said.
            StorageError: it cannot be written.
        """
        self._go_on = go_on
        self.received_bytes = 0
        with translate_os_errors(self._part.path):
            self._part.path.parent.mkdir(parents=True, exist_ok=True)
            if (there := already_there(self.request)) is not None:
                self._discard()
                self.done_bytes = self.total_bytes = there.size_bytes
                return there
            digest, etag = self._resume()
            try:
                if self.request.size_bytes is None or self.done_bytes < self.request.size_bytes:
                    digest = self._receive(digest, etag)
                return self._finish(digest.hexdigest())
            except (ChangedError, DamagedError):
                self._discard()
                raise

    def _resume(self) -> tuple[Any, str]:
        """The hash of the bytes that are there, and their ETag; those that cannot be believed are dropped."""
        if self._part.believable():
            digest, self.done_bytes = self._part.hashed(self._go_on)
            if self.request.size_bytes is None or self.done_bytes <= self.request.size_bytes:
                return digest, self._part.etag
        self._discard()
        return hashlib.sha256(), ""

    def _receive(self, digest: Any, etag: str) -> Any:
        """Ask for what is lacking and write it. Returns the hash of the whole."""
        headers = {}
        if self.done_bytes:
            headers["Range"] = f"bytes={self.done_bytes}-"
            if etag:
                headers["If-Range"] = etag
        with self._http.get(self.request.url, headers) as response:
            start = self._check_answer(response, etag)
            if response.status == 416:
                return digest  # everything is there: only the name was not given yet
            if start != self.done_bytes:
                self._discard()  # before the note: bytes must never be held to the ETag of others
                digest = hashlib.sha256()
            self._part.note(response.headers.get("ETag", ""))
            with os.fdopen(os.open(self._part.path, os.O_WRONLY | os.O_CREAT, 0o644), "wb", buffering=0) as file:
                file.seek(self.done_bytes)
                self._copy(response, file, digest)
        if self.total_bytes is not None and self.done_bytes != self.total_bytes:
            raise TransientError(f"{self._host} ended the file too early")
        return digest

    def _copy(self, response: BaseHTTPResponse, file: Any, digest: Any) -> None:
        limits = self._limits
        mark_at, mark = time.monotonic() + limits.window_s, self.done_bytes
        while block := response.read1(BLOCK_BYTES, decode_content=False):
            self._go_on()
            if self.total_bytes is not None and self.done_bytes + len(block) > self.total_bytes:
                raise ChangedError(f"{self._host} sends more than the file has")
            view = memoryview(block)
            while view:
                view = view[file.write(view) :]
            digest.update(block)
            self.done_bytes += len(block)
            self.received_bytes += len(block)
            if time.monotonic() > mark_at:
                if self.done_bytes - mark < limits.window_bytes:
                    raise TransientError(f"{self._host} sends hardly anything")
                mark_at, mark = time.monotonic() + limits.window_s, self.done_bytes

    def _check_answer(self, response: BaseHTTPResponse, etag: str) -> int:
        """Where the body of the answer begins in the file; notes the size of the whole.

        Raises:
            ChangedError: it is a part of another file, or one that does not follow what is there.
            DownloadError: it is no file at all.
        """
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        packing = response.headers.get("Content-Encoding", "identity").lower()
        name = self.request.target.name.lower()
        if response.status == 416:
            if response.headers.get("Content-Range", "") != f"bytes */{self.done_bytes}":
                raise ChangedError(f"{self._host} has no bytes after the first {self.done_bytes:,}")
            return self.done_bytes
        if kind == "text/html" and not name.endswith((".html", ".htm")):
            raise DownloadError(
                f"{shown(self.request.url)} answers with a web page in place of the file",
                "look at the address in a browser: it may want a login, or the network one",
            )
        if packing not in ("", "identity") and not name.endswith(_PACKED.get(packing, ("?",))):
            raise DownloadError(
                f"{shown(self.request.url)} comes in {packing}, which nobody asked for",
                "a proxy on the way changes files; try another network or mirror",
            )
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        start = 0
        if response.status == 206:
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != self.done_bytes:
                raise ChangedError(f"{self._host} sends another part than it was asked for")
            now = response.headers.get("ETag", "")
            if etag and now and now != etag:
                raise ChangedError(f"the file changed on {self._host}")
            start = int(found[1])
            total = int(found[2]) if found[2] != "*" else None
        if self.request.size_bytes is not None and total not in (None, self.request.size_bytes):
            raise ChangedError(f"{self._host} has {total:,} bytes for it, not {self.request.size_bytes:,}")
        self.total_bytes = self.request.size_bytes if self.request.size_bytes is not None else total
        return start

    def _finish(self, sha256: str) -> Fetched:
        """Check the whole and give it its name."""
        request = self.request
        if request.sha256 and sha256 != request.sha256:
            raise HashMismatch(f"{self._host} sent another file: its SHA-256 is {sha256[:12]}…")
        if request.check is not None:
            request.check(self._part.path)
        with self._part.path.open("rb") as file:
            os.fsync(file.fileno())
        self._go_on()
        self._part.finish(request.target)
        fsync_dir(request.target.parent)
        return Fetched(request=request, size_bytes=self.done_bytes, sha256=sha256, here_before=False)

    def _discard(self) -> None:
        self._part.discard()
        self.done_bytes = 0

    @property
    def _host(self) -> str:
        return urlsplit(self.request.url).hostname or ""


def already_there(request: FileRequest) -> Fetched | None:
    """The file that stands under the final name, if it is what it must be."""
    if not request.target.is_file():
        return None
    size = request.target.stat().st_size
    if request.size_bytes not in (None, size):
        return None
    sha256 = sha256_file(request.target)
    if request.sha256 and sha256 != request.sha256:
        return None
    if request.check is not None:
        try:
            request.check(request.target)
        except DamagedError:
            return None
    return Fetched(request=request, size_bytes=size, sha256=sha256, here_before=True)


def _always() -> None:
    """Nothing speaks against going on."""
