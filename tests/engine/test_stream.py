from __future__ import annotations

from doubles import ScriptedModel, script_of

from nanochat.config.chat import GREEDY, SamplingConfig
from nanochat.engine.engine import Engine
from nanochat.engine.events import TextDelta, ToolUsed, TurnFinished
from nanochat.engine.stream import Stream
from nanochat.tokenizer.special import PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer


def test_text_then_tools_then_the_end(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, "é ", PYTHON_START, "2*3", PYTHON_END, "...", "6")
    stream = Stream(Engine(ScriptedModel(script), tokenizer), [tokenizer.bos, 1, 2], GREEDY)
    *events, end = stream
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["é", " ", "6"]
    (tool,) = [event for event in events if isinstance(event, ToolUsed)]
    assert (tool.expression, tool.result) == ("2*3", "6") and tool.latency_s >= 0
    assert isinstance(end, TurnFinished)
    assert (end.text, end.stop_reason, end.prompt_tokens, end.tokens) == ("é 6", "stop", 3, 13)
    assert 0 < end.time_to_first_token_s < 10 and end.tokens_per_s > 0
    assert stream.samples[0].ids[-1] == ord("6")


def test_a_closed_stream_frees_its_row(tokenizer: Tokenizer) -> None:
    engine = Engine(ScriptedModel(b"Hello!"), tokenizer)
    stream = Stream(engine, [tokenizer.bos], SamplingConfig(temperature=0))
    assert next(iter(stream)) == TextDelta("H")
    assert engine.active == 1
    stream.close()
    assert engine.active == 0 and stream.samples[0].ids == [ord("H")]
    assert list(stream) == []


def test_a_prefix_is_part_of_the_answer(tokenizer: Tokenizer) -> None:
    stream = Stream(Engine(ScriptedModel(b" world"), tokenizer), [tokenizer.bos], GREEDY, prefix=b"Hello")
    assert "".join(event.text for event in stream if isinstance(event, TextDelta)) == "Hello world"
