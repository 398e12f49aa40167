"""Conversations about who a model is, by another model: an OpenAI-compatible server is asked, and not believed.

Covered: what comes back is data of a stranger. It must be JSON in one of the known forms, say the right name, claim
no other model's name or maker, and be new; a server that sends nothing of use is not asked for long. Not covered:
whether an answer is true or good; read the file before you train on it.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from nanochat.errors import ConversationError
from nanochat.runtime.openai import Server, ServerError
from nanochat.tasks.files import fingerprint
from nanochat.tasks.formats import convert, looks_like_turns
from nanochat.tasks.identity import Persona
from nanochat.tasks.records import parse
from nanochat.tokenizer.conversation import Conversation

PER_REQUEST = 10
USELESS_IN_A_ROW = 3  # answers without anything good, after which no more is asked
MAX_CHARS = 4_000  # of a conversation

THEMES = (
    "people who ask its name in ever other words",
    "people who want to know who made it",
    "people who take it for another assistant",
    "people who wonder whether it is human",
    "people who say hello and ask who is there",
    "people who ask about the facts above, one by one",
    "children who ask simple questions about it",
    "people who ask what it can do and what it cannot",
    "people who are rude or in doubt and ask who it is",
    "conversations of two or three questions about it",
    "very short questions, also without punctuation",
    "long-winded questions that come to who it is",
)

_STRANGERS = (
    *("chatgpt", "gpt", "gpt-3", "gpt-4", "gpt-5", "claude", "gemini", "bard", "llama", "siri", "alexa", "qwen"),
    *("mistral", "deepseek", "copilot", "grok", "openai", "anthropic", "google", "meta", "microsoft", "alibaba"),
)
_CLAIM = re.compile(
    r"(?:\bI am|\bI['’]m|\bmy name is|\bcall me|\b(?:made|trained|created|developed|built) by)\s+"
    r"(?:an? |the )?([\w-]+)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Asked:
    """What asking brought: conversations, and why others were refused. `gave_up` says why it ended early."""

    conversations: list[Conversation] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    gave_up: str = ""


def ask(
    server: Server,
    persona: Persona,
    count: int,
    seed: int,
    on_progress: Callable[[int, int], None] = lambda accepted, rejected: None,
) -> Asked:
    """Up to `count` conversations of a server, checked one by one.

    Args:
        server: to ask.
        persona: who the model is to be.
        count: wanted.
        seed: sent with the requests; a server may heed it.
        on_progress: told (accepted, rejected) after each request.

    Raises:
        ServerError: it could not be asked at all.
    """
    asked = Asked()
    seen: set[int] = set()
    useless = 0
    while len(asked.conversations) < count and useless < USELESS_IN_A_ROW:
        try:
            text = server.complete(prompt_for(persona, THEMES[asked.requests % len(THEMES)]), seed + asked.requests)
        except ServerError as error:
            if not asked.conversations:
                raise
            asked.gave_up = error.message
            return asked
        asked.requests += 1
        before = len(asked.conversations)
        for conversation, problem in _judged(text, persona):
            if conversation is not None and fingerprint(conversation) in seen:
                problem = "said before"
            if conversation is None or problem:
                asked.rejected[problem] += 1
            elif len(asked.conversations) < count:
                seen.add(fingerprint(conversation))
                asked.conversations.append(conversation)
        useless = 0 if len(asked.conversations) > before else useless + 1
        on_progress(len(asked.conversations), asked.rejected.total())
    if useless == USELESS_IN_A_ROW:
        asked.gave_up = f"{USELESS_IN_A_ROW} answers in a row had nothing usable"
    return asked


def prompt_for(persona: Persona, theme: str) -> str:
    """What the server is asked."""
    facts = [f"Its name is {persona.name}. It is a small language model."]
    facts += [f"It was trained by {persona.maker}."] if persona.maker else []
    facts += [f"Its {key}: {value}." for key, value in persona.pairs]
    facts += [f"It says of itself: {sentence}" for sentence in persona.sentences]
    listed = "\n".join(f"- {fact}" for fact in facts)
    example = json.dumps(
        {
            "messages": [
                {"role": "user", "content": "Who is there?"},
                {"role": "assistant", "content": f"I am {persona.name}."},
            ]
        }
    )
    return (
        f"Write {PER_REQUEST} short conversations between a person and an assistant about who the assistant is.\n"
        f"About the assistant:\n{listed}\n\n"
        f"Write about {theme}. Each is different from the others. The assistant answers in one or two plain "
        f"sentences, says its name in each conversation, and makes up nothing that is not listed.\n"
        f"Answer with a JSON array of {PER_REQUEST} objects and nothing else. Each looks like this:\n{example}"
    )


def problem_of(conversation: Conversation, persona: Persona) -> str:
    """Why a conversation must not be learnt from, or an empty string."""
    first, last = conversation.messages[0], conversation.messages[-1]
    if first.role != "user" or last.role != "assistant":
        return "wrong roles"
    answers = [message.content for message in conversation.messages if message.role == "assistant"]
    if sum(len(message.content) for message in conversation.messages) > MAX_CHARS:
        return "too long"
    if any(part.kind != "text" for message in conversation.messages for part in message.parts):
        return "calls a tool"
    if not any(re.search(rf"(?<!\w){re.escape(persona.name)}(?!\w)", answer) for answer in answers):
        return "does not say the name"
    own = set(re.findall(r"[\w-]+", f"{persona.name} {persona.maker}".lower()))
    claimed = {word.lower() for answer in answers for word in _CLAIM.findall(answer)}
    return "claims to be another" if claimed & set(_STRANGERS) - own else ""


def _judged(text: str, persona: Persona) -> Iterator[tuple[Conversation | None, str]]:
    """Every conversation of an answer with what is wrong with it; one entry for an answer that is none."""
    values = _values(text)
    if not values:
        yield None, "empty" if values is not None or not text.strip() else "not JSON"
        return
    for value in values:
        try:
            conversation = convert(value).conversation
        except ConversationError:
            yield None, "no conversation"
            continue
        yield conversation, problem_of(conversation, persona)


def _values(text: str) -> list[Any] | None:
    """The values of an answer, perhaps within other words or a fence: an array, an object around one, or lines.

    None where there is no JSON.
    """
    starts = [at for at in (text.find("["), text.find("{")) if at >= 0]
    if not starts:
        return None
    end = max(text.rfind("]"), text.rfind("}")) + 1
    try:
        found = parse(text[min(starts) : end].encode("utf-8", "replace"))
    except ValueError:
        return _lines(text)
    if isinstance(found, dict) and len(found) == 1:
        (inner,) = found.values()
        found = inner if isinstance(inner, list) and not looks_like_turns(inner) else found
    return found if isinstance(found, list) and not looks_like_turns(found) else [found]


def _lines(text: str) -> list[Any] | None:
    values = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            values.append(parse(line.strip().removesuffix(",").encode("utf-8", "replace")))
    return [value for value in values if isinstance(value, dict | list)] or None
