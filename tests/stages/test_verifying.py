"""Verifying, and having damaged files again from where they came."""

from __future__ import annotations

import http.server
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nanochat.config.importing import ImportConfig
from nanochat.data.dataset import DataSet
from nanochat.data.manifest import read_manifest
from nanochat.errors import Interrupted, MissingError, NanochatError
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Event, StageFinished, StageProgress
from nanochat.runtime.paths import Paths
from nanochat.stages.importing import import_texts
from nanochat.stages.verifying import verify_data


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of `tmp_path / "served"`."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    context = RunContext(paths=Paths(base=tmp_path / "base", cache=tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("\n".join(f"line {number}" for number in range(500)))
    import_texts(ImportConfig(documents="line"), [tmp_path / "a.txt"], context, lambda event: None)
    return context


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)


def serve(context: RunContext, server: str, served: Path) -> None:
    """As if the data set had been downloaded."""
    folder = context.paths.data("mine")
    manifest = read_manifest(folder)
    assert manifest is not None
    for name in manifest.files:
        (served / name).write_bytes((folder / name).read_bytes())
    files = {name: replace(entry, url=f"{server}/{name}") for name, entry in manifest.files.items()}
    replace(manifest, files=files).save(folder)


def test_all_data_sets_are_verified(context: RunContext) -> None:
    events: list[Event] = []
    (result,) = verify_data([], context, events.append, environ={})
    assert (result.verified.damage, result.way_out) == ((), "")
    assert list(result.lines()) == ["mine: 2 files as written"]
    assert isinstance(events[-1], StageFinished)
    assert [event.detail for event in events if isinstance(event, StageProgress)] == [
        "mine/shard_00000.parquet",
        "mine/shard_00001.parquet",
    ]
    with pytest.raises(MissingError):
        verify_data(["other"], context, events.append, environ={})


def test_what_was_made_here_is_made_again(context: RunContext, tmp_path: Path) -> None:
    damage(context.paths.data("mine") / "shard_00000.parquet")
    (result,) = verify_data(["mine"], context, lambda event: None, repair=True, environ={})
    assert result.repaired == ()
    assert result.way_out == f"nanochat data import {tmp_path / 'a.txt'} --name mine --documents line"


def test_the_way_out_of_damage_mends_it(context: RunContext, tmp_path: Path) -> None:
    folder = context.paths.data("mine")
    config = ImportConfig(documents="line")
    for harm in (damage, Path.unlink):
        harm(min(folder.glob("shard_*.parquet")))
        (result,) = verify_data([], context, lambda event: None, environ={})
        assert result.verified.damage
        assert not import_texts(config, [tmp_path / "a.txt"], context, lambda event: None).already
        (result,) = verify_data([], context, lambda event: None, environ={})
        assert result.verified.damage == ()
        assert result.verified.files == 2


@pytest.mark.parametrize("adopt", [False, True])
def test_a_manifest_that_cannot_be_read_is_damage(context: RunContext, tmp_path: Path, adopt: bool) -> None:
    import_texts(ImportConfig(name="other", documents="line"), [tmp_path / "a.txt"], context, lambda event: None)
    (context.paths.data("mine") / "manifest.json").write_text("{")
    mine, other = verify_data([], context, lambda event: None, adopt=adopt, environ={})
    assert other.verified.damage == ()
    assert mine.adopted is adopt
    if adopt:
        assert (mine.verified.damage, mine.way_out) == ((), "")
    else:
        assert [item.file for item in mine.verified.damage] == ["manifest.json"]
        assert mine.way_out == "nanochat data verify mine --adopt"


def test_a_stop_while_files_come_again_keeps_what_has_come(
    context: RunContext, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(context, server, tmp_path / "served")
    path = context.paths.data("mine") / "shard_00000.parquet"
    damage(path)
    before = path.read_bytes()
    monkeypatch.setattr("nanochat.runtime.download.TICK_S", 0.01)
    monkeypatch.setattr(Quiet, "do_GET", lambda self: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(Interrupted):
        verify_data(["mine"], context, lambda event: None, repair=True, environ={})
    assert path.read_bytes() == before


def test_a_data_set_all_of_whose_shards_are_gone(context: RunContext, server: str, tmp_path: Path) -> None:
    serve(context, server, tmp_path / "served")
    folder = context.paths.data("mine")
    for path in folder.glob("shard_*.parquet"):
        path.unlink()
    with pytest.raises(MissingError) as caught:
        DataSet.open(folder)
    assert caught.value.hint == "nanochat data verify mine --repair"
    (result,) = verify_data([], context, lambda event: None, repair=True, environ={})
    assert (result.verified.damage, len(result.repaired)) == ((), 2)
    DataSet.open(folder)


def test_what_was_downloaded_is_downloaded_again(context: RunContext, server: str, tmp_path: Path) -> None:
    serve(context, server, tmp_path / "served")
    folder = context.paths.data("mine")
    whole = (folder / "shard_00000.parquet").read_bytes()
    damage(folder / "shard_00000.parquet")
    (folder / "shard_00001.parquet").unlink()
    (result,) = verify_data(["mine"], context, lambda event: None, environ={})
    assert {item.file for item in result.verified.damage} == {"shard_00000.parquet", "shard_00001.parquet"}
    assert result.way_out == "nanochat data verify mine --repair"
    (result,) = verify_data(["mine"], context, lambda event: None, repair=True, environ={})
    assert (result.verified.damage, result.way_out) == ((), "")
    assert result.repaired == ("shard_00000.parquet", "shard_00001.parquet")
    assert (folder / "shard_00000.parquet").read_bytes() == whole


def test_a_server_that_no_longer_has_it(context: RunContext, server: str, tmp_path: Path) -> None:
    serve(context, server, tmp_path / "served")
    path = context.paths.data("mine") / "shard_00000.parquet"
    damage(path)
    before = path.read_bytes()
    (tmp_path / "served" / path.name).unlink()
    with pytest.raises(NanochatError, match=r"shard_00000\.parquet"):
        verify_data(["mine"], context, lambda event: None, repair=True, environ={})
    assert path.read_bytes() == before
