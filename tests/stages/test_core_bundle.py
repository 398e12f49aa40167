"""The bundle is downloaded once, checked, and recorded."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving import Server
from small_bundle import write_bundle
from toys import context_of

from nanochat.errors import DamagedError, MissingError
from nanochat.evaluation.core.bundle import open_bundle
from nanochat.runtime.events import Event, StageProgress
from nanochat.runtime.hub import Hub
from nanochat.stages import core_bundle
from nanochat.stages.core_bundle import download_record, have_bundle
from nanochat.stages.task_data import fetch_task_data, list_task_data
from nanochat.tasks.hub import Places


def packed(folder: Path, inside: str = "eval_bundle/") -> bytes:
    """The files of a folder as an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                zipped.write(path, inside + str(path.relative_to(folder)))
    return buffer.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        monkeypatch.setattr(core_bundle, "ADDRESS", server.url("/eval_bundle.zip"))
        yield server


def test_it_is_downloaded_once_and_recorded(server: Server, tmp_path: Path) -> None:
    data = packed(write_bundle(tmp_path / "original"))
    server.put("/eval_bundle.zip", data)
    context = context_of(tmp_path / "base")
    events: list[Event] = []
    folder = have_bundle(context, None, Hub(), events.append)
    assert open_bundle(folder).sha256 == open_bundle(tmp_path / "original").sha256
    record = download_record(folder)
    assert record["sha256"] == hashlib.sha256(data).hexdigest()
    assert (record["size_bytes"], record["url"]) == (len(data), core_bundle.ADDRESS)
    assert any(isinstance(event, StageProgress) for event in events)
    assert sorted(path.name for path in folder.parent.iterdir() if not path.name.startswith(".")) == ["eval_bundle"]
    asked = len(server.seen)
    assert have_bundle(context, None, Hub(offline=True), events.append) == folder
    assert len(server.seen) == asked


@pytest.mark.parametrize("inside", ["", "eval_bundle/"])
def test_files_may_lie_in_a_folder_or_not(server: Server, tmp_path: Path, inside: str) -> None:
    server.put("/eval_bundle.zip", packed(write_bundle(tmp_path / "original"), inside))
    assert len(open_bundle(have_bundle(context_of(tmp_path), None, Hub(), lambda event: None)).tasks) == 4


@pytest.mark.parametrize("data", [b"no archive", b""])
def test_what_is_no_bundle_is_refused(server: Server, tmp_path: Path, data: bytes) -> None:
    for content in (data, packed(write_bundle(tmp_path / "original"), "other/")):
        server.put("/eval_bundle.zip", content)
        with pytest.raises(DamagedError, match="archive"):
            have_bundle(context_of(tmp_path / "base"), None, Hub(), lambda event: None)
        assert not (tmp_path / "base" / "cache" / "tasks" / "eval_bundle").exists()


def test_it_is_fetched_with_the_data_of_tasks(server: Server, tmp_path: Path) -> None:
    """On the login node, for jobs without network: `nanochat data tasks core`."""
    server.put("/eval_bundle.zip", packed(write_bundle(tmp_path / "original")))
    context = context_of(tmp_path / "base")
    assert [task.splits for task in list_task_data(Places.of(context.paths)) if task.name == "core"] == [
        {"bundle": None}
    ]
    (found,) = fetch_task_data(["core"], context, lambda event: None, {})
    assert (found.name, found.complete) == ("core", True)
    folder = have_bundle(context, None, Hub(offline=True), lambda event: None)
    assert found.splits == {"bundle": folder}
    assert open_bundle(folder).sha256 == open_bundle(tmp_path / "original").sha256
    assert fetch_task_data(["core"], context, lambda event: None, {"HF_HUB_OFFLINE": "1"}) == [found]
    with pytest.raises(MissingError, match="HF_HUB_OFFLINE") as caught:
        fetch_task_data(["core"], context_of(tmp_path / "other"), lambda event: None, {"HF_HUB_OFFLINE": "1"})
    assert "data tasks core" in caught.value.hint


def test_a_given_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "mine" / "eval_bundle")
    offline = Hub(offline=True)
    for given in (folder, folder.parent):
        assert have_bundle(context_of(tmp_path), str(given), offline, lambda event: None) == folder
    with pytest.raises(MissingError, match="HF_HUB_OFFLINE"):
        have_bundle(context_of(tmp_path), None, offline, lambda event: None)
