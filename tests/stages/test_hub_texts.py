"""Data sets of the hub are fetched once and imported; the hub here is a server of our own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_hub import FakeHub, serving

from nanochat.config.importing import ImportConfig
from nanochat.data.manifest import read_manifest
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.stages.hub_texts import files_with_text
from nanochat.stages.importing import import_texts

FILES = {
    "README.md": b"# About",
    "train/a.jsonl": b"".join(b'{"text": "document %d"}\n' % number for number in range(50)),
    "test/b.jsonl": b'{"text": "held out"}\n',
    "dataset_infos.json": b"{}",
    ".gitattributes": b"",
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving(FakeHub(repo="ada/notes", files=FILES)) as hub:
        yield hub


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(paths=Paths(base=tmp_path / "base", cache=tmp_path / "cache"))


def test_which_files_are_the_data() -> None:
    assert files_with_text(list(FILES), "") == ["train/a.jsonl", "test/b.jsonl"]
    assert files_with_text(list(FILES), "train") == ["train/a.jsonl"]
    assert files_with_text(list(FILES), "*/b*") == ["test/b.jsonl"]
    assert files_with_text(["a.parquet", "b.jsonl", "c.PARQUET.md"], "") == ["a.parquet"]


def test_a_data_set_of_the_hub(hub: FakeHub, context: RunContext) -> None:
    environ = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "hf_secret"}

    def get(place: str, **options: Any) -> Any:
        return import_texts(ImportConfig(**options), [place], context, lambda event: None, environ=environ)

    result = get("hf:ada/notes")
    assert (result.documents, result.files) == (51, 2)
    manifest = read_manifest(result.folder)
    assert manifest is not None
    assert manifest.made_by == "nanochat data import hf:ada/notes --name mine"
    assert "hf_secret" not in (result.folder / "manifest.json").read_text()
    fetched = hub.fetched
    assert get("hf:ada/notes").already
    assert get("hf:ada/notes/train*", name="train").documents == 50
    assert hub.fetched == fetched  # each file once


def test_what_the_hub_does_not_have(hub: FakeHub, context: RunContext) -> None:
    environ = {"HF_ENDPOINT": hub.address}
    for place, error in (("hf:ada/other", MissingError), ("hf:ada/notes/none*", MissingError), ("hf:ada", UsageError)):
        with pytest.raises(error):
            import_texts(ImportConfig(), [place], context, lambda event: None, environ=environ)
    with pytest.raises(MissingError, match="OFFLINE"):
        offline = {**environ, "HF_HUB_OFFLINE": "1"}
        import_texts(ImportConfig(), ["hf:ada/notes"], context, lambda event: None, environ=offline)
