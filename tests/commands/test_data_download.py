"""`nanochat data download` against a stand-in for the hub: what is fetched, kept, refused, and said."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import misbehaving as bad
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from misbehaving import COMMIT, Hub, Server

from nanochat.cli import main
from nanochat.config.download import DownloadConfig
from nanochat.console.tracker import StageTracker
from nanochat.data.dataset import DataSet, count_documents
from nanochat.data.manifest import read_manifest
from nanochat.data.shards import count_rows
from nanochat.runtime.context import RunContext
from nanochat.runtime.hub import hub_from_environment
from nanochat.runtime.paths import resolve_paths
from nanochat.stages.download import download
from nanochat.stages.download_plan import plan_download

CLIMBMIX = "karpathy/climbmix-400b-shuffle"
LAST = "shard_06542.parquet"
KILLS = int(os.environ.get("NANOCHAT_SOAK_KILLS", "10"))


def parquet(seed: int, documents: int = 300, column: str = "text") -> bytes:
    texts = [random.Random(f"{seed} {i}").randbytes(20).hex() for i in range(documents)]
    file = io.BytesIO()
    pq.write_table(pa.table({column: texts, "id": range(documents)}), file, row_group_size=100)
    return file.getvalue()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub with twelve training shards of climbmix, each of some 20 kB."""
    with Server() as server:
        hub = Hub(server)
        for number in (*range(12), 6542):
            hub.put(CLIMBMIX, f"shard_{number:05d}.parquet", parquet(number))
        for name, value in {
            "HF_ENDPOINT": server.base,
            "HF_TOKEN": "secret",
            "HF_HUB_OFFLINE": "",
            "NANOCHAT_BASE_DIR": str(tmp_path / "base"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("nanochat.runtime.hub.BACKOFF_S", 0.001)
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "base" / "data" / "climbmix"


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "manifest.json")


def names(*numbers: int) -> list[str]:
    return [f"shard_{number:05d}.parquet" for number in numbers]


def where(name: str, repo: str = CLIMBMIX) -> str:
    return f"/datasets/{repo}/resolve/{COMMIT}/{name}"


# what comes


def test_shards_and_always_the_one_for_validation(hub: Hub, folder: Path, capsys: Any) -> None:
    assert main(["data", "download", "-n", "3"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{folder}\n"
    assert "4, 1 of them for validation" in said.err
    assert "3 shards" not in said.err
    assert shards(folder) == [*names(0, 1, 2), LAST]
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.made_by == "nanochat data download --source climbmix -n 3"
    assert manifest.validation == LAST
    assert manifest.origin == {"repo": CLIMBMIX, "revision": COMMIT}
    for name, entry in manifest.files.items():
        data = hub.server.files[where(name)]
        assert (folder / name).read_bytes() == data
        assert entry.sha256 == hashlib.sha256(data).hexdigest()
        assert (entry.size_bytes, entry.documents) == (len(data), 300)
        assert entry.url == hub.server.url(where(name))
        assert entry.split == ("val" if name == LAST else "train")
    dataset = DataSet.open(folder)
    assert dataset.validation.name == LAST
    assert len(dataset.train) == 3


def test_more_shards_join_those_that_are_there(hub: Hub, folder: Path, capsys: Any) -> None:
    assert main(["data", "download", "-n", "2"]) == 0
    hub.server.seen.clear()
    assert main(["data", "download", "-n", "4-5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["fetched"] == 2
    assert shards(folder) == [*names(0, 1, 4, 5), LAST]
    gets = {seen.path.rpartition("/")[2] for seen in hub.server.seen if seen.path.startswith("/datasets")}
    assert gets == set(names(4, 5))
    manifest = read_manifest(folder)
    assert manifest is not None
    assert len(manifest.files) == 5


def test_what_is_there_needs_no_network(hub: Hub, folder: Path, capsys: Any) -> None:
    assert main(["data", "download", "-n", "2"]) == 0
    hub.server.seen.clear()
    assert main(["data", "download", "-n", "1"]) == 0
    assert main(["data", "download", "-n", "2"]) == 0
    assert hub.server.seen == []
    assert "all there" in capsys.readouterr().err
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.made_by.endswith("-n 2")  # the smaller order would not make what is there


def test_bytes_that_were_there_are_no_speed(hub: Hub, folder: Path, capsys: Any) -> None:
    assert main(["data", "download", "-n", "3"]) == 0
    (folder / "shard_00001.parquet").unlink()
    plan = plan_download(
        DownloadConfig(shards="3"), RunContext(paths=resolve_paths(None, os.environ)), hub_from_environment(os.environ)
    )
    events: list[Any] = []
    download(plan, DownloadConfig(), hub_from_environment(os.environ), events.append)
    (size,) = {len(hub.server.files[where("shard_00001.parquet")])}
    assert events[0].resumed_from == events[1].done == plan.total_bytes - size
    assert events[-2].done == events[-2].total == plan.total_bytes
    tracker = StageTracker.start(events[0], 0.0)
    tracker.on_progress(events[1], 1.0)
    assert tracker.pace.rate is None
    tracker.on_progress(events[-2], 2.0)
    assert tracker.pace.rate == pytest.approx(size / 2, rel=0.01)


def test_a_lost_or_cut_shard_comes_again(hub: Hub, folder: Path) -> None:
    assert main(["data", "download", "-n", "3"]) == 0
    (folder / "shard_00001.parquet").unlink()
    (folder / "shard_00002.parquet").write_bytes(b"PAR1")
    hub.server.seen.clear()
    assert main(["data", "download", "-n", "3"]) == 0
    assert [hub.server.count(where(name)) for name in names(0, 1, 2)] == [0, 1, 1]


def test_another_name_and_source(hub: Hub, folder: Path) -> None:
    for number in (0, 1822):
        hub.put("karpathy/fineweb-edu-100b-shuffle", f"shard_{number:05d}.parquet", parquet(number))
    assert main(["data", "download", "--source", "fineweb-edu", "--name", "web", "-n", "1"]) == 0
    manifest = read_manifest(folder.with_name("web"))
    assert manifest is not None
    assert manifest.made_by == "nanochat data download --source fineweb-edu -n 1 --name web"
    assert manifest.validation == "shard_01822.parquet"


def test_the_plan_alone(hub: Hub, folder: Path, capsys: Any) -> None:
    assert main(["data", "download", "-n", "3", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"{CLIMBMIX} at {COMMIT[:12]}" in said.out
    assert main(["data", "download", "-n", "3", "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    sizes = [len(hub.server.files[where(name)]) for name in [*names(0, 1, 2), LAST]]
    assert plan["fetch_bytes"] == plan["total_bytes"] == sum(sizes)
    assert [file["size_bytes"] for file in plan["files"]] == sizes
    assert not folder.exists()


def test_as_many_as_a_model_needs(hub: Hub, capsys: Any) -> None:
    """d4 trains on 12 * (4 blocks of 12 * 256^2 and a lm_head of 32,768 * 256) tokens: 0.67e9 characters, 3 shards."""
    assert main(["data", "download", "--for", "d4", "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 3 + 1


# any data set


def test_parquet_with_text_is_a_data_set(hub: Hub, tmp_path: Path) -> None:
    for number in range(4):
        hub.put("me/web", f"data/train-{number:05d}-of-00004.parquet", parquet(number))
    hub.put("me/web", "data/test-00000-of-00001.parquet", parquet(9))
    hub.put("me/web", "README.md", b"# web")
    assert main(["data", "download", "--source", "me/web", "-n", "2"]) == 0
    folder = tmp_path / "base" / "data" / "web"
    assert shards(folder) == names(0, 1, 3)
    dataset = DataSet.open(folder)
    assert dataset.validation.read_bytes() == hub.server.files[where("data/train-00003-of-00004.parquet", "me/web")]
    hub.server.seen.clear()
    assert main(["data", "download", "--source", "me/web", "-n", "9"]) == 2


@pytest.mark.parametrize("options", [[], ["--column", "story"]])
def test_other_files_are_imported(options: list[str], hub: Hub, tmp_path: Path, capsys: Any) -> None:
    for number in range(2):
        hub.put("me/stories", f"train-{number}.parquet", parquet(number, column="story"))
    command = ["data", "download", "--source", "me/stories", *options]
    assert main(command) == 0
    folder = tmp_path / "base" / "data" / "stories"
    assert capsys.readouterr().out.splitlines() == [str(folder)]
    (fetched,) = (tmp_path / "base" / "cache" / "downloads" / "stories").iterdir()
    assert sorted(path.name for path in fetched.glob("*.parquet")) == ["train-0.parquet", "train-1.parquet"]
    dataset = DataSet.open(folder)
    assert count_rows(dataset.validation) >= 1
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.made_by == shlex.join(["nanochat", *command])
    before = folder.stat().st_mtime_ns
    assert main(command) == 0  # and at once
    assert folder.stat().st_mtime_ns == before


def test_addresses(hub: Hub, tmp_path: Path, capsys: Any) -> None:
    text = "".join(f"line {number}\n" for number in range(5_000))
    hub.server.put("/x/notes.txt.gz", gzip.compress(text.encode()))
    assert main(["data", "download", hub.server.url("/x/notes.txt.gz?key=1"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (path,) = answer["files"]
    assert gzip.decompress(Path(path).read_bytes()).decode() == text
    assert Path(path).name == "notes.txt.gz"
    assert Path(answer["folder"]) == tmp_path / "base" / "data" / "notes"
    assert count_documents(DataSet.open(Path(answer["folder"]))) > 1


def test_what_has_no_text_is_kept_and_said(hub: Hub, tmp_path: Path, capsys: Any) -> None:
    hub.server.put("/x/notes.txt", b"abc")
    assert main(["data", "download", hub.server.url("/x/notes.txt")]) == 2
    (fetched,) = (tmp_path / "base" / "cache" / "downloads" / "notes").iterdir()
    said = capsys.readouterr().err
    assert "a data set needs two" in said
    assert "--documents paragraph" in said
    assert f"nanochat data import {fetched} --name notes" in said
    assert (fetched / "notes.txt").read_bytes() == b"abc"


def test_an_address_does_not_lead_out_of_the_folder(hub: Hub, tmp_path: Path, capsys: Any) -> None:
    text = b"a line\n" * 5_000
    hub.server.put("/x/../../../evil.txt", text)
    hub.server.put("/..", text)
    assert main(["data", "download", hub.server.url("/x/..%2f..%2f..%2fevil.txt"), "--name", "mine"]) == 0
    main(["data", "download", hub.server.url("/%2e%2e"), "--name", "other"])
    folder = tmp_path / "base" / "cache" / "downloads"
    assert {path.relative_to(folder).parts[0::2] for path in folder.glob("*/*/*")} == {
        ("mine", "evil.txt"),
        ("other", "file"),
    }


def test_a_file_of_the_same_name_from_elsewhere_is_another(hub: Hub, tmp_path: Path) -> None:
    for place in ("one", "two"):
        hub.server.put(f"/{place}/notes.txt", f"{place} line\n".encode() * 5_000)
        assert main(["data", "download", hub.server.url(f"/{place}/notes.txt"), "--name", place]) == 0
    hub.server.put("/six/one.txt", b"six line\n" * 5_000)  # as large as the one in the cache under this name
    assert main(["data", "download", hub.server.url("/six/one.txt")]) == 2
    fetched = (tmp_path / "base" / "cache" / "downloads" / "one").glob("*/*.txt")
    assert {path.read_bytes()[:3] for path in fetched} == {b"one", b"six"}


def test_other_addresses_under_the_same_name(hub: Hub, tmp_path: Path, capsys: Any) -> None:
    urls = []
    for number in range(3):
        hub.server.put(f"/x/part{number}.parquet", parquet(number))
        urls.append(hub.server.url(f"/x/part{number}.parquet"))
    assert main(["data", "download", *urls, "--name", "mine"]) == 0
    assert main(["data", "download", *urls[:2], "--name", "mine"]) == 2
    assert "holds another data set" in capsys.readouterr().err


def test_a_server_that_hesitates_does_not_change_what_becomes_of_shards(hub: Hub, tmp_path: Path) -> None:
    urls = []
    for number in range(2):
        hub.server.put(f"/x/part{number}.parquet", parquet(number))
        urls.append(hub.server.url(f"/x/part{number}.parquet"))
    hub.server.script("/x/part0.parquet", bad.status(503, retry_after=0), bad.broken_off)
    assert main(["data", "download", *urls, "--name", "mine"]) == 0
    assert shards(tmp_path / "base" / "data" / "mine") == names(0, 1)
    manifest = read_manifest(tmp_path / "base" / "data" / "mine")
    assert manifest is not None
    assert "addresses" in manifest.origin


def test_a_complete_data_set_may_be_read_only(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["data", "download", "-n", "2"]) == 0

    def refuse(*args: Any) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("nanochat.runtime.lease._create", refuse)
    assert main(["data", "download", "-n", "2"]) == 0
    assert main(["data", "download", "-n", "3"]) == 1


def test_addresses_of_shards(hub: Hub, tmp_path: Path) -> None:
    urls = []
    for number in range(3):
        hub.server.put(f"/x/part{number}.parquet", parquet(number))
        urls.append(hub.server.url(f"/x/part{number}.parquet"))
    assert main(["data", "download", *urls, "--name", "mine"]) == 0
    folder = tmp_path / "base" / "data" / "mine"
    assert shards(folder) == names(0, 1, 2)
    assert DataSet.open(folder).validation.name == "shard_00002.parquet"
    hub.server.seen.clear()
    assert main(["data", "download", *urls, "--name", "mine"]) == 0
    assert hub.server.seen == []


# what goes wrong


@pytest.mark.parametrize(
    ("args", "code", "error", "hint"),
    [
        (["--source", "climbmax"], 2, "'climbmax' is no known source", "choose climbmix"),
        (["--source", "me/none"], 3, "there is no data set me/none", "HF_TOKEN"),
        (["-n", "6543"], 2, "climbmix has the training shards 0 to 6,541, not 0 to 6,542", "-n"),
        (["-n", "20-30"], 3, "has no shard_00020.parquet", "fewer"),
        (["-n", "0"], 2, "found '0'", "--help"),
        (["-n", "5-2"], 2, "found '5-2'", "--help"),
        (["-n", "many"], 2, "found 'many'", "--help"),
        (["-n", "8", "--for", "d20"], 2, "both say how many", "leave one"),
        (["--for", "twenty"], 2, "is no depth", "d20"),
        (["--workers", "0"], 2, "must be at least 1", "--workers 8"),
        (["--name", "../x"], 2, "cannot be the name", "letters"),
        (["ftp://x/y"], 2, "is no address", "http"),
        (["http://[x/y"], 2, "is no address", "http"),
        (["--source", "me/x", "--for", "d4"], 2, "--for counts shards of climbmix", "-n"),
        (["http://x/y", "http://x/y"], 2, "given twice", "once"),
        (["http://x/y", "-n", "3"], 2, "not addresses", "leave them out"),
    ],
)
def test_wrong_requests(args: list[str], code: int, error: str, hint: str, hub: Hub, folder: Path, capsys: Any) -> None:
    assert main(["data", "download", *args]) == code
    said = capsys.readouterr().err.splitlines()
    assert error in said[-2]
    assert hint in said[-1]
    assert not folder.exists()


def test_another_data_set_of_this_name(hub: Hub, folder: Path, capsys: Any) -> None:
    assert main(["data", "pocket", "--name", "climbmix", "--size", "1000"]) == 0
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(["data", "download", "-n", "1"]) == 2
    assert "made by: nanochat data pocket" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_what_is_missing_at_the_end_is_listed(hub: Hub, folder: Path, capsys: Any) -> None:
    hub.server.script(where("shard_00001.parquet"), bad.status(404))
    assert main(["data", "download", "-n", "3"]) == 1
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error.startswith("error: 1 of 4 files are missing: shard_00001.parquet (http")
    assert hint == "hint: check the address: there is no such file"
    assert shards(folder) == [*names(0, 2), LAST]
    assert len(DataSet.open(folder).train) == 2
    assert main(["data", "download", "-n", "3"]) == 0
    assert len(DataSet.open(folder).train) == 3


@pytest.mark.parametrize("data", [b"<html>", b"PAR1" + b"\0" * 5000 + b"PAR1", parquet(0, column="other")])
def test_what_is_no_shard_is_refused(data: bytes, hub: Hub, folder: Path, capsys: Any) -> None:
    hub.server.put(where("shard_00000.parquet"), data)
    assert main(["data", "download", "-n", "1"]) == 1
    assert "shard_00000.parquet is no shard" in capsys.readouterr().err
    assert shards(folder) == [LAST]


def test_a_disk_that_is_too_small(hub: Hub, folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanochat.stages.download_plan._free_bytes", lambda folder: 100_010_000)
    assert main(["data", "download", "-n", "3"]) == 1
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert "still to come" in error
    assert "--base-dir" in hint
    assert not folder.exists()


def test_a_hub_that_is_down_for_a_moment(hub: Hub, folder: Path) -> None:
    hub.server.script(f"/api/datasets/{CLIMBMIX}", bad.status(503), bad.broken_off, bad.status(429))
    assert main(["data", "download", "-n", "1"]) == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (bad.status(500), "answers 500"),
        (bad.status(403), "answers 403"),
        (bad.web_page, "does not answer as a hub does"),
        (lambda handler, data: handler.plain(200, b"[1]"), "does not answer as a hub does"),
    ],
)
def test_a_hub_that_is_none(fault: bad.Fault, said: str, hub: Hub, folder: Path, capsys: Any) -> None:
    hub.server.script(f"/api/datasets/{CLIMBMIX}", *bad.always(fault))
    assert main(["data", "download", "-n", "1"]) == 1
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert said in error
    assert hint.startswith("hint: ")


def test_no_hub_at_all(hub: Hub, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(["data", "download", "-n", "1"]) == 1
    assert "no answer from http://127.0.0.1:9" in capsys.readouterr().err
    monkeypatch.setenv("HF_ENDPOINT", "example")
    assert main(["data", "download", "-n", "1"]) == 2


# token and network


def test_the_token_goes_to_the_hub_only(hub: Hub, capsys: Any) -> None:
    with Server() as far:
        for name in (*names(0), LAST):
            far.put(f"/{name}", hub.server.files[where(name)])
            hub.server.script(where(name), bad.redirect(far.url(f"/{name}")))
        assert main(["data", "download", "-n", "1"]) == 0
        assert all(seen.headers["authorization"] == "Bearer secret" for seen in hub.server.seen)
        assert len(far.seen) == 2
        assert all("authorization" not in seen.headers for seen in far.seen)
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err


def test_a_token_does_not_follow_the_hubs_own_questions(hub: Hub) -> None:
    with Server() as far:
        api = f"/api/datasets/{CLIMBMIX}"
        far.script(api, lambda handler, data: handler.plain(200, json.dumps({"id": "x", "sha": COMMIT}).encode()))
        hub.server.script(api, bad.redirect(far.url(api), 307))
        main(["data", "download", "-n", "1"])
        assert far.seen
        assert all("authorization" not in seen.headers for seen in far.seen)


NO_SOCKETS = """
import sys
def hook(event, args):
    if event.startswith("socket."):
        print("SOCKET", event, args, flush=True)
sys.addaudithook(hook)
from nanochat.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_offline_opens_no_socket(hub: Hub, folder: Path) -> None:
    assert main(["data", "download", "-n", "2"]) == 0
    environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", NO_SOCKETS, "data", "download"]

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *args], env=environ, capture_output=True, text=True)

    found = run("-n", "2")
    assert (found.returncode, found.stdout) == (0, f"{folder}\n")
    assert "shard_00002.parquet would have to be downloaded" in run("-n", "3").stderr
    for args in (["-n", "3", "--name", "y"], ["--source", "me/x"], [hub.server.url("/a.txt")]):
        missing = run(*args)
        assert (missing.returncode, missing.stdout) == (3, "")
        assert "HF_HUB_OFFLINE" in missing.stderr


# several processes, and processes that are killed

NO_LOCKS = """
import fcntl, sys
fcntl.flock = fcntl.lockf = lambda *args: None
from nanochat.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_two_processes_fetch_each_shard_once(hub: Hub, folder: Path) -> None:
    """On a file system where locks say yes to everybody."""
    hub.server.bytes_per_s = 60_000
    command = [sys.executable, "-c", NO_LOCKS, "data", "download", "-n", "12"]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, b"error" in said) == (0, False), said
    wanted = [*names(*range(12)), LAST]
    assert [hub.server.count(where(name)) for name in wanted] == [1] * 13
    assert shards(folder) == wanted
    manifest = read_manifest(folder)
    assert manifest is not None
    assert sorted(manifest.files) == wanted


def test_a_signal_stops_it_and_the_next_goes_on(hub: Hub, folder: Path) -> None:
    hub.server.bytes_per_s = 5_000
    command = [sys.executable, "-m", "nanochat", "data", "download", "-n", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: sum(hub.server.sent.values()) > 3000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (75, "")
    assert err.splitlines()[-2:] == [
        "error: stopped after 0 of 3 files",
        "hint: run the same command again: it goes on where this one stopped",
    ]
    hub.server.bytes_per_s = None
    hub.server.seen.clear()
    assert main(["data", "download", "-n", "2"]) == 0
    assert all(hub.server.requests(where(name))[0].start > 500 for name in (*names(0, 1), LAST))


def test_kill_nine_at_any_moment(hub: Hub, folder: Path) -> None:
    """Ten times here, a hundred in scripts/soak-downloads."""
    seed = int(os.environ.get("NANOCHAT_SOAK_SEED", "0"))
    random_ = random.Random(seed)
    wanted = [*names(*range(4)), LAST]
    for seed_, name in enumerate(wanted):
        hub.put(CLIMBMIX, name, parquet(seed_, 8000))
    right = {name: hub.server.files[where(name)] for name in wanted}
    size = len(right[LAST])
    command = [sys.executable, "-m", "nanochat", "data", "download", "-n", "4", "--workers", "3"]
    had = kept = 0
    for _ in range(KILLS):
        before = {name: partial(folder, name) for name in wanted}
        hub.server.seen.clear()
        hub.server.sent.clear()
        # the whole would take as long as all kills together
        hub.server.bytes_per_s = size * 5 / 3 / (0.18 * KILLS)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if random_.random() < 0.8:  # else before the first byte
            wait_for(lambda: hub.server.sent)
        time.sleep(random_.uniform(0, 0.4))
        process.kill()
        process.wait()
        for name in wanted:
            if (folder / name).exists():
                assert (folder / name).read_bytes() == right[name]
            if asked := hub.server.requests(where(name)):
                had += before[name]
                kept += min(before[name], asked[0].start)
    hub.server.bytes_per_s = None
    assert main(["data", "download", "-n", "4"]) == 0
    assert {name: (folder / name).read_bytes() for name in wanted} == right
    assert shards(folder) == wanted
    assert had > 0
    print(f"{KILLS} kills, seed {seed}: {kept:,} of {had:,} bytes kept")
    assert kept >= 0.95 * had


def partial(folder: Path, name: str) -> int:
    path = folder / f".{name}.part"
    return path.stat().st_size if path.exists() else 0


def wait_for(condition: Any, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
