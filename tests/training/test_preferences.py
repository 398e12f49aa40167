"""Pairs as rows, and their loss against the formula written out slowly."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from doubles import random_model, tiny_tokenizer

from nanochat.tasks.pairs import Pair, pair_of
from nanochat.tokenizer.render import render, render_for_completion
from nanochat.training.batches import Prepared, Share
from nanochat.training.preferences import (
    PairPacker,
    RenderedPair,
    answer_logprobs,
    common_length,
    pair_batch,
    pair_logprobs,
    preference_loss,
    render_pair,
)

TOKENIZER = tiny_tokenizer()


def pair(question: str, chosen: str, rejected: str) -> Pair:
    return pair_of({"prompt": question, "chosen": chosen, "rejected": rejected})


def rendered(row_len: int = 65) -> list[RenderedPair]:
    pairs = [pair(f"Number {n}?", "yes" * (1 + n % 4), "no" * (1 + n % 3)) for n in range(7)]
    return [kept for one in pairs if (kept := render_pair(TOKENIZER, one, row_len)[0])]


def test_a_pair_that_fits_is_as_it_is_rendered() -> None:
    one = pair("What?", "This.", "That!!")
    kept, cut = render_pair(TOKENIZER, one, 65)
    assert kept is not None
    assert not cut
    assert kept.chosen.tolist() == render(TOKENIZER, one.chosen)[0]
    assert kept.rejected.tolist() == render(TOKENIZER, one.rejected)[0]
    assert kept.chosen[: kept.prompt].tolist() == render_for_completion(TOKENIZER, one.chosen)


def test_what_is_too_long_keeps_the_end_of_the_question_and_the_beginning_of_the_answers() -> None:
    kept, cut = render_pair(TOKENIZER, pair("q" * 100 + "zz", "yes" * 3, "no"), 64)
    assert kept is not None
    assert cut
    assert len(kept.chosen) == 64
    assert kept.chosen[:2].tolist() == [TOKENIZER.bos, TOKENIZER.special("<|user_start|>")]
    assert TOKENIZER.decode([i for i in kept.chosen.tolist() if i < 256]).lstrip("q") == "zzyesyesyes"
    kept, cut = render_pair(TOKENIZER, pair("Who?", "a" * 90, "b" * 5), 64)
    assert kept is not None
    assert cut
    assert (len(kept.chosen), len(kept.rejected)) == (64, kept.prompt + 6)
    same, cut = render_pair(TOKENIZER, pair("Who?", "a" * 90, "a" * 91), 64)
    assert same is None
    assert cut


def test_the_common_length_holds_all_and_no_more_than_it_must() -> None:
    pairs = rendered()
    longest = max(len(row) for one in pairs for row in (one.chosen, one.rejected)) - 1
    assert longest <= common_length(pairs, 256) < longest + 32
    assert common_length(pairs, 16) == 16


def test_a_batch_counts_pairs_and_only_answers_are_targets() -> None:
    pairs = rendered()
    batch = pair_batch(pairs, [3, 1], 64, TOKENIZER.bos, elsewhere=2)
    assert batch.supervised == 4
    assert batch.ids.shape == (2, 129)
    assert batch.ids[:, -1].tolist() == [3, 1]
    one = pairs[3]
    targets = batch.targets[0].view(2, 64)
    for row, side in zip((one.chosen, one.rejected), targets, strict=True):
        wanted = np.full(64, -1)
        wanted[one.prompt - 1 : len(row) - 1] = row[one.prompt :]
        assert side.tolist() == wanted.tolist()


def test_the_loss_is_that_of_the_paper() -> None:
    """Each answer alone, unpadded, token by token, in float64."""
    model, start = random_model("D", 0).double(), random_model("D", 1).double()
    for one in (model, start):
        one.compute_in(torch.float64)
    pairs = rendered()
    beta = 0.3

    @torch.no_grad()
    def slow(model: torch.nn.Module, row: np.ndarray, prompt: int) -> float:
        logits = model(torch.tensor(row[None, :-1].astype(np.int64)))[0].double()
        logprobs = logits.log_softmax(-1)
        return sum(float(logprobs[at - 1, row[at]]) for at in range(prompt, len(row)))

    expected = []
    for one in pairs:
        ratio = {
            name: slow(network, one.chosen, one.prompt) - slow(network, one.rejected, one.prompt)
            for name, network in (("policy", model), ("reference", start))
        }
        expected.append(-math.log(1 / (1 + math.exp(-beta * (ratio["policy"] - ratio["reference"])))))
    batch = pair_batch(pairs, range(len(pairs)), 64, TOKENIZER.bos)
    with torch.no_grad():
        (policy, chosen), (reference, _) = (
            pair_logprobs(answer_logprobs(network), batch.ids, batch.targets) for network in (model, start)
        )
    alone = [slow(model, one.chosen, one.prompt) / (len(one.chosen) - one.prompt) for one in pairs]
    assert chosen.tolist() == pytest.approx(alone, rel=1e-4)
    found = preference_loss(policy - reference, beta)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert preference_loss(torch.zeros(1), beta).item() == pytest.approx(math.log(2))


def packer(share: Share | None = None, state: dict[str, int] | None = None) -> PairPacker:
    return PairPacker(rendered(), 64, pad=TOKENIZER.bos, seed=5, state=state, share=share or Share())


def test_every_epoch_gives_every_pair_once_in_an_order_of_its_own() -> None:
    source = packer()
    numbers = [number for _ in range(7) for number in source.step(2).ids[:, -1].tolist()]
    assert sorted(numbers[:7]) == sorted(numbers[7:]) == list(range(7))
    assert numbers[:7] != numbers[7:]


def test_a_resume_gives_the_next_pairs() -> None:
    whole, first = packer(), Prepared(packer())
    for _ in range(3):
        whole.step(2)
        first.step(2)
    second = packer(state=json.loads(json.dumps(first.state())))
    for _ in range(4):
        assert torch.equal(whole.step(2).ids, second.step(2).ids)


def test_processes_share_the_pairs_of_a_step() -> None:
    alone, ranks = packer(), [packer(Share(rank, 2)) for rank in range(2)]
    for _ in range(4):
        whole, parts = alone.step(4), [rank.step(4) for rank in ranks]
        assert torch.equal(torch.cat([part.ids for part in parts]), whole.ids)
        assert {part.supervised for part in parts} == {whole.supervised} == {4}
