"""Conversations out and in again: Markdown, JSON with the whole tree, JSONL for training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanochat.chats.export import export
from nanochat.chats.importing import chats_from_json
from nanochat.chats.store import ChatStore
from nanochat.chats.tree import Chat
from nanochat.errors import ConversationError, UsageError
from nanochat.tasks.check import check_file
from nanochat.tasks.files import ConversationFile
from nanochat.tasks.pairs import read_pairs
from nanochat.tokenizer.conversation import Conversation, Message, Part


@pytest.fixture
def store() -> ChatStore:
    return ChatStore(None)


def talked(store: ChatStore) -> Chat:
    """One question with three answers, of which the second calls a tool, and a second question to that one."""
    chat = store.create(model="d4:sft@7", system="Be brief.")
    question = store.add(chat.id, None, Message.text("user", "What is 6*7?"))
    store.add(chat.id, question.id, Message.text("assistant", "It is 41."), figures={"stop_reason": "stop"})
    parts = (Part("python", "6*7"), Part("output", "42"), Part("text", "It is 42.\n\n```\ncode\n```"))
    right = store.add(chat.id, question.id, Message("assistant", parts), figures={"stop_reason": "stop"})
    store.add(chat.id, question.id, Message.text("assistant", "I do not know."), figures={"stop_reason": "stop"})
    more = store.add(chat.id, right.id, Message.text("user", "Sure?"))
    store.add(chat.id, more.id, Message.text("assistant", "Yes."), figures={"stop_reason": "stop"})
    return store.chat(chat.id)


def rate(store: ChatStore, chat: Chat, text: str, rating: int) -> None:
    (node,) = [node for node in store.tree(chat.id).nodes.values() if text in node.message.content]
    store.rate(node.id, rating)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_markdown(store: ChatStore) -> None:
    text = export(store, talked(store), "md")
    assert text.startswith("# What is 6*7?\n\n*d4:sft@7, ")
    assert "## System\n\nBe brief.\n\n## You\n\nWhat is 6*7?\n\n## Model\n\n```python\n6*7\n```\n\n```\n42\n```" in text
    assert text.endswith("## You\n\nSure?\n\n## Model\n\nYes.\n")
    assert "41" not in text, "the branch it was left at"


def test_json_comes_back_whole(store: ChatStore) -> None:
    chat = talked(store)
    rate(store, chat, "42", 1)
    text = json.dumps(aged(json.loads(export(store, chat, "json"))))
    (back,) = chats_from_json(store, text, "chat.json")
    assert back.id != chat.id
    first, second = json.loads(text), json.loads(export(store, back, "json"))
    assert (back.title, back.system, back.kind) == (chat.title, chat.system, chat.kind)
    assert back.created == first["created"] == 1000.5
    assert [m["created"] for m in second["messages"]] == [m["created"] for m in first["messages"]] == [2000.5] * 6
    shape = [
        [(m["role"], m["content"], m["rating"], m["figures"]) for m in each["messages"]] for each in (first, second)
    ]
    assert shape[0] == shape[1]
    parents = [[index_of(each, m["parent"]) for m in each["messages"]] for each in (first, second)]
    assert parents[0] == parents[1] and index_of(first, first["leaf"]) == index_of(second, second["leaf"])


def aged(chat: dict) -> dict:
    """The same, of another time."""
    return {**chat, "created": 1000.5, "messages": [{**message, "created": 2000.5} for message in chat["messages"]]}


@pytest.mark.parametrize("time", ["today", -1, float("nan"), 1e300])
def test_a_time_that_is_none_is_refused(store: ChatStore, time: object) -> None:
    text = json.dumps({**json.loads(export(store, talked(store), "json")), "created": time})
    with pytest.raises(ConversationError, match="a time in it is none"):
        chats_from_json(store, text, "x.json")


def index_of(chat: dict, id: int | None) -> int | None:
    return None if id is None else [message["id"] for message in chat["messages"]].index(id)


def test_sft_takes_thumbs_or_the_branch_and_can_be_trained(store: ChatStore, tmp_path: Path) -> None:
    chat = talked(store)
    (whole,) = lines(export(store, chat, "sft"))
    roles = [message["role"] for message in whole["messages"]]  # type: ignore[attr-defined]
    assert roles == ["system", "user", "assistant", "user", "assistant"]
    rate(store, chat, "42", 1)
    rate(store, chat, "41", -1)
    file = tmp_path / "liked.jsonl"
    file.write_text(export(store, chat, "sft"), encoding="utf-8")
    (liked,) = lines(file.read_text(encoding="utf-8"))
    assert Conversation.from_dict(liked).messages[-1].parts[0] == Part("python", "6*7")
    checked = check_file(file)
    assert (checked.conversations, checked.bad, checked.tool_calls) == (1, 0, 1)


def test_preferences_are_pairs_and_can_be_trained(store: ChatStore, tmp_path: Path) -> None:
    chat = talked(store)
    with pytest.raises(UsageError, match="better and a worse"):
        export(store, chat, "preferences")
    rate(store, chat, "42", 1)
    pairs = lines(export(store, chat, "preferences"))
    assert [pair["rejected"]["content"] for pair in pairs] == ["It is 41.", "I do not know."]  # type: ignore[index]
    rate(store, chat, "41", -1)
    (pair,) = lines(export(store, chat, "preferences"))
    assert pair["rejected"] == {"role": "assistant", "content": "It is 41."}
    assert pair["chosen"]["content"][0] == {"type": "python", "text": "6*7"}  # type: ignore[index]
    assert [message["role"] for message in pair["messages"]] == ["system", "user"]  # type: ignore[attr-defined]
    file = tmp_path / "pairs.jsonl"
    file.write_text(export(store, chat, "preferences"), encoding="utf-8")
    (read,) = read_pairs(file)  # as `train sft --preferences` does
    assert read.rejected.messages[-1].content == "It is 41."
    assert read.chosen.messages[-1].parts[0] == Part("python", "6*7")
    assert list(ConversationFile(file)) == [read.chosen]  # as `train rl --task` and `train sft --data` do


def test_what_was_cut_off_is_no_training_data(store: ChatStore) -> None:
    chat = store.create()
    question = store.add(chat.id, None, Message.text("user", "What is the capital?"))
    cut = [
        store.add(chat.id, question.id, Message.text("assistant", text), figures=figures)
        for text, figures in (
            ("The capi", {"stop_reason": "cancelled"}),
            ("The ca", {"stop_reason": "length"}),
            ("T", {}),
        )
    ]
    with pytest.raises(UsageError, match="no whole answer"):
        export(store, store.chat(chat.id), "sft")
    more = store.add(chat.id, cut[0].id, Message.text("user", "Go on."))
    store.add(chat.id, more.id, Message.text("assistant", "tal is Tokyo."), figures={"stop_reason": "stop"})
    with pytest.raises(UsageError, match="no whole answer"):  # the first answer would be trained on too
        export(store, store.chat(chat.id), "sft")
    good = store.add(chat.id, question.id, Message.text("assistant", "Tokyo."), figures={"stop_reason": "stop"})
    store.rate(good.id, 1)
    with pytest.raises(UsageError, match="better and a worse"):
        export(store, store.chat(chat.id), "preferences")
    store.rate(cut[0].id, -1)
    (pair,) = lines(export(store, store.chat(chat.id), "preferences"))
    assert pair["rejected"]["content"] == "The capi"  # type: ignore[index]


def test_an_empty_conversation_and_another_format(store: ChatStore) -> None:
    chat = store.create()
    with pytest.raises(UsageError, match="no whole answer"):
        export(store, chat, "sft")
    with pytest.raises(UsageError, match="no format 'pdf'"):
        export(store, chat, "pdf")
    assert export(store, chat, "md").startswith("# A conversation")


def test_messages_of_other_programs(store: ChatStore) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    one, two = {"messages": messages, "title": "mine"}, [{"role": "system", "content": "S"}, *messages]
    for text in (json.dumps([one, two]), json.dumps(one) + "\n" + json.dumps(two) + "\n"):
        first, second = chats_from_json(store, text, "x.json")
        assert (first.title, second.system) == ("mine", "S")
        assert [node.message.content for node in store.tree(second.id).path(second.leaf)] == ["Hi", "Hello"]
    (alone,) = chats_from_json(store, json.dumps(two), "x.json")
    assert alone.title == "Hi"


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}",
        "[3]",
        '{"messages": []}',
        '{"messages": [{"role": "robot", "content": "x"}]}',
        '{"format": "nanochat-chat"}',
        '{"format": "nanochat-chat", "version": 99}',
        '{"format": "nanochat-chat", "version": 1, "kind": "chat", "messages": [{"id": 1, "parent": 2, "role": "user",'
        ' "content": "x"}]}',
        '{"format": "nanochat-chat", "version": "x"}',
    ],
)
def test_what_is_no_conversation_is_refused_and_leaves_nothing(text: str, store: ChatStore) -> None:
    good = '{"messages": [{"role": "user", "content": "Hi"}]}\n'
    with pytest.raises(ConversationError) as caught:
        chats_from_json(store, good + text if text[0] == "{" else text, "x.json")
    assert "x.json" in caught.value.message and "\n" not in caught.value.message
    assert store.chats() == []
