"""Our models in EleutherAI's `lm_eval`, with all of its tasks.

    python -m nanochat.evaluation.harness run --model nanochat --model_args model=d12:base --tasks arc_easy

is `lm_eval run` with one more model. That command has no plugins: whoever calls lm_eval from Python imports this
module, and "nanochat" is a model from then on. `model_args`: model (a selector), base_dir, device, dtype, tokens (of
a pass). Importing this module needs the extra `eval`.

Requests that begin with the same text, as the choices of a question do, are scored as one tree. Left out: several
processes, and chat templates.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import lm_eval.models  # noqa: F401  first: the registry lists lm_eval's own models only when it is empty
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from nanochat.config.chat import SamplingConfig
from nanochat.engine.engine import Engine
from nanochat.errors import NanochatError
from nanochat.evaluation.core.questions import Question, Row
from nanochat.evaluation.core.tree import TreeScorer
from nanochat.evaluation.load import load_model
from nanochat.runtime.devices import open_context, pick_device
from nanochat.runtime.paths import resolve_paths

_LOG = logging.getLogger("lm_eval.nanochat")  # below lm_eval's own, so that it is shown with it
Request: TypeAlias = tuple[tuple[str, str], list[int], list[int]]
MAX_NEW_TOKENS = 256  # lm_eval's own default
MOST_TOGETHER = 16  # continuations of one context that are read in one tree: its mask grows with their square


@register_model("nanochat")
class NanochatLM(TemplateLM):
    """A trained model; see `lm_eval.api.model.LM`.

    Args:
        model: a selector; None is the newest.
        base_dir: where models are; None is the user's own folder.
        device: auto, cpu, cuda or mps; lm_eval's cuda:0 is cuda.
        dtype: auto, float32, bfloat16 or float16; auto is float32 on a CPU.
        tokens: of a pass; None chooses.
        **others: what lm_eval hands to every model (batch_size and the like); not used.
    """

    def __init__(
        self,
        model: str | None = None,
        base_dir: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        tokens: int | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        place = (device or "auto").partition(":")[0]
        if place == "cuda" and not torch.cuda.is_available():
            place = "auto"  # lm_eval says cuda:0 also where nobody has asked for it
        if dtype == "auto" and pick_device(place) == "cpu":
            dtype = "float32"
        context, _ = open_context(resolve_paths(base_dir, os.environ), device=place, dtype=dtype, compile="off")
        number = getattr(torch, context.dtype)
        network, checkpoint = load_model(context.paths, model, context.device, number, _LOG.warning)
        self.nanochat_tokenizer = checkpoint.tokenizer
        self._scorer = TreeScorer(network, tokens)
        self._engine = Engine(network, checkpoint.tokenizer)
        self._device = network.device

    @property
    def eot_token_id(self) -> int:
        """The bos: it also ends a text."""
        return self.nanochat_tokenizer.bos

    @property
    def max_length(self) -> int:
        """Tokens of the context it was trained with."""
        return self._engine.context

    @property
    def tokenizer_name(self) -> str:
        """Stands for the vocabulary in lm_eval's caches."""
        return self.nanochat_tokenizer.fingerprint

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text, without a bos: every row gets one."""
        return self.nanochat_tokenizer.encode(string)

    def _loglikelihood_tokens(self, requests: list[Request], **kwargs: Any) -> list[tuple[float, bool]]:
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, (_, context, _) in enumerate(requests):
            groups.setdefault(tuple(context), []).append(number)
        parts = [  # tasks without a context put all of theirs behind the same one
            (context, numbers[at : at + MOST_TOGETHER])
            for context, numbers in groups.items()
            for at in range(0, len(numbers), MOST_TOGETHER)
        ]
        questions = [
            Question(tuple(self._row(list(context), requests[number][2]) for number in numbers))
            for context, numbers in parts
        ]
        return self._score(questions, [numbers for _, numbers in parts])

    def loglikelihood_rolling(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[float]:
        """Whole texts, in windows of the context."""
        result = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.eot_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            questions = [Question((self._row(*make_disjoint_window(window)),)) for window in windows]
            result.append(sum(nats for nats, _ in self._score(questions, [[n] for n in range(len(questions))])))
        return result

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers that end before any of the texts in `until`; what does not fit loses its beginning."""
        answers = []
        for request in requests:
            text, settings = request.args
            until = settings.get("until") or []
            length = int(settings.get("max_gen_toks") or settings.get("max_tokens") or MAX_NEW_TOKENS)
            length = min(length, self.max_length // 2)
            sampled = bool(settings.get("do_sample")) and float(settings.get("temperature") or 0) > 0
            sampling = SamplingConfig(
                temperature=float(settings["temperature"]) if sampled else 0.0,
                top_k=None,
                max_new_tokens=length,
                stop=tuple(word for word in ([until] if isinstance(until, str) else until) if word),
            )
            ids = self.tok_encode(text)[-(self.max_length - length - 1) :]
            (completion,) = self._engine.generate_batch([[self.eot_token_id, *ids]], sampling)
            answers.append(completion.text)
        return answers

    def _row(self, context: list[int], continuation: list[int]) -> Row:
        bos = self.eot_token_id
        if context[:1] != [bos]:
            context = [bos, *context]
        return Row(context + continuation, len(context))

    def _score(self, questions: list[Question], numbers: list[list[int]]) -> list[tuple[float, bool]]:
        """Log-probability and greediness of each row, under the numbers of the rows of each question."""
        result = [(0.0, False)] * sum(map(len, numbers))
        for batch in self._scorer.passes(questions):
            for at, scores in zip(batch, self._scorer.score([questions[at] for at in batch]), strict=True):
                for number, scored in zip(numbers[at], scores, strict=True):
                    result[number] = (-scored.nats, scored.greedy)
        return result


def main() -> None:
    """`lm_eval`, with our model among its own."""
    from lm_eval.__main__ import cli_evaluate

    try:
        cli_evaluate()
    except NanochatError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
