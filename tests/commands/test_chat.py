"""`nanochat chat`: answers on stdout, everything else on stderr, and nothing that acts on the terminal."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from backends import EngineBackend
from chat_server import Reply, Scripted
from click.testing import CliRunner, Result
from doubles import ScriptedModel, script_of, tiny_config, tiny_tokenizer

from nanochat.commands import chat as module
from nanochat.commands import chat_lines
from nanochat.commands.chat import chat
from nanochat.commands.chat_printers import TextPrinter
from nanochat.config.chat import ChatConfig
from nanochat.engine.engine import Engine
from nanochat.engine.events import ToolUsed
from nanochat.errors import MissingError, NanochatError, UsageError
from nanochat.runtime.safe_text import safe_text
from nanochat.runtime.sandbox.result import Isolation
from nanochat.tokenizer.special import PYTHON_END, PYTHON_START

Run = Callable[..., Result]
TOKENIZER = tiny_tokenizer()


class Opened:
    """What the command asked for, and the model it got."""

    def __init__(self) -> None:
        self.model = ScriptedModel(b"Tokyo.")
        self.stage = "sft"
        self.selector: str | None = None
        self.config = ChatConfig()
        self.backend: EngineBackend | None = None


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opened = Opened()

    def open_engine(paths: Any, model: str | None, config: ChatConfig) -> tuple[Engine, str]:
        opened.selector, opened.config = model, config
        return Engine(opened.model, TOKENIZER), opened.stage

    def open_backend(paths: Any, model: str | None, config: ChatConfig) -> EngineBackend:
        opened.backend = EngineBackend(open_engine(paths, model, config)[0], others=("tiny:base@3",))
        return opened.backend

    monkeypatch.setattr(module, "_open_engine", open_engine)
    monkeypatch.setattr(module, "_open_backend", open_backend)
    return opened


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path))

    def invoke(*args: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(chat, list(args), input=stdin)

    return invoke


@pytest.fixture
def typed(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`chat --plain` with these lines; an exception is raised in place of a line."""

    def typing(*lines: str | type[BaseException], args: tuple[str, ...] = ()) -> Result:
        waiting: Iterator[str | type[BaseException]] = iter(lines)

        def read_line(prompt: str) -> str:
            line = next(waiting, EOFError)
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr(chat_lines, "_read_line", read_line)
        return run("--plain", *args)

    return typing


def test_one_answer_on_stdout(run: Run, opened: Opened) -> None:
    result = run("tiny:sft", "-p", "What is the capital of Japan?", "--temperature", "0", "--system", "Be brief.")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Tokyo.\n", "")
    assert opened.selector == "tiny:sft"
    assert (opened.config.temperature, opened.config.system) == (0, "Be brief.")


def test_programs_are_run_only_where_they_are_held(run: Run, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanochat.runtime.sandbox.run.reached_isolation", lambda: Isolation.PROCESS)
    refused = run("-p", "hi", "--tool", "python")
    assert isinstance(refused.exception, MissingError) and "limits of time" in refused.exception.message
    assert "--unsafe-exec" in refused.exception.hint
    assert run("-p", "hi", "--tool", "python", "--unsafe-exec").exit_code == 0
    assert opened.config.tool == "python"


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
    assert result.stdout == "^[]0;title^G^[[2Jhi^M<U+009B>31m^?\tthere\nénd\n" == safe_text(hostile) + "\n"
    assert run("-p", "?", "--raw").stdout_bytes == hostile.encode() + b"\n"
    assert run("-p", "?", "--no-stream").stdout == result.stdout


def test_events_are_objects_on_lines(run: Run, opened: Opened) -> None:
    opened.model = ScriptedModel(script_of(TOKENIZER, "é\x1b", PYTHON_START, "2*3", PYTHON_END, "...", "6"))
    result = run("-p", "?", "--jsonl")
    assert "\x1b" not in result.stdout
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["text", "text", "tool", "text", "finished"]
    assert (events[2]["expression"], events[2]["result"]) == ("2*3", "6")
    end = events[-1]
    assert end["text"] == "é\x1b6" and end["stop_reason"] == "stop" and end["tokens"] == 13
    assert [part["type"] for part in end["message"]["content"]] == ["text", "python", "python_output", "text"]
    assert {"tokens_per_s", "time_to_first_token_s", "prompt_tokens", "ids"} <= set(end)
    lines = map(json.loads, run("-p", "?", "--jsonl", "--logprobs", "2").stdout.splitlines())
    tokens = [token for line in lines if line["event"] == "tokens" for token in line["tokens"]]
    assert [token["id"] for token in tokens][:-1] == end["ids"] and len(tokens[0]["top"]) == 2
    assert tokens[0] == {
        **{"id": 0xC3, "text": "\ufffd", "bytes": [0xC3], "logprob": tokens[0]["logprob"]},
        **{"forced": False, "special": False, "top": tokens[0]["top"]},
    }


def test_an_answer_is_one_object(run: Run, opened: Opened) -> None:
    opened.model = ScriptedModel(script_of(TOKENIZER, PYTHON_START, "2*3", PYTHON_END, "...", "6\u202e"))
    result = run("-p", "?", "--json")
    assert "\u202e" not in result.stdout
    value = json.loads(result.stdout)
    assert (value["text"], value["stop_reason"], value["forgotten_turns"]) == ("6\u202e", "stop", 0)
    assert [(tool["expression"], tool["result"]) for tool in value["tools"]] == [("2*3", "6")]
    assert "logprobs" not in value
    assert len(json.loads(run("-p", "?", "--json", "--logprobs", "0").stdout)["logprobs"]) == value["tokens"]


@pytest.mark.parametrize("args", [["--json", "--jsonl"], ["--logprobs", "3"]])
def test_ways_to_print_that_exclude_each_other(run: Run, args: list[str]) -> None:
    result = run("-p", "?", *args)
    assert isinstance(result.exception, UsageError) and result.exception.hint


def test_plain_text_goes_on(run: Run, opened: Opened) -> None:
    opened.model = ScriptedModel(b" time")
    assert run("--complete", "-p", "Once upon a").stdout == " time\n"
    assert opened.model.prompts == [[TOKENIZER.bos, *b"Once upon a"]]
    opened.stage = "base"
    result = run("--complete", stdin="Once")
    assert (result.stdout, result.stderr) == (" time\n", "")
    assert "--complete" in run(stdin="Once").stderr


def test_a_tool_is_not_shown_where_no_one_looks(run: Run, opened: Opened) -> None:
    opened.model = ScriptedModel(script_of(TOKENIZER, PYTHON_START, "2*3", PYTHON_END, "...", "6"))
    result = run("-p", "?")
    assert (result.stdout, result.stderr) == ("6\n", "")


def test_a_tool_is_shown_by_no_name_it_may_not_have(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    TextPrinter().show(ToolUsed("len('abc')", "3", 0.1))
    assert "[tool: len('abc') = 3]" in capsys.readouterr().err


def test_a_conversation(opened: Opened, typed: Callable[..., Result]) -> None:
    opened.model = ScriptedModel(b"one", scripts=[b"two\n", b"three"])
    result = typed("Hi", "", "more", "/new", "again", "/nonsense", "/hepl", "/quit", "not read")
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\nthree\n")
    assert result.stderr.splitlines() == [
        "a new conversation",
        "there is no /nonsense; /help lists what there is",
        "there is no /hepl; did you mean /help? /help lists what there is",
    ]
    lengths = [len(prompt) for prompt in opened.model.prompts]
    assert lengths[1] > lengths[0] + 3 and lengths[2] < lengths[1]
    assert opened.backend and opened.backend.closed


def test_the_tool_of_a_conversation(
    opened: Opened, typed: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = script_of(TOKENIZER, PYTHON_START, "2*3", PYTHON_END, "...", "6")
    opened.model = ScriptedModel(said, scripts=[script_of(TOKENIZER, PYTHON_START, "2*3", PYTHON_END, "!")])
    monkeypatch.setattr("nanochat.runtime.sandbox.run.reached_isolation", lambda: Isolation.PROCESS)
    result = typed("/tool", "Hi", "/tool none", "Hi", "/tool python", "/tool hammer", "/tool")
    assert (result.exit_code, result.stdout) == (0, "6\n!\n"), "what is called has a result, then none"
    lines = [line for line in result.stderr.splitlines() if line.startswith(("tool", "error"))]
    assert [line[:30] for line in lines] == [
        *("tool: calculator", "tool: none", "error: programs of a model would"[:30]),
        *("error: there is no tool 'hamme", "tool: none"),
    ]


def test_a_conversation_from_a_pipe(run: Run, opened: Opened) -> None:
    result = run("--plain", stdin="Hi\nand\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Tokyo.\nTokyo.\n", "")
    assert json.loads(run("--plain", "--json", stdin="Hi\n").stdout)["text"] == "Tokyo."


def test_the_end_of_input_leaves_and_an_interrupt_at_the_prompt_does_not(
    opened: Opened, typed: Callable[..., Result]
) -> None:
    result = typed(KeyboardInterrupt, "Hi")
    assert (result.exit_code, result.stdout) == (0, "Tokyo.\n")


def test_an_interrupt_stops_the_answer_and_keeps_its_beginning(opened: Opened, typed: Callable[..., Result]) -> None:
    class Interrupting(ScriptedModel):
        def say(self, script: Sequence[int], place: int) -> int:
            if len(self.prompts) == 1 and place == 3:
                raise KeyboardInterrupt
            return super().say(script, place)

    opened.model = Interrupting(b"Hello", scripts=[b"Yes."])
    result = typed("Hi", "go on?")
    assert (result.exit_code, result.stdout) == (0, "Hel\nYes.\n")
    assert "stopped" in result.stderr
    second = bytes(token for token in opened.model.prompts[1] if token < 256)
    assert second == b"HiHelgo on?"


def test_a_message_beyond_the_context_does_not_end_the_conversation(
    opened: Opened, typed: Callable[..., Result]
) -> None:
    opened.model = ScriptedModel(b"ok", tiny_config(sequence_len=32))
    result = typed("x" * 100, "Hi")
    assert (result.exit_code, result.stdout) == (0, "ok\n")
    assert "error: the message is 73 tokens too long" in result.stderr and "hint: " in result.stderr


def test_a_full_context_is_said(opened: Opened, typed: Callable[..., Result]) -> None:
    opened.model = ScriptedModel(b"ok", tiny_config(sequence_len=32))
    result = typed("first", "second", "third")
    assert result.stdout == "ok\nok\nok\n"
    assert "forgot the oldest turns (1)" in result.stderr


def test_commands_of_a_conversation(opened: Opened, typed: Callable[..., Result]) -> None:
    opened.model = ScriptedModel(b"one", scripts=[b"two", b"three"])
    result = typed(
        *(
            "/retry",
            "/stats",
            "/system Be brief.",
            "Hi",
            "/retry",
            "/context",
            "/stats",
            "/set temp 0",
            "/set top-k none",
        ),
        *(
            "/set seed",
            "/set seed x",
            "/set colour 3",
            "/set",
            "/model",
            "/model tiny:base@3",
            "/model nobody",
            "/help",
        ),
        *("/system none", '"""two', 'lines"""', "/bye"),
    )
    assert result.stdout == "one\ntwo\nthree\n"
    lines = result.stderr.splitlines()
    assert lines[:3] == ["nothing has been asked yet", "there is no answer that came to its end", "system: Be brief."]
    assert lines[3] == "24 of 256 tokens" and lines[4].startswith("4 tokens at ") and lines[4].endswith("; stop")
    assert lines[5:8] == ["temperature: 0.0", "top_k: none", "seed: none"]
    assert "error: seed: expected a whole number, found 'x'" in lines
    assert "error: there is no setting 'colour'" in lines
    assert "  repetition_penalty 1.0" in lines and "  tiny:base@3" in lines and "model: tiny:base@3" in lines
    assert "error: there is no model 'nobody'" in lines and any(line.startswith("  /retry") for line in lines)
    prompts = [bytes(token for token in prompt if token < 256) for prompt in opened.model.prompts]
    assert prompts == [b"Be brief.\n\nHi", b"Be brief.\n\nHi", b"Hitwotwo\nlines"]
    assert opened.backend
    assert [question.config.temperature for question in opened.backend.asked] == [0.6, 0.6, 0]
    assert opened.backend.asked[-1].config.top_k is None


def test_a_retry_that_fails_leaves_the_conversation_as_it_was(opened: Opened, typed: Callable[..., Result]) -> None:
    class Failing(ScriptedModel):
        def say(self, script: Sequence[int], place: int) -> int:
            if opened.backend and len(opened.backend.asked) == 2:
                raise NanochatError("the model is gone", "ask again")
            return super().say(script, place)

    opened.model = Failing(b"one")
    result = typed("Hi", "/retry", "more")
    assert "error: the model is gone" in result.stderr and opened.backend
    assert [message.content for message in opened.backend.asked[2].messages] == ["Hi", "one", "more"]


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


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from nanochat.checkpoints.store import save_checkpoint
    from nanochat.model.gpt import GPT

    torch.manual_seed(0)
    model = GPT(tiny_config())
    base = tmp_path_factory.mktemp("chat")
    save_checkpoint(
        base / "models" / "tiny" / "sft",
        7,
        model_state=model.state_dict(),
        model_config=model.config,
        tokenizer=TOKENIZER,
        state={},
    )
    return base


def shell(base: Path, *args: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "nanochat", "chat", *args],
        env={**os.environ, "NANOCHAT_BASE_DIR": str(base), "PYTHONIOENCODING": "latin-1"},
        cwd=base,
        capture_output=True,
        **more,
    )


def test_a_saved_model_answers_from_a_shell(base: Path) -> None:
    got = shell(base, "tiny", "-p", "Hi", "--max-tokens", "8", "--seed", "1", "--device", "cpu", input=b"")
    assert got.returncode == 0, got.stderr.decode()
    assert got.stdout.endswith(b"\n") and b"?" in got.stdout  # what the terminal cannot show
    assert got.stderr == b""


def test_text_from_a_pipe_goes_behind_the_prompt(tmp_path: Path) -> None:
    whole = {"choices": [{"message": {"content": "ok\x1b[2J"}, "finish_reason": "stop"}]}
    reply = Reply(json.dumps(whole).encode(), headers={"Content-Type": "application/json"})
    with Scripted(lambda number: reply).running() as scripted:
        got = shell(tmp_path, "other", "--url", scripted.url, "-p", "Sum it up:", input="é\nlines\n".encode())
        alone = shell(tmp_path, "--url", scripted.url, "-p", "Hi", stdin=subprocess.DEVNULL)
        untold = shell(tmp_path, "m", "--url", scripted.url, "-p", "Hi", "--json", "--logprobs", "2", input=b"")
    assert (got.returncode, got.stdout, got.stderr) == (0, b"ok^[[2J\n", b"")
    assert (alone.returncode, alone.stdout) == (0, b"ok^[[2J\n")
    assert untold.stderr == b"notice: this server sends no log-probabilities\n" and b'"text": "ok' in untold.stdout
    first, second, _ = scripted.requests
    assert (first["model"], first["messages"][0]["content"]) == ("other", "Sum it up:\n\né\nlines")
    assert (second["model"], second["messages"][0]["content"]) == ("first-model", "Hi")


def test_an_answer_without_a_word_has_no_log_probabilities_to_miss(run: Run) -> None:
    empty = {"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}
    reply = Reply(json.dumps(empty).encode(), headers={"Content-Type": "application/json"})
    with Scripted(lambda number: reply).running() as scripted:
        result = run("m", "--url", scripted.url, "-p", "Hi", "--json", "--logprobs", "2")
    assert (result.exit_code, result.stderr) == (0, "") and json.loads(result.stdout)["text"] == ""


def test_another_server_is_refused_in_two_lines(tmp_path: Path, run: Run) -> None:
    for args in (["--url", "nonsense"], ["--url", "http://h", "--api-key-env", "NOT_SET_ANYWHERE"]):
        result = run("-p", "Hi", *args)
        assert isinstance(result.exception, UsageError) and result.exception.hint


def test_line_by_line_in_a_terminal_with_earlier_lines(tmp_path: Path) -> None:
    import pty

    whole = {"choices": [{"message": {"content": "well said"}, "finish_reason": "stop"}]}
    reply = Reply(json.dumps(whole).encode(), headers={"Content-Type": "application/json"})
    with Scripted(lambda number: reply).running() as scripted:
        pid, terminal = pty.fork()
        if pid == 0:
            words = [sys.executable, "-m", "nanochat", "chat", "--plain", "--url", scripted.url]
            os.execve(sys.executable, words, {**os.environ, "NANOCHAT_BASE_DIR": str(tmp_path), "TERM": "xterm"})
        seen = b""

        def until(wanted: bytes, count: int) -> None:
            nonlocal seen
            while seen.count(wanted) < count:
                assert select.select([terminal], [], [], 60)[0], seen
                seen += os.read(terminal, 65536)

        until(b"> ", 1)
        os.write(terminal, b"first question\r")
        until(b"well said", 1)
        until(b"> ", 2)
        os.write(terminal, b"\x1b[A\r")  # up: the line before
        until(b"well said", 2)
        until(b"> ", 3)
        os.write(terminal, b"/quit\r")
        assert os.waitpid(pid, 0)[1] == 0
        os.close(terminal)
    assert [request["messages"][-1]["content"] for request in scripted.requests] == ["first question"] * 2
    history = tmp_path / "chat_history"
    assert "first question" in history.read_text(encoding="utf-8") and history.stat().st_mode & 0o077 == 0
