"""What a model says to a few fixed prompts at the end of a stage, kept for the report."""

from __future__ import annotations

import json
from pathlib import Path

from nanochat.config.chat import SamplingConfig
from nanochat.engine.engine import Engine
from nanochat.runtime.events import OnEvent, Sampled
from nanochat.runtime.files import translate_os_errors
from nanochat.tokenizer.conversation import Conversation, Message
from nanochat.tokenizer.render import render_for_completion

PROMPTS_BASE = (
    "The capital of Japan is",
    "The opposite of hot is",
    "Seven plus five is",
    "If yesterday was Friday, then tomorrow will be",
)
PROMPTS_CHAT = (
    "What is the capital of Japan?",
    "What is 23 plus 58?",
    "How many times does the letter 'e' appear in 'cheese'?",
    "Who are you?",
)
SAMPLE_TOKENS = 48


def take_samples(engine: Engine, stage: str, step: int, folder: Path, on_event: OnEvent) -> None:
    """Answer the prompts greedily; the text goes to `samples.jsonl` and to `on_event`."""
    prompts = PROMPTS_BASE if stage == "base" else PROMPTS_CHAT
    tokenizer = engine.tokenizer
    if stage == "base":
        ids = [[tokenizer.bos, *tokenizer.encode(prompt)] for prompt in prompts]
    else:
        ids = [render_for_completion(tokenizer, Conversation((Message.text("user", prompt),))) for prompt in prompts]
    sampling = SamplingConfig(temperature=0.0, top_k=None, max_new_tokens=SAMPLE_TOKENS)
    completions = engine.generate_batch(ids, sampling)
    path = folder / "samples.jsonl"
    with translate_os_errors(path), path.open("a", encoding="utf-8") as file:
        for prompt, completion in zip(prompts, completions, strict=True):
            record = {"step": step, "prompt": prompt, "answer": completion.text}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            on_event(Sampled(stage=stage, step=step, prompt=prompt, answer=completion.text))
