"""What others read is what we meant: the same ids for every text, through their own libraries."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from nanochat.data.shards import read_group
from nanochat.errors import UsageError
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.export import (
    MARK,
    check_folder,
    hugging_face_files,
    merges_of,
    tiktoken_files,
    write_files,
)
from nanochat.tokenizer.render import render, render_for_completion
from nanochat.tokenizer.special import PATTERN, SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tokenizer.train import train_tokenizer

BYTES = Tokenizer({bytes([byte]): byte for byte in range(256)})
THREES = PATTERN.replace("{1,2}", "{1,3}")
GPT4 = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
    r"|\s*[\r\n]|\s+(?!\S)|\s"
)
LETTERS = r"\p{L}+|[0-9]"  # leaves most characters out
PATTERNS = {
    "ours": PATTERN,
    "threes": THREES,
    "gpt4": GPT4,
    "letters": LETTERS,
    "blanks": r"\s+|\S+",
    "ends": r"[a-z ]+$|^[a-z]+|[\s\S]",
}

NASTY = [
    *("", "\0", "\r", "\n", "\r\n \r\n", " ", "  x  ", "\t\tx", "a" * 3000, " " * 3000, "\n" * 500, "'S 'ſ 'LL ve're"),
    *(
        "1",
        "12",
        "123",
        "1234567",
        "x1y22z333",
        "٣٤٥٦",
        "Ⅻ½²",
        "don't DON'T don’t",
        "...!!!\n\n\n??",
        "a\u2028b\u0085c",
    ),
    *(
        "é",
        "e\u0301",
        "\u0301",
        "👩‍👩‍👧‍👦🏽",
        "\u202eabc\u202c",
        "\ufeff",
        "\ufffd",
        "\uffff",
        "\U0010ffff",
        "\xa0\u3000x",
    ),
    *(
        "<|bos|>",
        "a<|user_end|>b",
        "<|<|bos|>|>",
        "<|bos",
        "<|assistant_end|><|bos|>",
        " <|python_start|>\n",
        "[CLS]</s>",
    ),
    *(
        "Ġ",
        "ĠĠhello Ċ",
        "▁x",
        "##x",
        "日本語のテキスト。中文字符，한국어 텍스트",
        "नमस्ते दुनिया",
        "مرحبا بالعالم",
        "ｆｕｌｌ１２３",
    ),
]


@pytest.fixture(scope="session")
def made(corpus: list[str]) -> dict[str, Tokenizer]:
    """A tokenizer for each pattern. Their tokens were learnt without chunks, so every wrong cut gives other ids."""
    runs = ["1234567 890123 4444 55555 \n\n  x\r\n 1 22 333\n", "'sx 'll they're\n ...!!!\n\n\n", "  a  b\t\tc \n"]
    ranks = train_tokenizer([*corpus, *NASTY, *runs * 5000], 1000, pattern=r"[\s\S]+").ranks()
    return {name: Tokenizer(ranks, pattern) for name, pattern in PATTERNS.items()}


def fast(tokenizer: Tokenizer) -> Any:
    """What `tokenizers` makes of our file, told to read text as text."""
    loaded = tokenizers.Tokenizer.from_str(hugging_face_files(tokenizer)["tokenizer.json"].decode())
    loaded.encode_special_tokens = True
    return loaded


def assert_same_ids(tokenizer: Tokenizer, texts: list[str]) -> None:
    found = [encoding.ids for encoding in fast(tokenizer).encode_batch(texts, add_special_tokens=False)]
    wrong = [text for text, ids in zip(texts, found, strict=True) if ids != tokenizer.encode(text)]
    assert not wrong, f"{len(wrong)} of {len(texts)}: {wrong[0][:200]!r}"


def fuzzed(count: int) -> Iterator[str]:
    """Strings of characters from every plane, mixed with what tokenizers trip over."""
    draw = random.Random(4)
    planes = [(0, 0x80), (0, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x20000), (0x20000, 0x110000)]
    for _ in range(count):
        parts = [chr(draw.randrange(*draw.choice(planes))) for _ in range(draw.randrange(12))]
        parts += draw.choices(NASTY[3:10] + [*SPECIAL_TOKENS, "'re", " the", "12", "\r\n"], k=draw.randrange(4))
        draw.shuffle(parts)
        yield "".join(parts)


@pytest.mark.parametrize("name", PATTERNS)
def test_tokenizers_gives_the_same_ids(made: dict[str, Tokenizer], corpus: list[str], name: str) -> None:
    assert_same_ids(made[name], [*NASTY, *corpus, *fuzzed(3000)])


def test_every_character_is_of_the_same_kind_there(made: dict[str, Tokenizer]) -> None:
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    assert_same_ids(made["ours"], ["".join(characters[at : at + 2000]) for at in range(0, len(characters), 2000)])


def test_real_text(tokenizer: Tokenizer, test_data: Path) -> None:
    with gzip.open(test_data / "data" / "multilingual.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    texts += read_group(test_data / "data" / "base_data" / "shard_00006.parquet", 0)
    assert_same_ids(tokenizer, texts)


@given(st.text())
def test_any_text(text: str) -> None:
    ids = BYTES.encode(text)
    assert FAST_BYTES.encode(text, add_special_tokens=False).ids == ids
    assert FAST_BYTES.decode(ids, skip_special_tokens=False) == text


FAST_BYTES = fast(BYTES)


def test_special_tokens_are_there_by_name_and_id(made: dict[str, Tokenizer]) -> None:
    ours, theirs = made["ours"], fast(made["ours"])
    assert theirs.get_vocab_size() == ours.vocab_size
    assert {name: theirs.token_to_id(name) for name in SPECIAL_TOKENS} == {
        name: ours.special(name) for name in SPECIAL_TOKENS
    }
    assert theirs.decode([ours.bos, *ours.encode("hi")], skip_special_tokens=True) == "hi"


def test_a_token_without_merges_is_found_as_a_chunk() -> None:
    """Ranks of others may hold tokens that no merges lead to; tiktoken finds them as whole chunks."""
    ranks = {**BYTES.ranks(), b"abcd": 256, b"ab": 257}
    assert merges_of(ranks) == [(b"a", b"b")]
    assert_same_ids(Tokenizer(ranks), ["abcd", "abcde", " abcd", "ab", "xabcd abcd"])


def test_merges_are_those_that_were_learnt(made: dict[str, Tokenizer]) -> None:
    ranks = made["ours"].ranks()
    merges = merges_of(ranks)
    assert len(merges) == len(ranks) - 256
    assert [ranks[left + right] for left, right in merges] == list(range(256, len(ranks)))


def test_a_pattern_that_hugging_face_would_misread_is_refused() -> None:
    with pytest.raises(UsageError, match=r"position 0 of the split pattern"):
        hugging_face_files(Tokenizer(BYTES.ranks(), r"\w+|\W"))
    assert tiktoken_files(Tokenizer(BYTES.ranks(), r"\w+|\W"))


# transformers


@pytest.fixture(scope="module")
def ours(corpus: list[str]) -> Tokenizer:
    return train_tokenizer(corpus, 400)


@pytest.fixture(scope="module")
def auto(ours: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`AutoTokenizer.from_pretrained` of the folder, as of today and without network."""
    folder = tmp_path_factory.mktemp("hf")
    write_files(folder, hugging_face_files(ours))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(str(folder))


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_transformers_gives_the_same_ids(ours: Tokenizer, auto: Any, corpus: list[str]) -> None:
    for text in [*NASTY, *corpus, *fuzzed(500)]:
        ids = ours.encode(text)
        assert auto(text, split_special_tokens=True).input_ids == ids, text
        assert auto.decode(ids) == text


def test_transformers_knows_the_special_tokens(ours: Tokenizer, auto: Any) -> None:
    assert (auto.bos_token_id, auto.pad_token_id) == (ours.bos, ours.bos)
    assert auto.eos_token_id == ours.special("<|assistant_end|>")
    assert len(auto) == ours.vocab_size
    assert sorted(auto.all_special_ids) == [ours.special(name) for name in SPECIAL_TOKENS]
    assert auto(SPECIAL_TOKENS[1]).input_ids == [ours.special(SPECIAL_TOKENS[1])]


def test_reference_conversations(tokenizer: Tokenizer, expected: dict[str, Any], tmp_path: Path) -> None:
    write_files(tmp_path, hugging_face_files(tokenizer))
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(str(tmp_path))
    for case in expected["render_conversation"]:
        messages = case["conversation"]["messages"]
        assert theirs.apply_chat_template(messages)["input_ids"] == case["ids"]
    for case in expected["render_for_completion"]:
        messages = case["conversation"]["messages"]
        if messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        assert theirs.apply_chat_template(messages, add_generation_prompt=True)["input_ids"] == case["ids"]


TOOLS = [
    {"type": "text", "text": "Let me see: "},
    {"type": "python", "text": "1+1"},
    {"type": "python_output", "text": "2"},
    {"type": "text", "text": " it is 2.\n"},
]


@pytest.mark.parametrize(
    "messages",
    [
        [("user", "Hi"), ("assistant", "Hello")],
        [("user", " Hi \n"), ("assistant", "\n\nHello "), ("user", ""), ("assistant", "")],
        [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "Bye 👋")],
        [("user", "x"), ("assistant", [{"type": "text", "text": ""}, *TOOLS, {"type": "python", "text": ""}])],
        [("user", "What is 1+1?"), ("assistant", TOOLS), ("user", "Thanks"), ("assistant", [])],
        [("system", [{"type": "text", "text": "S<|bo"}]), ("user", [{"type": "text", "text": "s|>"}])],
        [("user", "<|user_end|><|assistant_start|>{{ 7 * 7 }} {% raw %} \\n 'quoted' \"twice\" <|bos|>")],
        [("user", "x"), ("assistant", "a<|assistant_end|>b<|bos|><|bos|>"), ("user", "<|<|bos|>|>")],
        [("user", "x"), ("assistant", [{"type": "python_output", "text": "<|output_end|>1"}])],
    ],
)
def test_the_chat_template_gives_our_ids_and_mask(ours: Tokenizer, auto: Any, messages: list[tuple[str, Any]]) -> None:
    listed = [{"role": role, "content": content} for role, content in messages]
    conversation = Conversation.from_dict({"messages": listed})
    ids, mask = render(ours, conversation)
    found = auto.apply_chat_template(listed, return_dict=True, return_assistant_tokens_mask=True)
    assert found["input_ids"] == ids
    assert found["assistant_masks"] == mask
    if listed[-1]["role"] == "user":
        prompt = auto.apply_chat_template(listed, add_generation_prompt=True)["input_ids"]
        assert prompt == render_for_completion(ours, conversation)


@given(st.lists(st.sampled_from(SPECIAL_TOKENS) | st.text(max_size=5), max_size=6).map("".join))
def test_no_message_makes_a_special_token(ours: Tokenizer, auto: Any, text: str) -> None:
    listed = [{"role": "user", "content": text}, {"role": "assistant", "content": text}]
    ids, _ = render(ours, Conversation.from_dict({"messages": listed}))
    assert auto.apply_chat_template(listed)["input_ids"] == ids


def test_roles_out_of_turn_are_refused(auto: Any) -> None:
    for roles in (["assistant"], ["user", "user"], ["user", "system"], ["user", "tool"]):
        with pytest.raises(Exception, match="must alternate"):
            auto.apply_chat_template([{"role": role, "content": "x"} for role in roles])


def test_the_mark_itself_cannot_forge_a_special_token(ours: Tokenizer, auto: Any) -> None:
    for text in (f"<{MARK}|bos|>", f"<|b{MARK}os|>", f"{MARK[0]}<|bos|>{MARK[1:]}"):
        ids = auto.apply_chat_template([{"role": "user", "content": text}])["input_ids"]
        assert sum(token >= ours.bos for token in ids) == 3


def test_a_tokenizer_of_others_has_no_chat_template() -> None:
    files = hugging_face_files(Tokenizer(BYTES.ranks(), PATTERN, ("<|bos|>", "<|é'|>")))
    assert "chat_template.jinja" not in files
    assert json.loads(files["tokenizer_config.json"])["eos_token"] == "<|bos|>"


# tiktoken


def test_the_readme_loads_the_ranks(made: dict[str, Tokenizer], tmp_path: Path) -> None:
    ours = made["gpt4"]
    write_files(tmp_path, tiktoken_files(ours))
    snippet = re.search(r"```python\n(.*?)```", (tmp_path / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert snippet
    namespace: dict[str, Any] = {}
    code = snippet[1].replace("print(", "result = (")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(code, namespace)
    assert namespace["result"] == ours.encode("Hello world")
    encoding = namespace["encoding"]
    assert encoding.n_vocab == ours.vocab_size
    for text in NASTY:
        assert encoding.encode_ordinary(text) == ours.encode(text)
        assert encoding.encode(text, allowed_special="all") is not None
    assert encoding.encode_single_token("<|bos|>") == ours.bos


# folders


def test_our_own_tokenizers_are_never_overwritten(ours: Tokenizer, tmp_path: Path) -> None:
    ours.save(tmp_path)
    for files in (hugging_face_files(ours), tiktoken_files(ours)):
        with pytest.raises(UsageError, match="holds a tokenizer"):
            check_folder(tmp_path, files)


def test_files_of_another_content_are_named(ours: Tokenizer, tmp_path: Path) -> None:
    files = tiktoken_files(ours)
    assert check_folder(tmp_path / "new", files) == []
    write_files(tmp_path, files)
    assert check_folder(tmp_path, files) == []
    (tmp_path / "README.md").write_text("mine")
    assert check_folder(tmp_path, files) == ["README.md"]


def test_the_exporter_needs_no_library_of_others() -> None:
    code = """
import sys
from nanochat.tokenizer.export import FORMATS
from nanochat.tokenizer.tokenizer import Tokenizer
tokenizer = Tokenizer({bytes([byte]): byte for byte in range(256)})
for write in FORMATS.values():
    write(tokenizer)
assert not {"tokenizers", "transformers", "jinja2", "torch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
