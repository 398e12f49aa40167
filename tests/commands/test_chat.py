"""`nanochat chat`: answers on stdout, everything else on stderr, and nothing that acts on the terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from doubles import ScriptedModel, script_of, tiny_config, tiny_tokenizer

from nanochat.commands import chat as module
from nanochat.commands.chat import chat, printable
from nanochat.config.chat import ChatConfig
from nanochat.engine.engine import Engine
from nanochat.engine.session import Session
from nanochat.errors import MissingError, NanochatError, UsageError
from nanochat.tokenizer.special import PYTHON_END, PYTHON_START

Run = Callable[..., Result]
TOKENIZER = tiny_tokenizer()


class Opened:
    """What the command asked for, and the model it got."""

    def __init__(self) -> None:
        self.model = ScriptedModel(b"Tokyo.")
        self.selector: str | None = None
        self.config = ChatConfig()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opened = Opened()

    def open_session(paths: Any, model: str | None, config: ChatConfig) -> Session:
        opened.selector, opened.config = model, config
        return Session(Engine(opened.model, TOKENIZER), config, config.system)

    @contextmanager
    def open_remote(paths: Any, model: str | None, config: ChatConfig) -> Iterator[tuple[Session, str]]:
        yield open_session(paths, model, config), "tiny:sft@7"

    monkeypatch.setattr(module, "_open_session", open_session)
    monkeypatch.setattr(module, "_open_remote", open_remote)
    return opened


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path))

    def invoke(*args: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(chat, list(args), input=stdin)

    return invoke


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the command believe in a person who types these lines; an exception is raised in place of a line."""

    def typing(*lines: str | type[BaseException]) -> None:
        waiting: Iterator[str | type[BaseException]] = iter(lines)

        def read_line() -> str:
            line = next(waiting, EOFError)
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr(module, "_read_line", read_line)
        monkeypatch.setattr(module, "_read_prompt", lambda prompt: None)

    return typing


def test_one_answer_on_stdout(run: Run, opened: Opened) -> None:
    result = run("tiny:sft", "-p", "What is the capital of Japan?", "--temperature", "0", "--system", "Be brief.")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Tokyo.\n", "")
    assert opened.selector == "tiny:sft"
    assert (opened.config.temperature, opened.config.system) == (0, "Be brief.")


@pytest.mark.parametrize("args", [[], ["-p", "-"]])
def test_the_prompt_may_come_from_a_pipe(run: Run, opened: Opened, args: list[str]) -> None:
    result = run(*args, stdin="What is\nthe capital? \udc80".encode("utf-8", "surrogateescape") + b"\n")
    assert (result.exit_code, result.stdout) == (0, "Tokyo.\n")
    prompt = bytes(token for token in opened.model.prompts[0] if token < 256)
    assert prompt.decode() == "What is\nthe capital? \ufffd"


@pytest.mark.parametrize("args", [[], ["-p", ""], ["-p", "-"], ["-p", " \n"]])
def test_an_empty_prompt_is_refused(run: Run, opened: Opened, args: list[str]) -> None:
    result = run(*args, stdin="")
    assert isinstance(result.exception, UsageError)
    assert "empty" in result.exception.message and "-p" in result.exception.hint


def test_control_characters_do_not_reach_the_terminal(run: Run, opened: Opened) -> None:
    hostile = "\x1b]0;title\x07\x1b[2Jhi\r\x9b31m\x7f\tthere\nénd"
    opened.model = ScriptedModel(hostile.encode())
    result = run("-p", "?")
    assert result.stdout == "]0;title[2Jhi31m\tthere\nénd\n"
    assert printable(hostile) + "\n" == result.stdout


def test_json_is_one_event_a_line(run: Run, opened: Opened) -> None:
    opened.model = ScriptedModel(script_of(TOKENIZER, "é\x1b", PYTHON_START, "2*3", PYTHON_END, "...", "6"))
    result = run("-p", "?", "--json")
    assert "\x1b" not in result.stdout
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["text", "text", "tool", "text", "finished"]
    assert (events[2]["expression"], events[2]["result"]) == ("2*3", "6")
    end = events[-1]
    assert end["text"] == "é\x1b6" and end["stop_reason"] == "stop" and end["tokens"] == 13
    assert {"tokens_per_s", "time_to_first_token_s"} <= set(end)


def test_a_tool_is_not_shown_where_no_one_looks(run: Run, opened: Opened) -> None:
    opened.model = ScriptedModel(script_of(TOKENIZER, PYTHON_START, "2*3", PYTHON_END, "...", "6"))
    result = run("-p", "?")
    assert (result.stdout, result.stderr) == ("6\n", "")


def test_a_conversation(run: Run, opened: Opened, terminal: Callable[..., None]) -> None:
    opened.model = ScriptedModel(b"one", scripts=[b"two\n", b"three"])
    terminal("Hi", "", "more", "/new", "again", "/nonsense", "/quit", "not read")
    result = run()
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\nthree\n")
    assert result.stderr.splitlines() == [
        "tiny:sft@7; /new starts over, /quit leaves",
        "a new conversation",
        "there is no /nonsense; /new starts over, /quit leaves",
    ]
    lengths = [len(prompt) for prompt in opened.model.prompts]
    assert lengths[1] > lengths[0] + 3 and lengths[2] < lengths[1]


def test_the_end_of_input_leaves_and_an_interrupt_at_the_prompt_does_not(
    run: Run, opened: Opened, terminal: Callable[..., None]
) -> None:
    terminal(KeyboardInterrupt, "Hi")
    result = run()
    assert (result.exit_code, result.stdout) == (0, "Tokyo.\n")


def test_an_interrupt_stops_the_answer_and_keeps_its_beginning(
    run: Run, opened: Opened, terminal: Callable[..., None]
) -> None:
    class Interrupting(ScriptedModel):
        def say(self, script: Sequence[int], place: int) -> int:
            if len(self.prompts) == 1 and place == 3:
                raise KeyboardInterrupt
            return super().say(script, place)

    opened.model = Interrupting(b"Hello", scripts=[b"Yes."])
    terminal("Hi", "go on?")
    result = run()
    assert (result.exit_code, result.stdout) == (0, "Hel\nYes.\n")
    assert "stopped" in result.stderr
    second = bytes(token for token in opened.model.prompts[1] if token < 256)
    assert second == b"HiHelgo on?"


def test_a_message_beyond_the_context_does_not_end_the_conversation(
    run: Run, opened: Opened, terminal: Callable[..., None]
) -> None:
    opened.model = ScriptedModel(b"ok", tiny_config(sequence_len=32))
    terminal("x" * 100, "Hi")
    result = run()
    assert (result.exit_code, result.stdout) == (0, "ok\n")
    assert "error: the message is 73 tokens too long" in result.stderr and "hint: " in result.stderr


def test_a_full_context_is_said(run: Run, opened: Opened, terminal: Callable[..., None]) -> None:
    opened.model = ScriptedModel(b"ok", tiny_config(sequence_len=32))
    terminal("first", "second", "third")
    result = run()
    assert result.stdout == "ok\nok\nok\n"
    assert "forgot the oldest turns (1)" in result.stderr


def test_no_model_is_said_with_the_command_that_makes_one(run: Run) -> None:
    result = run("-p", "Hi")
    assert isinstance(result.exception, MissingError)
    assert result.exception.hint == "nanochat speedrun pocket"


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["--temperature", "-1"], "temperature"),
        (["--top-k", "0"], "top_k"),
        (["--top-p", "2"], "top_p"),
        (["--min-p", "2"], "min_p"),
        (["--max-tokens", "0"], "max_new_tokens"),
    ],
)
def test_impossible_settings_are_refused(run: Run, args: list[str], name: str) -> None:
    result = run("-p", "Hi", *args)
    assert isinstance(result.exception, NanochatError) and name in result.exception.message


def test_a_saved_model_answers_from_a_shell(tmp_path: Path) -> None:
    import torch

    from nanochat.checkpoints.store import save_checkpoint
    from nanochat.model.gpt import GPT

    torch.manual_seed(0)
    model = GPT(tiny_config())
    save_checkpoint(
        tmp_path / "models" / "tiny" / "sft",
        7,
        model_state=model.state_dict(),
        model_config=model.config,
        tokenizer=TOKENIZER,
        state={},
    )
    code = "import sys; from nanochat.commands.chat import chat; chat(sys.argv[1:])"
    got = subprocess.run(
        [sys.executable, "-c", code, "tiny", "-p", "Hi", "--max-tokens", "8", "--seed", "1", "--device", "cpu"],
        env={**os.environ, "NANOCHAT_BASE_DIR": str(tmp_path), "PYTHONIOENCODING": "latin-1"},
        cwd=tmp_path,
        capture_output=True,
    )
    assert got.returncode == 0, got.stderr.decode()
    assert got.stdout.endswith(b"\n") and b"?" in got.stdout  # what the terminal cannot show
    assert got.stderr == b""
