"""`nanochat tokenizer encode`, `decode` and `show`: exact in a pipe, harmless on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nanochat.cli import main
from nanochat.commands.tokens import decode, encode, show
from nanochat.errors import ConversationError, MissingError, UsageError
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.render import render
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tokenizer.train import train_tokenizer

TEXTS = ["Hello world", " a  b\n\n", "é😀 日本語", "<|bos|>", "\x1b[31m\u202e\0\r\n"]


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("base")
    train_tokenizer(["Hello world and hello all the words of this world"] * 3, 280).save(base / "tokenizers" / "tiny")
    return base


@pytest.fixture(scope="module")
def tokenizer(base_dir: Path) -> Tokenizer:
    return Tokenizer.load(base_dir / "tokenizers" / "tiny")


def run(command: Any, base_dir: Path, *words: str, stdin: str | bytes = b"") -> Result:
    return CliRunner().invoke(command, ["--base-dir", str(base_dir), *words], input=stdin)


# encode and decode


@pytest.mark.parametrize("text", TEXTS)
def test_encode(base_dir: Path, tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert run(encode, base_dir, stdin=text.encode()).stdout == " ".join(map(str, ids)) + "\n"
    assert run(encode, base_dir, "-", stdin=text.encode()).stdout == " ".join(map(str, ids)) + "\n"
    if "\0" not in text:
        assert run(encode, base_dir, "--", text).stdout == " ".join(map(str, ids)) + "\n"


def test_encode_json(base_dir: Path, tokenizer: Tokenizer) -> None:
    shown = json.loads(run(encode, base_dir, "Hello é", "--json").stdout)
    assert shown["ids"] == tokenizer.encode("Hello é")
    assert "".join(shown["tokens"]) == "Hello <0xC3><0xA9>"
    assert len(shown["tokens"]) == len(shown["ids"])


def test_an_empty_text(base_dir: Path) -> None:
    assert run(encode, base_dir, "").stdout == "\n"
    assert json.loads(run(encode, base_dir, "--json").stdout) == {"ids": [], "tokens": []}
    assert run(decode, base_dir).stdout_bytes == b""


@pytest.mark.parametrize("stdin", [b"\xff", b"ok\xe2\x82", b"\xed\xa0\x80"])
def test_text_that_is_not_utf8_names_the_byte(base_dir: Path, stdin: bytes) -> None:
    error = run(encode, base_dir, stdin=stdin).exception
    assert isinstance(error, UsageError)
    position = 2 if stdin.startswith(b"ok") else 0
    assert error.message == f"standard input is not UTF-8: byte 0x{stdin[position]:02X} at position {position}"
    error = run(encode, base_dir, os.fsdecode(stdin)).exception
    assert isinstance(error, UsageError)
    assert error.message.startswith("TEXT is not UTF-8: byte 0x")


def test_half_a_pair_as_argument(base_dir: Path) -> None:
    assert isinstance(run(encode, base_dir, "\ud83d").exception, UsageError)


@pytest.mark.parametrize("text", TEXTS)
def test_decode_gives_back_every_byte(base_dir: Path, text: str) -> None:
    for flags in ((), ("--json",)):
        ids = run(encode, base_dir, *flags, stdin=text.encode()).stdout
        assert run(decode, base_dir, stdin=ids).stdout_bytes == text.encode()


@pytest.mark.parametrize(
    "words",
    [
        ("72", "105"),
        ("72,105",),
        (
            "[72,",
            "105]",
        ),
        ("72 105",),
    ],
)
def test_ids_in_many_spellings(base_dir: Path, words: tuple[str, ...]) -> None:
    assert run(decode, base_dir, *words).stdout == "Hi"
    assert run(decode, base_dir, stdin="\n".join(words)).stdout == "Hi"


def test_bytes_that_are_no_text(base_dir: Path, tokenizer: Tokenizer) -> None:
    assert run(decode, base_dir, "255", "0", "226").stdout_bytes == b"\xff\0\xe2"
    shown = json.loads(run(decode, base_dir, "255", str(tokenizer.bos), "--json").stdout)
    assert shown == {"ids": [255, tokenizer.bos], "tokens": ["<0xFF>", "<|bos|>"], "text": "\ufffd<|bos|>"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("72", "x"), "'x' is not a token id (number 2 of 2)"),
        (("1.5",), "'1.5' is not a token id"),
        (("٣",), "is not a token id"),
        (("\x1b[31m",), r"'\x1b' is not a token id"),
        (("9" * 50,), "is not a token id"),
        (("1", "2", "280"), "token id 280 (number 3 of 3) is not in the vocabulary (0 to 279)"),
        (('{"ids": [1, "a"]}',), "number 2 of 2"),
        (('{"ids": [1, -1]}',), "'-1' is not a token id"),
        (('{"tokens": []}',), "no list of ids"),
        (("{",), "no list of ids"),
    ],
)
def test_wrong_ids_are_named(base_dir: Path, words: tuple[str, ...], says: str) -> None:
    for error in (
        run(decode, base_dir, *words).exception,
        run(decode, base_dir, stdin=" ".join(words)).exception,
    ):
        assert isinstance(error, UsageError)
        assert says in error.message


# show


def test_show_in_a_pipe_is_a_line_for_each_token(base_dir: Path, tokenizer: Tokenizer) -> None:
    result = run(show, base_dir, "Hello\n\x1b")
    ids = tokenizer.encode("Hello\n\x1b")
    lines = result.stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == ids
    assert lines[-1].endswith(r"|\x1b|")
    assert "\x1b" not in result.stdout
    assert result.stderr == f"{len(ids)} tokens, 7 bytes, {7 / len(ids):.2f} bytes a token (tiny)\n"


def test_show_json(base_dir: Path, tokenizer: Tokenizer) -> None:
    result = run(show, base_dir, "--json", stdin="a\u202e\x9b".encode())
    assert json.loads(result.stdout)["ids"] == tokenizer.encode("a\u202e\x9b")
    assert run(show, base_dir, "--json", stdin="").stdout == run(encode, base_dir, "--json", stdin="").stdout


CONVERSATION = {
    "messages": [
        {"role": "user", "content": "Hi <|bos|>"},
        {"role": "assistant", "content": [{"type": "python", "text": "1"}, {"type": "python_output", "text": "2"}]},
    ]
}


@pytest.fixture
def conversation(tmp_path: Path) -> Path:
    file = tmp_path / "conversation.json"
    file.write_text(json.dumps(CONVERSATION))
    return file


def test_show_a_conversation(base_dir: Path, tokenizer: Tokenizer, conversation: Path) -> None:
    ids, mask = render(tokenizer, Conversation.from_dict(CONVERSATION))
    result = run(show, base_dir, "--conversation", str(conversation))
    lines = result.stdout.splitlines()
    assert [int(line[2:].split()[0]) for line in lines] == ids
    assert [int(line.startswith("+ ")) for line in lines] == mask
    assert f"{len(ids)} tokens, {sum(mask)} trained" in result.stderr
    assert "+ trained" in result.stderr
    shown = json.loads(run(show, base_dir, "--conversation", str(conversation), "--json").stdout)
    assert (shown["ids"], shown["mask"]) == (ids, mask)
    assert shown["tokens"][0] == "<|bos|>"


def test_a_conversation_from_stdin_may_be_a_bare_list(base_dir: Path, conversation: Path) -> None:
    listed = json.dumps(CONVERSATION["messages"])
    of_file = run(show, base_dir, "--conversation", str(conversation)).stdout
    assert run(show, base_dir, "--conversation", "-", stdin=listed).stdout == of_file


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (b"{x", UsageError, "line 1 column 2"),
        (b"\xff", UsageError, "is not UTF-8: byte 0xFF"),
        (b"[" * 100_000, UsageError, "nested too deeply"),
        (b"7", ConversationError, "a list of messages"),
        (b'{"messages": [{"role": "assistant", "content": ""}]}', ConversationError, "where user must speak"),
    ],
)
def test_files_that_are_no_conversation(
    base_dir: Path, conversation: Path, content: bytes, kind: type[Exception], says: str
) -> None:
    conversation.write_bytes(content)
    error = run(show, base_dir, "--conversation", str(conversation)).exception
    assert isinstance(error, kind)
    assert says in str(error)


def test_exit_codes(base_dir: Path, conversation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--base-dir", str(base_dir))
    assert main(["tokenizer", "show", "Hi", "--conversation", str(conversation), *where]) == 2
    assert main(["tokenizer", "show", "--conversation", str(conversation.with_name("none")), *where]) == 3
    assert main(["tokenizer", "show", "--conversation", str(conversation.parent), *where]) == 1
    assert main(["tokenizer", "encode", "Hi", "-t", "tin", *where]) == 3
    assert main(["tokenizer", "encode", "Hi", "-t", "a:b:c", *where]) == 2
    assert main(["tokenizer", "decode", "999", *where]) == 2
    assert main(["tokenizer", "encode", "Hi", "--base-dir", str(conversation.parent / "none")]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"] * 7


def test_missing_names_are_suggested(base_dir: Path) -> None:
    error = run(encode, base_dir, "Hi", "--tokenizer", "tinny").exception
    assert isinstance(error, MissingError)
    assert "did you mean tiny" in error.message


# on a terminal


def on_terminal(*words: str, **environ: str) -> str:
    """What a command prints on a terminal of its own, 80 columns wide."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nanochat", "tokenizer", *words],
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "NO_COLOR": "", **environ},
    )
    os.close(slave)
    seen = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not block:
            break
        seen += block
    os.close(master)
    assert process.wait() == 0
    return seen.decode().replace("\r\n", "\n")


# Colour, underline and reset only.
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def test_show_on_a_terminal(base_dir: Path, tokenizer: Tokenizer) -> None:
    where = ("--base-dir", str(base_dir))
    nasty = "Hello world\x1b[2J\x1b]0;title\x07\u202e\x9b\n\U000e0001"
    seen = on_terminal("show", nasty, *where)
    assert STYLE.search(seen)
    plain = STYLE.sub("", seen)
    assert not {unicodedata.category(char) for char in plain.replace("\n", "")} & {"Cc", "Cf", "Cs", "Co", "Cn"}
    assert [int(word) for line in plain.split("\n")[1::3] for word in line.split()] == tokenizer.encode(nasty)
    without = on_terminal("show", nasty, *where, NO_COLOR="1")
    assert "\x1b" not in without
    assert [int(line.split()[0]) for line in without.splitlines()] == tokenizer.encode(nasty)
    assert "\x1b" not in on_terminal("show", nasty, *where, TERM="dumb")


def test_a_conversation_on_a_terminal_has_a_legend(base_dir: Path, conversation: Path) -> None:
    seen = on_terminal("show", "--conversation", str(conversation), "--base-dir", str(base_dir))
    assert STYLE.sub("", seen).splitlines()[-1] == "trained  given  special"


def test_decode_on_a_terminal_keeps_lines_and_shows_escapes(base_dir: Path) -> None:
    assert (
        on_terminal("decode", "27", "91", "10", "72", "255", "10", "--base-dir", str(base_dir)) == "\\x1b[\nH<0xFF>\n"
    )


def test_json_on_a_terminal_holds_no_control_characters(base_dir: Path, tokenizer: Tokenizer) -> None:
    nasty = "\x1b\x7f\x9b\u202e\ufeff\U000e0041é"
    seen = on_terminal("decode", *map(str, tokenizer.encode(nasty)), "--json", "--base-dir", str(base_dir))
    assert json.loads(seen)["text"] == nasty
    assert not {unicodedata.category(char) for char in seen.replace("\n", "")} & {"Cc", "Cf", "Cs", "Co", "Cn"}
    assert "é" in seen


def test_a_terminal_that_knows_only_ascii(base_dir: Path, tmp_path: Path) -> None:
    where = ("--base-dir", str(base_dir))
    e_acute = train_tokenizer(["é"] * 9, 266)
    e_acute.save(tmp_path)
    for no_color in ("1", ""):
        seen = on_terminal("show", "é", "-t", str(tmp_path), PYTHONIOENCODING="ascii", NO_COLOR=no_color)
        assert seen.isascii()
        assert "\\xe9" in seen
    assert on_terminal("decode", "195", "169", *where, PYTHONIOENCODING="ascii") == "\\xe9\n"


@pytest.mark.parametrize("name", ["encode", "decode", "show", "eval", "export"])
def test_these_commands_load_no_torch(base_dir: Path, tmp_path: Path, name: str) -> None:
    words = {
        "encode": ["Hi"],
        "decode": ["72"],
        "show": ["Hi"],
        "eval": ["--max-chars", "1"],
        "export": ["--format", "hf", "--output", str(tmp_path)],
    }[name]
    code = f"""
import sys
from nanochat.cli import main
assert main({["tokenizer", name, *words, "--base-dir", str(base_dir)]}) == 0
assert not {{"torch", "tokenizers", "transformers"}} & set(sys.modules)
"""
    # an address that refuses at once, so that nothing is downloaded
    environ = {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
