"""Files fetched by a stage: what the hub allows, notices as events, and a stop that keeps what has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nanochat.runtime.download import Fetched, FetchProgress, FileRequest, Limits, fetch_files
from nanochat.runtime.events import Notice, OnEvent
from nanochat.runtime.hub import Hub
from nanochat.runtime.stop import StopRequest

STAGE = "data"


def fetch(
    requests: Sequence[FileRequest],
    hub: Hub,
    on_event: OnEvent,
    on_progress: Callable[[FetchProgress], None],
    *,
    workers: int = 8,
    on_fetched: Callable[[Fetched], None] | None = None,
    limits: Limits | None = None,
) -> list[Fetched]:
    """Have these files under their final names; the errors are those of `fetch_files`.

    Args:
        requests: the files.
        hub: says whether a connection may be opened, and with which credentials.
        on_event: told of attempts that failed.
        on_progress: told four times a second.
        workers: files at a time.
        on_fetched: told of every file.
        limits: patience.
    """
    with StopRequest() as stop:
        return fetch_files(
            requests,
            workers=workers,
            credentials=hub.credentials,
            offline=hub.offline,
            on_progress=on_progress,
            on_fetched=on_fetched,
            on_notice=lambda text: on_event(Notice(stage=STAGE, level="info", message=text)),
            stopped=lambda: stop.requested,
            limits=limits,
        )
