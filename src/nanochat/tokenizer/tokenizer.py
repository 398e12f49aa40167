"""A vocabulary: encode, decode, save, load.

Ids are the mergeable ranks (bytes first, then merges), then the special tokens. The encoder is ours, in Rust
(`crates/rustbpe`); its ids are tiktoken's for every text. It knows the ranks alone, so no text can become a special
token. A saved tokenizer is a folder of two files, neither of which can run code when read:

    ranks.tiktoken    one token a line: base64 of its bytes, a space, its id
    tokenizer.json    format version, pattern, special tokens, SHA-256 of ranks.tiktoken, fingerprint

Not here: other formats (pickles of older systems, Hugging Face) and the layout of conversations (`render`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from nanochat._rustbpe import BpeEncoder
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.files import atomic_write_bytes, atomic_write_json, translate_os_errors
from nanochat.tokenizer.special import BOS, PATTERN, SPECIAL_TOKENS

if TYPE_CHECKING:  # to train a tokenizer needs no numpy, and its import takes a tenth of a second
    import numpy as np
    import numpy.typing as npt

    Buffer: TypeAlias = npt.NDArray[np.integer] | memoryview | bytes
    Ids: TypeAlias = npt.NDArray[np.uint32]
    Offsets: TypeAlias = npt.NDArray[np.int64]

RANKS_FILE = "ranks.tiktoken"
HEADER_FILE = "tokenizer.json"
FORMAT_VERSION = 1


class Tokenizer:
    """Text to ids and back.

    Args:
        ranks: id of every token by its bytes: exactly 0 to n-1, all 256 single bytes among them.
        pattern: the regular expression that cuts text into chunks.
        special_tokens: names, in the order of their ids n, n+1, ...

    Raises:
        ValueError: ranks with gaps, a missing byte, doubled special tokens, an invalid pattern.
    """

    def __init__(
        self,
        ranks: Mapping[bytes, int],
        pattern: str = PATTERN,
        special_tokens: Sequence[str] = SPECIAL_TOKENS,
    ) -> None:
        if sorted(ranks.values()) != list(range(len(ranks))):
            raise ValueError("the ids of the tokens must be 0 to n-1 without gaps")
        if not all(bytes([byte]) in ranks for byte in range(256)):
            raise ValueError("every single byte must be a token")
        if len(set(special_tokens)) != len(special_tokens) or BOS not in special_tokens:
            raise ValueError(f"the special tokens must differ and hold {BOS}")
        self.pattern = pattern
        self.special_tokens = tuple(special_tokens)
        self._ranks = dict(ranks)
        self._special = {name: len(ranks) + index for index, name in enumerate(special_tokens)}
        tokens = sorted(self._ranks, key=self._ranks.__getitem__)
        self._encoder = BpeEncoder(tokens, pattern, names=[name.encode() for name in special_tokens])
        self.vocab_size = len(ranks) + len(special_tokens)
        self.bos = self._special[BOS]
        self.fingerprint = _fingerprint(_ranks_file(self._ranks), pattern, self.special_tokens)
        """Hexadecimal SHA-256 of ranks, pattern and special tokens: equal means equal ids for every text."""

    def special(self, name: str) -> int:
        """The id of a special token, by its name as in `special.SPECIAL_TOKENS`.

        Raises:
            UsageError: this tokenizer has no such token.
        """
        try:
            return self._special[name]
        except KeyError:
            raise UsageError(
                f"this tokenizer has no special token {name}", f"it has {' '.join(self.special_tokens)}"
            ) from None

    def encode(self, text: str) -> list[int]:
        """Ids of a text, never special ones. Lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
        try:
            return self._encoder.encode(text)
        except UnicodeEncodeError:
            return self._encoder.encode(_without_surrogates(text))

    def encode_batch(self, texts: Iterable[str], num_threads: int = 0) -> list[list[int]]:
        """`encode` of many texts on `num_threads` threads, 0 meaning one per core, in the same order."""
        ids, offsets = self.encode_arrays(texts, num_threads)
        bounds = offsets.tolist()
        return [ids[start:end].tolist() for start, end in itertools.pairwise(bounds)]

    def encode_arrays(self, texts: Iterable[str], num_threads: int = 0) -> tuple[Ids, Offsets]:
        """`encode` of many texts, without a Python object per id.

        Args:
            texts: any number of them.
            num_threads: 0 means one per core. The ids do not depend on it.

        Returns:
            ids: uint32, those of all texts in a row.
            offsets: int64, one more than texts: those of text i are `ids[offsets[i]:offsets[i + 1]]`.
        """
        texts = list(texts)
        try:
            return _arrays(*self._encoder.encode_batch(texts, num_threads))
        except UnicodeEncodeError:
            return _arrays(*self._encoder.encode_batch([_without_surrogates(text) for text in texts], num_threads))

    def encode_column(self, data: Buffer, offsets: Buffer, num_threads: int = 0) -> tuple[Ids, Offsets]:
        """`encode_arrays` of texts as Arrow keeps them, without a Python object per text.

        Args:
            data: uint8, the UTF-8 bytes of all texts.
            offsets: int32 or int64, where each text begins in `data`, and where the last one ends.
            num_threads: 0 means one per core.

        Raises:
            ValueError: a text that is not UTF-8, by its number, or offsets that do not fit the data.
        """
        return _arrays(*self._encoder.encode_column(data, offsets, num_threads))

    def decode_bytes(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> bytes:
        """The bytes of the tokens, joined; a special token gives its name.

        Raises:
            UsageError: an id that is not in the vocabulary.
        """
        try:
            return self._encoder.decode(ids)
        except (ValueError, OverflowError):
            wrong = next((token for token in ids if not 0 <= token < self.vocab_size), ids)
            raise UsageError(
                f"token id {wrong} is not in the vocabulary (0 to {self.vocab_size - 1})",
                "were these ids made by another tokenizer?",
            ) from None

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """The text of the ids. Bytes that are not UTF-8 (a character cut in two) become U+FFFD."""
        return self.decode_bytes(ids).decode(errors="replace")

    def token_bytes(self) -> list[int]:
        """The length in bytes of every token by id, 0 for special ones. Length `vocab_size`."""
        lengths = [0] * self.vocab_size
        for token, rank in self._ranks.items():
            lengths[rank] = len(token)
        return lengths

    def ranks(self) -> dict[bytes, int]:
        """The id of every token by its bytes, special ones excluded. A copy."""
        return dict(self._ranks)

    def save(self, folder: Path) -> None:
        """Write the two files into a folder, which is made when it is missing.

        Raises:
            StorageError: disk full, no permission and their like.
        """
        ranks = _ranks_file(self._ranks)
        atomic_write_bytes(folder / RANKS_FILE, ranks)
        header = {
            "format": FORMAT_VERSION,
            "pattern": self.pattern,
            "special_tokens": list(self.special_tokens),
            "vocab_size": self.vocab_size,
            "ranks_sha256": hashlib.sha256(ranks).hexdigest(),
            "fingerprint": self.fingerprint,
        }
        atomic_write_json(folder / HEADER_FILE, header)

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read what `save` wrote and check every byte of it.

        Raises:
            MissingError: there is no tokenizer in the folder.
            DamagedError: a file is absent, altered or cut short; the message names it.
            UsageError: the folder is of a newer format.
            StorageError: a file cannot be read.
        """
        header_path, ranks_path = folder / HEADER_FILE, folder / RANKS_FILE
        header_bytes = _read(header_path)
        ranks_bytes = _read(ranks_path)
        if header_bytes is None and ranks_bytes is None:
            raise MissingError(f"there is no tokenizer in {folder}", "nanochat tokenizer train")
        if header_bytes is None or ranks_bytes is None:
            raise _damaged(header_path if header_bytes is None else ranks_path, "is missing")
        pattern, special_tokens, sha256, fingerprint = _parse_header(header_path, header_bytes)
        if hashlib.sha256(ranks_bytes).hexdigest() != sha256:
            raise _damaged(ranks_path, f"does not match the checksum in {HEADER_FILE}")
        if _fingerprint(ranks_bytes, pattern, special_tokens) != fingerprint:
            raise _damaged(header_path, "does not match its own fingerprint")
        try:
            return cls(_parse_ranks(ranks_bytes), pattern, special_tokens)
        except (ValueError, binascii.Error) as error:
            raise _damaged(ranks_path, f"is not a list of tokens ({error})") from error


def _ranks_file(ranks: Mapping[bytes, int]) -> bytes:
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ordered)


def _parse_ranks(data: bytes) -> dict[bytes, int]:
    ranks = {}
    for line in data.splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token, validate=True)] = int(rank)
    return ranks


def _arrays(ids: memoryview, offsets: memoryview) -> tuple[Ids, Offsets]:
    import numpy as np

    return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.int64)


def _without_surrogates(text: str) -> str:
    """Surrogates in pairs become the character they stand for, lone ones U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _fingerprint(ranks_file: bytes, pattern: str, special_tokens: Sequence[str]) -> str:
    settings = json.dumps([pattern, list(special_tokens)]).encode()
    return hashlib.sha256(settings + b"\n" + ranks_file).hexdigest()


def _read(path: Path) -> bytes | None:
    with translate_os_errors(path):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(
        f"{path} {what}", "copy the tokenizer folder again, or train a new one: nanochat tokenizer train"
    )


def _parse_header(path: Path, data: bytes) -> tuple[str, tuple[str, ...], str, str]:
    try:
        header = json.loads(data)
        version = int(header["format"])
        if version > FORMAT_VERSION:
            raise UsageError(
                f"{path} is of format {version}; this version reads up to {FORMAT_VERSION}",
                "upgrade nanochat",
            )
        pattern, special_tokens = header["pattern"], tuple(header["special_tokens"])
        if not all(isinstance(text, str) for text in (pattern, *special_tokens)):
            raise TypeError("the pattern and the special tokens must be strings")
        return pattern, special_tokens, header["ranks_sha256"], header["fingerprint"]
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(path, f"is not a tokenizer header ({error})") from error
