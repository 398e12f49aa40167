"""Any Hugging Face causal language model, scored as ours are.

The model is whatever `transformers` loads from an ID or a folder, in the library's own code only. Text is put as
for ours: the ids of the text without special tokens, behind the bos (or, where a tokenizer has none, the token that
ends a text).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.errors import MissingError, UsageError
from nanochat.evaluation.bpb import Tally

WINDOW = 2048  # tokens of text read at a time for bits per byte, where a model can read as many


class HuggingFaceModel:
    """A model and its tokenizer.

    Args:
        model: gives logits.
        tokenizer: of `transformers`.

    Attributes:
        bos: what stands before a text.
        longest: tokens it can read; None where positions are relative, and longer texts only go worse.
        device: where it computes.

    Raises:
        UsageError: the tokenizer has no token to begin a text with.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if bos is None:
            raise UsageError("the tokenizer has neither a bos nor an eos token", "choose another --hf model")
        self.bos = int(bos)
        limit = getattr(model.config, "max_position_embeddings", None)
        self.longest: int | None = limit if limit and _has_position_table(model) else None
        self.window = min(limit or WINDOW, WINDOW)
        self.device: torch.device = model.device

    @classmethod
    def load(cls, name: str, device: str, dtype: torch.dtype) -> HuggingFaceModel:
        """Read a model from a folder, or from the hub or its cache.

        Raises:
            MissingError: `transformers` is not installed, or there is no such model.
            UsageError: it cannot be read by the library's own code.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging
        except ImportError:
            raise MissingError("transformers is not installed", "pip install 'nanochat[hf]'") from None
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        folder = Path(name).expanduser()
        place = str(folder) if folder.is_dir() else name
        if folder.is_dir() and not (folder / "config.json").is_file():
            raise MissingError(f"there is no config.json in {folder}", "give the ID of a causal model, or its folder")
        try:
            tokenizer = AutoTokenizer.from_pretrained(place)
            model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            kind = MissingError if isinstance(error, OSError) else UsageError
            raise kind(f"{name} cannot be loaded: {reason}", "give the ID of a causal model, or its folder") from error
        return cls(model.to(torch.device(device)), tokenizer)  # type: ignore[arg-type]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens."""
        ids: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def logits(self, ids: Tensor, there: Tensor) -> Tensor:
        """See `core.scoring.Logits`."""
        result: Tensor = self._model(input_ids=ids, attention_mask=there, use_cache=False).logits
        return result

    @torch.inference_mode()
    def tallies(self, texts: Iterable[str]) -> Iterator[Tally]:
        """What each text costs, read in windows of which each begins with the last token of the one before."""
        for text in texts:
            row = [self.bos, *self.encode_batch([text])[0]]
            nats = 0.0
            for start in range(0, len(row) - 1, self.window):
                ids = torch.tensor([row[start : start + self.window + 1]], device=self.device)
                logits = self.logits(ids[:, :-1], torch.ones_like(ids[:, :-1]))[0]
                nats += float(F.cross_entropy(logits.float(), ids[0, 1:], reduction="sum"))
            yield Tally(nats, len(text.encode("utf-8", "replace")))

    @torch.inference_mode()
    def go_on(self, prompt: str, max_new_tokens: int) -> str:
        """The likeliest continuation of a prompt; where there are few positions, a shorter one."""
        row = [self.bos, *self.encode_batch([prompt])[0]]
        if self.longest is not None:
            max_new_tokens = min(max_new_tokens, self.longest // 2)
            row = row[-(self.longest - max_new_tokens) :]
        ids = torch.tensor([row], device=self.device)
        made = self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=self.bos,
        )
        text: str = self._tokenizer.decode(made[0, ids.size(1) :], skip_special_tokens=True)
        return text


def _has_position_table(model: nn.Module) -> bool:
    """Whether positions are rows of a table, so that there are no further ones."""
    return any(
        isinstance(module, nn.Embedding) and any(word in name for word in ("wpe", "position", "pos_emb"))
        for name, module in model.named_modules()
    )
