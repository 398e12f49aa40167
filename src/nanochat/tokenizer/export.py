"""A tokenizer in the formats of others: Hugging Face and tiktoken. No library of theirs is needed to write them.

    hf        tokenizer.json, tokenizer_config.json, special_tokens_map.json, chat_template.jinja
    tiktoken  ranks.tiktoken, encoding.json, README.md with the lines of Python that load them

Ids are equal for every text. Their readers do turn the name of a special token in a text into that token;
`tokenizer(text, split_special_tokens=True)` of transformers, and `tokenizer.encode_special_tokens = True` of
tokenizers, read text as text, as ours always does. The chat template needs neither: names in a message are
broken with a mark that the normalizer takes out again, after special tokens have been looked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nanochat.errors import UsageError
from nanochat.runtime.files import atomic_write_bytes, translate_os_errors
from nanochat.tokenizer.oniguruma import to_oniguruma
from nanochat.tokenizer.special import ASSISTANT_END, BOS, PATTERN, SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import HEADER_FILE, RANKS_FILE, Tokenizer

MARK = "\ufdd1\ufdd0\ufdd1"
"""Breaks a special token's name in a message. Noncharacters, which no text is meant to hold."""

# These leave no character out, so that the usual way to split will do.
_COMPLETE = (PATTERN, PATTERN.replace("{1,2}", "{1,3}"))

_UNLIMITED = int(1e30)  # transformers' own word for "no limit"

_TEMPLATE = """\
{%- set mark = 'MARK' -%}
{%- set specials = SPECIALS -%}
{%- macro plain(text) -%}
{%- set ns = namespace(text=text) -%}
{%- for name in specials -%}
{%- set ns.text = ns.text | replace(name, name[0] ~ mark ~ name[1:]) -%}
{%- endfor -%}
{{- ns.text -}}
{%- endmacro -%}
{%- macro content(message) -%}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{{- part.text -}}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- set ns = namespace(system='', turns=messages) -%}
{%- if messages[0].role == 'system' -%}
{%- set ns.system = content(messages[0]) ~ '\\n\\n' -%}
{%- set ns.turns = messages[1:] -%}
{%- endif -%}
{{- '<|bos|>' -}}
{%- for message in ns.turns -%}
{%- if message.role != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}
{{- raise_exception('user and assistant must alternate, the user first') -}}
{%- endif -%}
{%- if message.role == 'user' -%}
{{- '<|user_start|>' ~ plain((ns.system if loop.first else '') ~ content(message)) ~ '<|user_end|>' -}}
{%- else -%}
{{- '<|assistant_start|>' -}}
{%- if message.content is string -%}
{%- generation -%}
{{- plain(message.content) ~ '<|assistant_end|>' -}}
{%- endgeneration -%}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'python' -%}
{%- generation -%}
{{- '<|python_start|>' ~ plain(part.text) ~ '<|python_end|>' -}}
{%- endgeneration -%}
{%- elif part.type in ('python_output', 'output') -%}
{{- '<|output_start|>' ~ plain(part.text) ~ '<|output_end|>' -}}
{%- else -%}
{%- generation -%}
{{- plain(part.text) -}}
{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
{%- generation -%}
{{- '<|assistant_end|>' -}}
{%- endgeneration -%}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|assistant_start|>' -}}
{%- endif -%}
"""

_README = """\
# A tokenizer for tiktoken

{vocab_size} ids: {n_ranks} tokens of bytes in `{ranks}`, then the special tokens of `encoding.json`, which also
holds the split pattern and the SHA-256 of the ranks. In this folder:

```python
import base64, json
import tiktoken

with open("encoding.json", encoding="utf-8") as file:
    settings = json.load(file)
with open(settings["ranks"], encoding="ascii") as file:
    ranks = {{base64.b64decode(token): int(rank) for token, rank in map(str.split, file)}}
encoding = tiktoken.Encoding(
    name=settings["name"],
    pat_str=settings["pat_str"],
    mergeable_ranks=ranks,
    special_tokens=settings["special_tokens"],
    explicit_n_vocab=settings["explicit_n_vocab"],
)
print(encoding.encode_ordinary("Hello world"))
```

`encode_ordinary` never makes a special token of a text.
"""


def hugging_face_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """The files that `transformers.AutoTokenizer.from_pretrained(folder)` reads, by name.

    There is a chat template when the tokenizer has our nine special tokens.

    Raises:
        UsageError: the split pattern cannot be said in Oniguruma.
    """
    eos = ASSISTANT_END if ASSISTANT_END in tokenizer.special_tokens else BOS
    others = [name for name in tokenizer.special_tokens if name not in (BOS, eos)]
    # Padding is bos, which no row has as its target, not eos, whose loss collators would then leave out.
    named = {"bos_token": BOS, "eos_token": eos, "pad_token": BOS, "additional_special_tokens": others}
    added = _added_tokens(tokenizer)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **named,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": _UNLIMITED,
        "added_tokens_decoder": {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in added
        },
    }
    files = {
        "tokenizer.json": _json(_fast_tokenizer(tokenizer, added)),
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(named),
    }
    if set(SPECIAL_TOKENS) <= set(tokenizer.special_tokens):
        files["chat_template.jinja"] = chat_template(tokenizer).encode()
    return files


def chat_template(tokenizer: Tokenizer) -> str:
    """A Jinja template whose ids are those of `render.render`, its `generation` blocks the loss mask.

    One difference is left: where two text parts of one assistant message follow each other, `render` keeps
    their tokens apart, while the template joins them.
    """
    specials = "[" + ", ".join(_jinja(name) for name in tokenizer.special_tokens) + "]"
    mark = MARK.encode("unicode-escape").decode("ascii")
    return _TEMPLATE.replace("MARK", mark).replace("SPECIALS", specials)


def tiktoken_files(tokenizer: Tokenizer) -> dict[str, bytes]:
    """The ranks as tiktoken's own files have them, the settings beside them, and how to load both."""
    ordered = sorted(tokenizer.ranks().items(), key=lambda item: item[1])
    ranks = b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ordered)
    settings = {
        "name": "nanochat",
        "pat_str": tokenizer.pattern,
        "special_tokens": {name: tokenizer.special(name) for name in tokenizer.special_tokens},
        "explicit_n_vocab": tokenizer.vocab_size,
        "ranks": RANKS_FILE,
        "ranks_sha256": hashlib.sha256(ranks).hexdigest(),
    }
    readme = _README.format(vocab_size=tokenizer.vocab_size, n_ranks=len(ordered), ranks=RANKS_FILE)
    return {RANKS_FILE: ranks, "encoding.json": _json(settings), "README.md": readme.encode()}


FORMATS: dict[str, Callable[[Tokenizer], dict[str, bytes]]] = {"hf": hugging_face_files, "tiktoken": tiktoken_files}
"""By name: from a tokenizer to the content of each file."""


def check_folder(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """The names among `files` that are in the folder already with another content.

    Raises:
        UsageError: the folder holds a tokenizer of ours, which the export would destroy.
        StorageError: it cannot be read.
    """
    with translate_os_errors(folder):
        if (folder / HEADER_FILE).is_file() and b'"ranks_sha256"' in (folder / HEADER_FILE).read_bytes():
            raise UsageError(f"{folder} holds a tokenizer that models start from", "give another folder to --output")
        there = [name for name in files if (folder / name).exists()]
        return [name for name in there if (folder / name).read_bytes() != files[name]]


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into a folder, which is made when it is missing; each is whole or absent.

    Raises:
        StorageError: disk full, no permission and their like.
    """
    for name, data in files.items():
        atomic_write_bytes(folder / name, data)


def merges_of(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The two tokens that each longer token was merged from, in the order of ids.

    A token that lower ones cannot be merged to is left out: it can only be a chunk by itself.
    """
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            parts = _merge(token, ranks, rank)
            if len(parts) == 2:
                merges.append((parts[0], parts[1]))
    return merges


def _merge(token: bytes, ranks: Mapping[bytes, int], below: int) -> list[bytes]:
    """The bytes of a token merged as in encoding, by tokens of lower rank only."""
    parts = [token[at : at + 1] for at in range(len(token))]
    while len(parts) > 1:
        best, at = min((ranks.get(parts[i] + parts[i + 1], below), i) for i in range(len(parts) - 1))
        if best >= below:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _fast_tokenizer(tokenizer: Tokenizer, added: list[dict[str, Any]]) -> dict[str, Any]:
    ranks = tokenizer.ranks()
    spelling = _byte_spelling()

    def spell(token: bytes) -> str:
        return "".join(map(spelling.__getitem__, token))

    merges = merges_of(ranks)
    split = {
        "type": "Split",
        "pattern": {"Regex": tokenizer.pattern},
        "behavior": "Isolated",
        "invert": False,
    }
    if tokenizer.pattern not in _COMPLETE:  # what matches nothing has no tokens, in ours and in tiktoken
        split |= {"pattern": {"Regex": to_oniguruma(tokenizer.pattern)}, "behavior": "Removed", "invert": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": MARK}, "content": ""},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            # a chunk that is a token is that token, even when no merges lead to it
            "ignore_merges": len(merges) < len(ranks) - 256,
            "vocab": {spell(token): rank for token, rank in sorted(ranks.items(), key=lambda item: item[1])},
            "merges": [f"{spell(left)} {spell(right)}" for left, right in merges],
        },
    }


def _added_tokens(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    return [
        {
            "id": tokenizer.special(name),
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for name in tokenizer.special_tokens
    ]


def _byte_spelling() -> list[str]:
    """The character that stands for each byte: itself where it can be seen, else one from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) if byte in seen else chr(0x100 + unseen.index(byte)) for byte in range(256)]


def _jinja(text: str) -> str:
    """A string literal of Jinja."""
    return "'" + text.encode("unicode-escape").decode("ascii").replace("'", "\\'") + "'"


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
