"""Many files over HTTP: several at a time, tried again, shared with other processes, and reported at the end.

`fetch_files` gives every file to one of `workers` threads. A file is worked on under a lease, so of two processes
that want the same files each is fetched by one, and the other waits for it. What fails for a passing reason is tried
again later (twice the wait each time, with jitter, or as long as the server says) while its thread takes another file.

All callbacks run on the thread of the caller.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from nanochat.errors import DamagedError, DownloadError, Interrupted, MissingError, NanochatError, StorageError
from nanochat.runtime.http import AGAIN, Credentials, Http, TransientError
from nanochat.runtime.lease import Lease, LeaseKeeper
from nanochat.runtime.partial import partial_bytes
from nanochat.runtime.transfer import (
    ChangedError,
    Fetched,
    FileRequest,
    HashMismatch,
    Limits,
    Stopped,
    Transfer,
    already_there,
)

__all__ = ["Failed", "FetchProgress", "Fetched", "FileRequest", "Limits", "fetch_files"]

TICK_S = 0.25
_TOLD_S = 20.0  # the same words of many files are said once
_LEAVING_S = 2.0  # a thread that waits for a dead connection longer than this ends with the process


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchProgress:
    """How far it is. Files whose size is not known count in `total_bytes` as far as they have come.

    `active` has (name, bytes there, bytes in all or None) of the files under way.
    """

    done_bytes: int
    total_bytes: int
    files_done: int
    files: int
    active: tuple[tuple[str, int, int | None], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A file that could not be had, and why."""

    request: FileRequest
    error: NanochatError


def fetch_files(
    requests: Sequence[FileRequest],
    *,
    workers: int = 8,
    credentials: Credentials | None = None,
    offline: bool = False,
    on_progress: Callable[[FetchProgress], None] | None = None,
    on_fetched: Callable[[Fetched], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] | None = None,
    limits: Limits | None = None,
) -> list[Fetched]:
    """Have these files under their final names.

    What stands there already is left alone if it is right: by SHA-256, or where none is known by size and `check`.

    Args:
        requests: the files; no two with the same target.
        workers: files at a time.
        credentials: for requests to their own origin.
        offline: open no connection.
        on_progress: told four times a second.
        on_fetched: told of every file as it gets its name, or was found to have it.
        on_notice: told in words of attempts that failed.
        stopped: asked several times a second whether to stop.
        limits: patience.

    Returns:
        One for each request, in their order.

    Raises:
        DownloadError: files that could not be had; all others were.
        MissingError: offline, and files are not there.
        StorageError: disk full, no permission and their like.
        Interrupted: stopped; what has arrived is kept, the same call goes on.
    """
    if offline:
        return _without_network(requests, on_fetched)
    with _Download(requests, credentials, workers, limits or Limits()) as download:
        told_at = -TICK_S
        while True:
            if on_progress and time.monotonic() - told_at >= TICK_S:
                told_at = time.monotonic()
                on_progress(download.progress())
            outcome = None
            with contextlib.suppress(queue.Empty):
                outcome = download.outcomes.get(timeout=TICK_S)
            if isinstance(outcome, Fetched) and on_fetched:
                on_fetched(outcome)
            elif isinstance(outcome, str) and on_notice:
                on_notice(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            if stopped is not None and stopped():
                raise Interrupted(f"stopped after {download.files_done} of {len(requests)} files", AGAIN)
            if download.over:
                break
        if on_progress:
            on_progress(download.progress())
        results = [job.result for job in download.jobs]
    failed = [result for result in results if isinstance(result, Failed)]
    if failed:
        raise _failure(failed, len(requests))
    return [result for result in results if isinstance(result, Fetched)]


class _Job:
    """One file on its way. Its fields are changed by the thread that has taken it."""

    def __init__(self, request: FileRequest, http: Http, limits: Limits) -> None:
        self.request = request
        self.name = request.target.name
        self.host = urlsplit(request.url).hostname or ""
        self.transfer = Transfer(request, http, limits)
        self.begun_at: float | None = None
        self.ready_at = 0.0
        self.taken = False
        self.failures = 0
        self.damaged = 0
        self.result: Fetched | Failed | None = None

    @property
    def under_way(self) -> bool:
        """Whether some process works on it."""
        return self.result is None and (self.taken or self.transfer.elsewhere)

    @property
    def total_bytes(self) -> int | None:
        return self.transfer.total_bytes


class _Download:
    """The threads and what they share."""

    def __init__(
        self, requests: Sequence[FileRequest], credentials: Credentials | None, workers: int, limits: Limits
    ) -> None:
        self.limits = limits
        self.outcomes: queue.Queue[Fetched | Failed | str | BaseException] = queue.Queue()
        self._http = Http(credentials=credentials, connect_s=limits.connect_s, read_s=limits.stall_s, workers=workers)
        self.jobs = [_Job(request, self._http, limits) for request in requests]
        self._leases = LeaseKeeper()
        self._stop = threading.Event()
        self._change = threading.Condition()
        self._host_ready_at: dict[str, float] = {}
        self._told_at: dict[str, float] = {}
        count = max(1, min(workers, len(self.jobs)))
        self._threads = [threading.Thread(target=self._work, name="download", daemon=True) for _ in range(count)]

    def __enter__(self) -> _Download:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with self._change:
            self._change.notify_all()
        until = time.monotonic() + _LEAVING_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._leases.close()
        self._http.close()

    @property
    def over(self) -> bool:
        """Whether every file is there or given up, and all of it was told."""
        return all(job.result is not None for job in self.jobs) and self.outcomes.empty()

    @property
    def files_done(self) -> int:
        return sum(isinstance(job.result, Fetched) for job in self.jobs)

    def progress(self) -> FetchProgress:
        """How far it is now."""
        active = [job for job in self.jobs if job.under_way]
        done = sum(job.transfer.done_bytes for job in self.jobs)
        return FetchProgress(
            done_bytes=done,
            total_bytes=sum(max(job.total_bytes or 0, job.transfer.done_bytes) for job in self.jobs),
            files_done=self.files_done,
            files=len(self.jobs),
            active=tuple((job.name, job.transfer.done_bytes, job.total_bytes) for job in active),
        )

    def _work(self) -> None:
        """One thread: attempts until nothing is left."""
        try:
            while (job := self._take()) is not None:
                try:
                    self._attempt(job)
                finally:
                    with self._change:
                        job.taken = False
                        self._change.notify_all()
        except BaseException as error:  # the caller's thread raises it
            self.outcomes.put(error)

    def _take(self) -> _Job | None:
        """The next file whose time has come; None when there is nothing left to do."""
        with self._change:
            while not self._stop.is_set():
                left = [job for job in self.jobs if job.result is None]
                if not left:
                    return None
                now = time.monotonic()
                waits = []
                for job in left:
                    if not job.taken:
                        wait = max(job.ready_at, self._host_ready_at.get(job.host, 0.0)) - now
                        if wait <= 0:
                            job.taken = True
                            return job
                        waits.append(wait)
                self._change.wait(min([1.0, *waits]))
        return None

    def _attempt(self, job: _Job) -> None:
        lease = self._leases.acquire(job.request.target)
        job.transfer.elsewhere = lease is None
        if lease is None:
            self._look_elsewhere(job)
            return
        if job.begun_at is None:
            job.begun_at = time.monotonic()
        try:
            self._end(job, job.transfer.run(lambda: self._go_on(job, lease)))
        except Stopped:
            job.ready_at = time.monotonic() + self.limits.busy_s
        except TransientError as error:
            self._again(job, error)
        except StorageError:
            raise  # the next file would meet the same
        except NanochatError as error:
            self._end(job, Failed(request=job.request, error=error))
        finally:
            lease.release()

    def _go_on(self, job: _Job, lease: Lease) -> None:
        if self._stop.is_set() or not lease.valid:
            raise Stopped
        if job.begun_at is not None and time.monotonic() - job.begun_at > self.limits.deadline_s:
            raise DownloadError(f"{job.name} is not complete after {self.limits.deadline_s:.0f} s", AGAIN)

    def _look_elsewhere(self, job: _Job) -> None:
        """Another process has it: see how far it is, and come again."""
        job.transfer.done_bytes = partial_bytes(job.request.target)
        job.ready_at = time.monotonic() + self.limits.busy_s * random.uniform(0.5, 1.5)

    def _again(self, job: _Job, error: TransientError) -> None:
        """Another attempt later, or none."""
        limits = self.limits
        if job.transfer.received_bytes >= limits.progress_bytes and not isinstance(error, ChangedError):
            job.failures = 0
        job.failures += 1
        job.damaged += isinstance(error, HashMismatch)
        wait = limits.backoff_s * 2 ** (job.failures - 1) * random.uniform(0.5, 1.5)
        wait = min(wait, limits.backoff_most_s) if error.wait_s is None else error.wait_s
        if job.damaged >= limits.damaged:
            final: NanochatError = DamagedError(f"{job.name} came damaged {job.damaged} times: {error.reason}", AGAIN)
        elif job.failures >= limits.attempts:
            final = DownloadError(f"{job.name}: {error.reason} ({job.failures} attempts in a row)", AGAIN)
        elif wait > limits.retry_after_most_s:
            final = DownloadError(f"{error.reason}, and asks to wait {wait:.0f} s", AGAIN)
        else:
            now = time.monotonic()
            job.ready_at = now + wait
            if error.wait_s is not None:  # it means all of us
                self._host_ready_at[job.host] = max(self._host_ready_at.get(job.host, 0.0), job.ready_at)
            if now > self._told_at.get(error.reason, 0.0):
                self._told_at[error.reason] = now + _TOLD_S
                self.outcomes.put(f"{error.reason}; {job.name} is tried again")
            return
        self._end(job, Failed(request=job.request, error=final))

    def _end(self, job: _Job, result: Fetched | Failed) -> None:
        self.outcomes.put(result)  # before the result: `over` looks at both
        job.result = result


def _failure(failed: list[Failed], files: int) -> NanochatError:
    """One error for all that could not be had."""
    names = ", ".join(failure.request.target.name for failure in failed[:8])
    more = f" and {len(failed) - 8} more" if len(failed) > 8 else ""
    first = failed[0].error
    if len(failed) == files == 1:
        return first
    return DownloadError(
        f"{len(failed)} of {files} files are missing: {names}{more} ({first.message})", first.hint or AGAIN
    )


def _without_network(requests: Sequence[FileRequest], on_fetched: Callable[[Fetched], None] | None) -> list[Fetched]:
    found = []
    missing = []
    for request in requests:
        there = already_there(request)
        if there is None:
            missing.append(request.target.name)
            continue
        found.append(there)
        if on_fetched:
            on_fetched(there)
    if missing:
        raise not_offline(missing)
    return found


def not_offline(names: Sequence[str]) -> MissingError:
    """The error for files that are not there when no connection may be opened."""
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return MissingError(
        f"{', '.join(names[:8])}{more} would have to be downloaded, and HF_HUB_OFFLINE forbids it",
        "unset HF_HUB_OFFLINE, or copy the files there",
    )
