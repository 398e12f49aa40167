"""What a front-end asks of a model (`backend`), done by an engine in this process: answers, counts, examinations."""

from __future__ import annotations

import threading
from collections.abc import Iterator, MutableMapping, Sequence

import torch

from nanochat.config.chat import SamplingConfig
from nanochat.engine.backend import ContextUse, Examination, Question
from nanochat.engine.cache import LONGEST_PIECE, KVCache, Piece
from nanochat.engine.engine import Engine
from nanochat.engine.events import Candidate, ContextTrimmed, SessionEvent, Token
from nanochat.engine.session import Session
from nanochat.engine.stream import Stream
from nanochat.engine.tools import Tool
from nanochat.errors import ContextError
from nanochat.tokenizer.conversation import Conversation, Message

Known = MutableMapping[Message, tuple[int, ...]]


def answer(
    engine: Engine,
    question: Question,
    stop: threading.Event | None = None,
    known: Known | None = None,
    tool: Tool | None = None,
) -> Iterator[SessionEvent]:
    """Events of the answers to a question; to close the iterator ends them.

    Args:
        engine: generates.
        question: see there.
        stop: set from any thread, it ends the answers within one step.
        known: ids of answers that were generated before; those of this question are added.
        tool: what they may call; None is the engine's.

    Raises:
        ContextError: no room for an answer.
        ConversationError: roles out of turn.
    """
    session = _session(engine, question.messages, question.config, known)
    if question.text is not None:
        prompt = [engine.tokenizer.bos, *engine.tokenizer.encode(question.text)]
    else:
        prompt, forgotten = session.fit(question.messages[-1])
        if forgotten:
            yield ContextTrimmed(forgotten)
    stream = Stream(
        engine,
        prompt,
        question.config,
        question.prefix,
        stop,
        samples=question.samples,
        tokens=question.tokens,
        tool=tool,
    )
    try:
        yield from stream
    finally:
        stream.close()
        if question.text is None:
            for said in stream.samples:
                if said.ids:
                    session.remember(said)


def count(engine: Engine, messages: tuple[Message, ...]) -> ContextUse:
    """How much of the context a conversation takes; where it ends with an answer, with an empty question behind it.

    Raises:
        ConversationError: roles out of turn.
    """
    if not messages or messages[-1].role != "user":
        messages = (*messages, Message.text("user", ""))
    return _session(engine, messages, SamplingConfig(), None).use(messages[-1])


def examine(
    engine: Engine, text: str, messages: tuple[Message, ...], top: int, stop: threading.Event | None = None
) -> Examination:
    """How likely each token of a text is, by itself or as the answer to a conversation.

    A text by itself may be longer than the context: it is read in windows that overlap by half.

    Args:
        engine: whose model is asked.
        text: may be empty.
        messages: what the text answers; none for plain text.
        top: alternatives told with each token.
        stop: set from any thread, it ends the work; what was found by then is the result.

    Raises:
        ContextError: no room for the text as an answer.
        ConversationError: roles out of turn.
    """
    tokenizer, context = engine.tokenizer, engine.context
    ids = tokenizer.encode(text)
    if messages:
        prompt, _ = _session(engine, messages, SamplingConfig(max_new_tokens=max(1, len(ids))), None).fit(messages[-1])
        if len(prompt) + len(ids) > context:
            raise ContextError(
                f"prompt and answer have {len(prompt) + len(ids)} tokens, the context of the model {context}",
                f"shorten them by {len(prompt) + len(ids) - context} tokens or more",
            )
    else:
        prompt = [tokenizer.bos]
    whole = [*prompt, *ids]
    tokens: list[Token] = []
    start, scored = 0, len(prompt)
    while scored < len(whole) and not (stop and stop.is_set()):
        window = [*prompt[:1], *whole[start + 1 : start + context]]  # each begins as texts do, with bos
        found = _likelihoods(engine, window, scored - start, top, stop)
        tokens += found
        scored = start + len(window)
        start = scored - context // 2
    return Examination(tuple(tokens))


@torch.inference_mode()
def _likelihoods(
    engine: Engine, ids: Sequence[int], first: int, top: int, stop: threading.Event | None
) -> Iterator[Token]:
    """The tokens from place `first` (1 or more) on, each with what stands before it in the same window."""
    model, data = engine.model, engine.tokenizer.decode_bytes
    cache = KVCache(model.config, 1, len(ids), model.device, model.compute_dtype)
    for start in range(0, len(ids) - 1, LONGEST_PIECE):
        if stop and stop.is_set():
            return
        piece = Piece(0, ids[start : min(start + LONGEST_PIECE, len(ids) - 1)], ids[start - 1] if start else None)
        forward = cache.begin([piece])
        hidden = model.hidden(forward.ids, forward)[0]  # (N, C)
        forward.commit()
        begin = max(0, first - 1 - start)  # what a place says is about the next one
        if begin >= len(piece.ids):
            continue
        logprobs = model.logits(hidden[begin:]).log_softmax(dim=-1)  # (N, V) float32
        said = torch.tensor(ids[start + begin + 1 : start + len(piece.ids) + 1], device=logprobs.device)
        values = logprobs.gather(-1, said[:, None])[:, 0].tolist()
        best = logprobs.topk(min(top, logprobs.size(-1)), dim=-1)
        for token, value, numbers, others in zip(
            said.tolist(), values, best.values.tolist(), best.indices.tolist(), strict=True
        ):
            likeliest = tuple(
                Candidate(other, data([other]), logprob) for other, logprob in zip(others, numbers, strict=True)
            )
            yield Token(token, data([token]), value, top=likeliest)


def _session(engine: Engine, messages: tuple[Message, ...], config: SamplingConfig, known: Known | None) -> Session:
    """A session that remembers all but the last message."""
    if messages:
        Conversation(messages)  # raises where roles are out of turn
    session = Session(engine, config, known=known)
    session.restore(messages[:-1])
    return session
