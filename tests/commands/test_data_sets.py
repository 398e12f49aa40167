"""`nanochat data list`, `show` and `verify` as their users meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.cli import main


@pytest.fixture
def base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    source = tmp_path / "a.jsonl"
    texts = [f"Note {number}\nwith \x1b[31mred\x1b[0m and {'many ' * 300}words" for number in range(40)]
    source.write_text("\n".join(json.dumps(text) for text in texts))
    assert main(["data", "import", str(source), "--base-dir", str(tmp_path / "base")]) == 0
    capsys.readouterr()
    return tmp_path / "base"


def ask(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_list(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ask(capsys, "data", "list", "--base-dir", base)
    header, line = out.splitlines()
    assert code == 0
    assert header.split() == ["NAME", "FROM", "DOCUMENTS", "TEXT", "SHARDS", "ON", "DISK"]
    assert line.split()[:5] == ["mine", "import", "40", "61.4", "kB"]
    (entry,) = json.loads(ask(capsys, "data", "list", "--base-dir", base, "--json")[1])
    assert (entry["name"], entry["documents"], entry["state"], len(entry["shards"])) == ("mine", 40, "ok", 2)
    (base / "data" / "mine" / "shard_00000.parquet").unlink()
    assert "mine*" in ask(capsys, "data", "list", "--base-dir", base)[1]


def test_no_data_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("data", "list"), ("data", "verify"), ("data", "show", "mine")):
        code, out, err = ask(capsys, *words, "--base-dir", tmp_path)
        assert (code, out) == (3, "")
        assert "hint: nanochat data import PATH" in err
    assert ask(capsys, "data", "list", "--base-dir", tmp_path, "--json")[:2] == (0, "[]\n")


def test_show(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ask(capsys, "data", "show", "mine", "--base-dir", base)
    assert code == 0
    for words in ("documents   40", "validation  shard_00001.parquet: 4 documents", "made by     nanochat data import"):
        assert words in out
    assert out.count("(1,") == 3  # three documents, with their lengths
    assert "\x1b" not in out
    assert "�[31mred" in out
    assert max(map(len, out.splitlines())) < 600
    other = ask(capsys, "data", "show", "mine", "--base-dir", base, "--seed", 1, "-n", 1)[1]
    assert other.count("(1,") == 1
    assert "many words" in ask(capsys, "data", "show", "mine", "--base-dir", base, "--full")[1]


def test_show_json(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = ask(capsys, "data", "show", "mine", "--base-dir", base, "--json", "-n", 2)
    report = json.loads(out)
    assert "\x1b" not in out
    assert report["data_set"]["documents"] == 40
    assert all("\x1b[31mred" in document["text"] for document in report["documents"])


def test_search(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ask(capsys, "data", "show", "mine", "--base-dir", base, "--search", "Note 17\n")
    assert code == 0
    assert out.startswith("shard_0000")
    assert "  Note 17\n" in out
    found = ask(capsys, "data", "show", "mine", "--base-dir", base, "--search", "red", "-n", 9, "--json")[1]
    assert len(json.loads(found)["documents"]) == 9
    code, out, err = ask(capsys, "data", "show", "mine", "--base-dir", base, "--search", "absent")
    assert (code, out, err) == (0, "", "no document has it\n")
    assert ask(capsys, "data", "show", "mine", "--base-dir", base, "--search", "")[0] == 2
    late = ask(capsys, "data", "show", "mine", "--base-dir", base, "--search", "words", "-n", 1)[1]
    assert "  …" in late
    assert "many words" in late


def test_verify(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(capsys, "data", "verify", "--base-dir", base)[:2] == (0, "mine: 2 files as written\n")
    path = base / "data" / "mine" / "shard_00001.parquet"
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    code, out, err = ask(capsys, "data", "verify", "mine", "--base-dir", base)
    assert code == 1
    assert "  shard_00001.parquet is not what was written" in out
    assert "  shard_00001.parquet row group 0: " in out
    assert err.endswith(f"hint: nanochat data import {base.parent / 'a.jsonl'} --name mine\n")
    code, out, _ = ask(capsys, "data", "verify", "mine", "--base-dir", base, "--json")
    assert code == 1
    assert json.loads(out)[0]["verified"]["damage"][0]["file"] == "shard_00001.parquet"


def test_adopt(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = base / "data" / "found"
    folder.mkdir()
    for number in range(2):
        pq.write_table(pa.table({"text": [f"text {number}"]}), folder / f"shard_{number:05}.parquet")
    out = ask(capsys, "data", "verify", "found", "--base-dir", base)[1]
    assert out == "found: 2 files readable (no manifest to compare with; --adopt writes one)\n"
    out = ask(capsys, "data", "verify", "found", "--base-dir", base, "--adopt")[1]
    assert out == "found: 2 files as written\n  manifest written\n"
    assert "adopted" in ask(capsys, "data", "list", "--base-dir", base)[1]


def test_names_and_commands_of_strangers_do_not_steer_the_terminal(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = base / "data" / "mine"
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["shard_\x1b[2Jx.parquet"] = manifest["files"]["shard_00000.parquet"]
    path.write_text(json.dumps({**manifest, "made_by": "nanochat \x1b[2Jdata"}))
    (folder / "shard_\x1b[2Jy.parquet").write_bytes(b"")
    _, out, err = ask(capsys, "data", "verify", "mine", "--base-dir", base)
    assert "  shard_�[2Jx.parquet is missing\n" in out
    assert "  shard_�[2Jy.parquet is not in the manifest" in out
    assert "hint: nanochat �[2Jdata\n" in err
    assert "shard_�[2Jx.parquet  missing" in ask(capsys, "data", "show", "mine", "--base-dir", base)[1]


def test_a_data_set_of_the_hub_is_listed_by_its_repository(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = base / "data" / "mine" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "origin": {"repo": "owner/name", "revision": "abc"}}))
    assert "owner/name" in ask(capsys, "data", "list", "--base-dir", base)[1]
