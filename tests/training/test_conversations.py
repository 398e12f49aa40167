"""Conversations in rows: at every length each row teaches something, epochs end, and a resume goes on exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from doubles import tiny_config, tiny_tokenizer

from nanochat.errors import UsageError
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.render import render
from nanochat.training.batches import Batch, Prepared, Share
from nanochat.training.conversations import ConversationPacker, Rendered, cropped, fixed_batches, rows_of

TOKENIZER = tiny_tokenizer()
TURN = TOKENIZER.special("<|user_start|>")
LENGTHS = (128, 512, 2048)


def talk(question: int, answer: int, turns: int = 1) -> Rendered:
    messages = [
        {"role": role, "content": letter * size}
        for _ in range(turns)
        for role, letter, size in (("user", "q", question), ("assistant", "a", answer))
    ]
    return render(TOKENIZER, Conversation.from_dict({"messages": messages}))


def question(size: int) -> Rendered:
    return render(TOKENIZER, Conversation.from_dict({"messages": [{"role": "user", "content": "q" * size}]}))


# short ones, ones longer than any row here, ones whose answer begins beyond the row, and one without an answer
TALKS = [
    *(talk(5 + number % 50, 3 + number * 7 % 90, 1 + number % 3) for number in range(60)),
    *(talk(20, 3000) for _ in range(5)),
    *(talk(150, 30) for _ in range(5)),
    *(talk(600, 30) for _ in range(5)),
    *(talk(4000, 30) for _ in range(5)),
    question(20),
]


def batches_of(talks: list[Rendered], length: int, **options: object) -> ConversationPacker:
    return ConversationPacker(
        talks.__getitem__,
        len(talks),
        length,
        pad=TOKENIZER.bos,
        turn=TURN,
        **{"buffer": 10, **options},  # type: ignore[arg-type]
    )


def loss_of(batch: Batch) -> float:
    model = init_weights(GPT(tiny_config(sequence_len=batch.ids.size(1))), 0)
    with torch.no_grad():
        return float(model(batch.ids, batch.targets))


def check_an_epoch(talks: list[Rendered], length: int) -> ConversationPacker:
    """Read one epoch row by row."""
    source = batches_of(talks, length)
    rows = 0
    while source.epoch < 1:
        batch = source.step(1)
        assert batch.ids.shape == batch.targets.shape == (1, length)
        assert batch.supervised > 0
        counts = batch.targets >= 0
        assert torch.equal(batch.targets[:, :-1][counts[:, :-1]], batch.ids[:, 1:][counts[:, :-1]])
        rows += 1
        assert rows <= len(talks)
    assert source.counts.packed + source.counts.dropped >= len(talks)
    return source


@pytest.mark.parametrize("length", LENGTHS)
def test_an_epoch_ends_and_every_row_has_a_target(length: int) -> None:
    check_an_epoch(TALKS, length)


@pytest.mark.parametrize(("length", "long"), [(128, 48), (512, 15), (2048, 10)])
def test_cropped_and_dropped_are_counted(length: int, long: int) -> None:
    read: list[int] = []

    def reading(index: int) -> Rendered:
        read.append(index)
        return TALKS[index]

    source = ConversationPacker(reading, len(TALKS), length, pad=TOKENIZER.bos, turn=TURN, buffer=10)
    while source.epoch < 2:
        source.step(1)
    longer = {index for index, (ids, _) in enumerate(TALKS) if len(ids) > length + 1}
    assert len(longer) == long
    assert source.counts.dropped == read.count(len(TALKS) - 1) > 0
    assert source.counts.cropped == sum(index in longer for index in read)
    assert source.counts.packed == len(read) - source.counts.dropped


def text(ids: list[int]) -> str:
    return TOKENIZER.decode([token for token in ids if token < 256])


def messages(*texts: str) -> Rendered:
    roles = ("user", "assistant")
    turns = [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]
    return render(TOKENIZER, Conversation.from_dict({"messages": turns}))


class TestCropped:
    def test_a_short_one_stays_as_it_is(self) -> None:
        whole = talk(5, 5)
        assert cropped(whole, len(whole[0]), TURN) == whole

    def test_the_part_with_most_answers_is_taken_and_begins_with_a_question(self) -> None:
        whole = messages("a" * 30, "b" * 5, "c" * 5, "d" * 10, "e" * 5, "f" * 12, "g" * 40, "h" * 3)
        ids, mask = cropped(whole, 40, TURN) or ([], [])
        assert (len(ids), ids[:2]) == (40, [TOKENIZER.bos, TURN])
        assert text(ids) == "ccccc" + "d" * 10 + "eeeee" + "f" * 12
        assert sum(mask) == 10 + 1 + 12  # letters, and the end of the first answer

    def test_of_equals_the_first_is_taken(self) -> None:
        whole = messages(*("q" * 5, "a" * 5) * 9)
        ids, mask = cropped(whole, 60, TURN) or ([], [])
        assert (ids, mask) == (whole[0][:60], whole[1][:60])

    @pytest.mark.parametrize("answer", [3, 500])
    def test_an_answer_far_behind_its_question_keeps_the_end_of_it(self, answer: int) -> None:
        whole = messages("q" * 300 + "zz", "a" * answer)
        ids, mask = cropped(whole, 64, TURN) or ([], [])
        kept = min(answer, 32)
        assert (len(ids), ids[:2], mask[:2]) == (64, [TOKENIZER.bos, TURN], [0, 0])
        assert text(ids).lstrip("q") == "zz" + "a" * kept
        assert sum(mask) == (kept + 1 if answer == 3 else 32)
        assert all(m == 0 or token in whole[0][304:] for token, m in zip(ids, mask, strict=True))

    def test_where_all_is_trained_it_is_the_beginning(self) -> None:
        ids, _ = talk(300, 30)
        everything = cropped((ids, [1] * len(ids)), 64, TURN)
        assert everything == (ids[:64], [1] * 64)

    def test_nothing_to_train(self) -> None:
        assert cropped(question(10), 64, TURN) is None
        assert cropped(question(1000), 64, TURN) is None


@pytest.mark.parametrize("length", LENGTHS)
def test_the_rows_of_an_epoch(length: int) -> None:
    source = batches_of(TALKS, length, buffer=100)
    rows = 0
    while source.epoch < 8:
        source.step(1)
        rows += 1
    waiting = sum(len(TALKS[index][0]) for index in source.snapshot().buffer) / (length + 1)
    assert rows_of(TALKS, length, TURN) == pytest.approx((rows + waiting) / 8, rel=0.1)
    assert rows_of([], length, TURN) == 0


def test_a_conversation_that_just_fits_is_not_cropped() -> None:
    fits = talk(5, 5)
    source = batches_of([fits], len(fits[0]) - 1)
    source.step(1)
    assert source.counts.packed >= 1
    assert source.counts.cropped == 0


@pytest.mark.parametrize("length", LENGTHS)
def test_losses_are_finite(length: int) -> None:
    source = batches_of(TALKS, length)
    for _ in range(2):
        assert loss_of(source.step(2)) == pytest.approx(math.log(TOKENIZER.vocab_size), rel=0.1)


def test_rows_hold_whole_conversations_then_padding() -> None:
    batch = batches_of([talk(5, 4), talk(6, 7)], 128).step(4)
    for ids, targets in zip(batch.ids.tolist(), batch.targets.tolist(), strict=True):
        ends = [at for at, token in enumerate(ids) if token == TOKENIZER.special("<|assistant_end|>")]
        padding = ids[ends[-1] + 1 :]
        assert set(padding) <= {TOKENIZER.bos}
        assert all(target == -1 for target in targets[ends[-1] :])
        assert ids.count(TOKENIZER.special("<|user_start|>")) == len(ends)


def test_only_the_mask_is_trained_and_no_conversation_predicts_the_next() -> None:
    one = talk(3, 2)
    batch = batches_of([one], 3 * len(one[0]) - 1).step(1)
    expected: list[int] = []
    for _ in range(3):
        expected += [-1, *(token if m else -1 for token, m in zip(one[0][1:], one[1][1:], strict=True))]
    assert batch.targets[0].tolist() == expected[1:]
    everything = (one[0], [1] * len(one[0]))
    batch = batches_of([everything], 2 * len(one[0]) - 1).step(1)
    assert (batch.targets[0] == -1).nonzero().flatten().tolist() == [len(one[0]) - 1]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("cut", [1, 3, 11])
def test_resume_gives_exactly_the_next_rows(length: int, cut: int) -> None:
    whole = batches_of(TALKS, length)
    first = Prepared(batches_of(TALKS, length))  # which has packed the next step already
    for _ in range(cut):
        whole.step(2)
        first.step(2)
    state = json.loads(json.dumps(first.state()))
    assert state == whole.snapshot().state()
    second = Prepared(batches_of(TALKS, length, state=state))
    assert second.state() == state
    for _ in range(15):
        a, b = whole.step(2), second.step(2)
        assert torch.equal(a.ids, b.ids)
        assert torch.equal(a.targets, b.targets)
    assert whole.snapshot().state() == second.state()


def test_what_packing_raises_is_raised_by_the_step() -> None:
    with pytest.raises(UsageError, match="no conversation has anything to train on"):
        Prepared(batches_of([question(30)] * 5, 128)).step(1)


def test_nothing_to_train_on_is_an_error_and_not_a_loop() -> None:
    with pytest.raises(UsageError, match="no conversation has anything to train on"):
        batches_of([question(30)] * 5, 128).step(1)


@pytest.mark.parametrize("length", LENGTHS)
def test_validation_holds_every_conversation_once(length: int) -> None:
    batches = fixed_batches(TALKS, length, 4, pad=TOKENIZER.bos, turn=TURN)
    assert all(batch.ids.size(0) == 4 for batch in batches[:-1])
    assert all((batch.targets >= 0).any(dim=1).all() for batch in batches)
    fitted = [cropped(talk, length + 1, TURN) for talk in TALKS]
    assert sum(batch.supervised for batch in batches) == sum(sum(talk[1][1:]) for talk in fitted if talk)
    assert fixed_batches([], length, 4, pad=TOKENIZER.bos, turn=TURN) == []


@pytest.fixture(scope="module")
def real_talks(test_data: Path) -> list[Rendered]:
    path = test_data / "data/task_data/HuggingFaceTB--smol-smoltalk/default/test/00000.parquet"
    column = pq.read_table(path, columns=["messages"]).column("messages").to_pylist()
    return [render(TOKENIZER, Conversation.from_dict({"messages": messages})) for messages in column[:300]]


@pytest.mark.parametrize("length", LENGTHS)
def test_real_conversations(real_talks: list[Rendered], length: int) -> None:
    source = check_an_epoch(real_talks, length)
    longer = sum(len(ids) > length + 1 for ids, _ in real_talks)
    assert source.counts.cropped >= longer
    assert source.counts.dropped == 0
    assert math.isfinite(loss_of(source.step(1)))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_the_rows_of_a_step_and_know_all_its_targets(world_size: int) -> None:
    alone = batches_of(TALKS, 128)
    ranks = [batches_of(TALKS, 128, share=Share(rank, world_size)) for rank in range(world_size)]
    for _ in range(6):
        whole, parts = alone.step(8), [rank.step(8) for rank in ranks]
        assert torch.equal(torch.cat([part.ids for part in parts]), whole.ids)
        assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
        assert {part.supervised for part in parts} == {int((whole.targets >= 0).sum())}
        assert {part.origin for part in parts} == {whole.origin}
        assert all(rank.snapshot() == alone.snapshot() for rank in ranks)


def test_a_batch_names_its_conversations() -> None:
    batch = batches_of(TALKS[:3], 2048).step(1)
    assert set(batch.places) <= {0, 1, 2}
    assert batch.origin.startswith(f"conversation {batch.places[0] + 1}")
