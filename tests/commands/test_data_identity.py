"""`nanochat data identity`: a file that can be trained on, and never half of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chat_server import KEY, Reply, Scripted, conversations, good, said
from click.testing import CliRunner, Result

from nanochat.cli import main
from nanochat.commands.data_identity import identity
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.openai import ServerError
from nanochat.tasks.files import ConversationFile


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NANOCHAT_") and name != "NANOCHAT_TEST_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def run(*words: Any, stdin: str | None = None) -> Result:
    return CliRunner().invoke(identity, list(map(str, words)), input=stdin)


def names() -> list[str]:
    return [path.name for path in Path().iterdir()]


def test_the_file_is_the_same_for_the_same_words() -> None:
    assert run("--name", "Ada", "-n", 50).stdout == "identity.jsonl\n"
    text = Path("identity.jsonl").read_bytes()
    file = ConversationFile(Path("identity.jsonl"))
    assert (len(file), len(set(file))) == (50, 50)
    again = run("--name", "Ada", "-n", 50, "--json")
    assert json.loads(again.stdout) == {
        "file": "identity.jsonl",
        "conversations": 50,
        "different": 50,
        "accepted": 0,
        "rejected": {},
        "requests": 0,
        "gave_up": "",
    }
    assert Path("identity.jsonl").read_bytes() == text
    assert run("--name", "Ada", "-n", 50, "-o", "-").stdout.encode() == text
    assert names() == ["identity.jsonl"]


def test_another_file_is_not_replaced_unasked() -> None:
    Path("identity.jsonl").write_text("mine")
    refused = run("--name", "Ada", "-n", 5)
    assert isinstance(refused.exception, UsageError)
    assert Path("identity.jsonl").read_text() == "mine"
    assert run("--name", "Ada", "-n", 5, "--yes").exit_code == 0
    assert len(ConversationFile(Path("identity.jsonl"))) == 5


def test_facts_and_maker() -> None:
    Path("facts.txt").write_text("favourite colour: green\nI like tea\n")
    assert run("--name", "Ada", "--maker", "Bo", "--facts", "facts.txt", "-n", 300).exit_code == 0
    text = Path("identity.jsonl").read_text()
    for said_of_it in ("My favourite colour is green.", "I like tea.", "trained by Bo"):
        assert said_of_it in text


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ((), UsageError),
        (("--name", ""), UsageError),
        (("--name", "a\x1bb"), UsageError),
        (("--name", "x" * 61), UsageError),
        (("--name", "Ada", "--maker", " Bo"), UsageError),
        (("--name", "Ada", "-n", "0"), UsageError),
        (("--name", "Ada", "--timeout", "0"), UsageError),
        (("--name", "Ada", "--url", "localhost:8080"), UsageError),
        (("--name", "Ada", "--facts", "none.txt"), MissingError),
        (("--name", "Ada", "-o", "-", "--json"), UsageError),
    ],
)
def test_wrong_requests(words: tuple[str, ...], kind: type) -> None:
    assert isinstance(run(*words).exception, kind)
    assert names() == []


def test_a_folder_is_not_asked_about() -> None:
    Path("there").mkdir()
    refused = run("--name", "Ada", "-n", 5, "-o", "there", "--yes")
    assert refused.exit_code == 2
    assert "is a directory" in refused.stderr


def test_a_server_gives_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")

    def reply(number: int) -> Reply:
        return good(number) if number else said(json.dumps([*conversations(9), *conversations(8, 2, "Bo"), 3]))

    with Scripted(reply).running() as scripted:
        result = run("--name", "Ada", "-n", 40, "--url", scripted.url, "--json")
    assert result.exit_code == 0, result.exception
    told = json.loads(result.stdout)
    assert (told["conversations"], told["different"], told["accepted"], told["gave_up"]) == (40, 40, 20, "")
    assert told["rejected"] == {"does not say the name": 2, "no conversation": 1}
    assert "accepted 20, rejected 3 (does not say the name 2, no conversation 1)" in result.stderr
    assert scripted.requests[0]["key"] == f"Bearer {KEY}"
    assert (scripted.requests[0]["model"]) == "first-model"
    assert KEY not in result.output + Path("identity.jsonl").read_text()
    texts = [str(conversation) for conversation in ConversationFile(Path("identity.jsonl"))]
    assert sum("Who, " in text for text in texts) == 20
    assert "Who, " in "".join(texts[:20])
    assert "Who, " in "".join(texts[20:])


def test_a_server_that_gives_up_is_made_up_for() -> None:
    with Scripted(lambda number: good(number) if not number else said("no")).running() as scripted:
        result = run("--name", "Ada", "-n", 40, "--url", scripted.url)
    assert result.exit_code == 0
    assert "accepted 10, rejected 3 (not JSON 3)" in result.stderr
    assert "stopped asking: 3 answers in a row had nothing usable; templates fill the rest" in result.stderr
    assert len(ConversationFile(Path("identity.jsonl"))) == 40


def test_no_server_is_asked_for_a_file_that_must_stay() -> None:
    Path("identity.jsonl").write_text("mine")
    with Scripted(good).running() as scripted:
        assert isinstance(run("--name", "Ada", "--url", scripted.url).exception, UsageError)
        assert scripted.requests == []
        assert run("--name", "Ada", "-n", 10, "--url", scripted.url, "--yes").exit_code == 0
    assert len(ConversationFile(Path("identity.jsonl"))) == 10


@pytest.mark.parametrize("reply", [said("no"), Reply(KEY.encode(), 401)])
def test_a_server_of_no_use_leaves_no_file(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Scripted(lambda number: reply).running() as scripted:
        result = run("--name", "Ada", "-n", 40, "--url", scripted.url)
    assert isinstance(result.exception, ServerError)
    assert KEY not in str(vars(result.exception)) + result.output
    assert names() == []


def test_nothing_is_listening(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "identity", "--name", "Ada", "--url", "http://127.0.0.1:9", "--url-model", "m"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith("error: nothing answers at http://127.0.0.1:9/v1")
    assert lines[-1] == "hint: start the server, or leave out --url"
    assert names() == []


def test_templates_need_no_heavy_library() -> None:
    code = (
        "import sys\nfrom nanochat.cli import main\n"
        "assert main(['data', 'identity', '--name', 'Ada', '-n', '20']) == 0\n"
        "assert not {'torch', 'httpx2', 'pyarrow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
