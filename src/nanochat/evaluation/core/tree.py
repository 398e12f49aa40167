"""The fast scorer: what the options of a question share is read once, whole batches of questions in one pass.

A question of four choices behind ten examples is one text of a thousand tokens that branches into four endings of
ten. All of it goes through the network as one row of tokens; only attention knows of branches: a token of an ending
sees the shared text and its own ending before it. Several questions of like length lie in the same row, without any
padding outside of attention. What cannot reach a score is not computed: the last token of an option, the beginning
of a text longer than all windows together, the last layer of tokens that predict nothing scored, and their logits.

Left out: text that two questions share. Each has examples of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.evaluation.core.questions import Question
from nanochat.evaluation.core.scoring import Scored
from nanochat.model.attention import attend
from nanochat.model.gpt import GPT
from nanochat.runtime.memory import give_back_cached, is_out_of_memory

PASS_TOKENS = {"cpu": 4096}  # more is no faster: activations leave the cache
GPU_PASS_TOKENS = 65_536
LOGITS_BYTES = 64 << 20  # at a time, in float32


class TreeScorer:
    """Scores questions with one of our models, which is left as it was.

    Args:
        model: in any compute dtype; its rotary tables are lengthened where a text needs it.
        tokens: of a pass; a question always fits. None chooses by the device. Halved when memory ends.
    """

    def __init__(self, model: GPT, tokens: int | None = None) -> None:
        self._model = model
        self._tokens = tokens or PASS_TOKENS.get(model.device.type, GPU_PASS_TOKENS)
        windows = [window for window in model.config.window_sizes() if window is not None]
        self._reach = sum(windows) if len(windows) == model.config.n_layer else None

    def passes(self, questions: Sequence[Question]) -> Iterator[list[int]]:
        """See `Scorer`."""
        sizes = [_Tree(question, self._reach).size for question in questions]
        batch: list[int] = []
        for number in sorted(range(len(questions)), key=lambda at: -sizes[at]):
            if batch and (len(batch) + 1) * sizes[batch[0]] > self._tokens:
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    def score(self, questions: Sequence[Question]) -> list[list[Scored]]:
        """See `Scorer`."""
        try:
            return self._score(questions)
        except (MemoryError, RuntimeError) as error:
            if len(questions) == 1 or not is_out_of_memory(error):
                raise
        give_back_cached(self._model.device.type)
        self._tokens = max(1, self._tokens // 2)
        half = len(questions) // 2
        return self.score(questions[:half]) + self.score(questions[half:])

    @torch.inference_mode()
    def _score(self, questions: Sequence[Question]) -> list[list[Scored]]:
        model = self._model
        forest = _Forest([_Tree(question, self._reach) for question in questions], model)
        with _long_enough(model, forest.longest):
            hidden = model.hidden(forest.ids, forest)[0]  # (M, C)
        losses, likeliest = self._logits(hidden[forest.places], forest.targets)
        result = []
        at = 0
        for question in questions:
            scores = []
            for row in question.rows:
                count = len(row.ids) - row.start
                nats = float(losses[at : at + count].sum(dtype=torch.float64))
                scores.append(Scored(nats=nats, tokens=count, greedy=bool(likeliest[at : at + count].all())))
                at += count
            result.append(scores)
        return result

    def _logits(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) nats of each target and whether it is the likeliest, on the CPU."""
        size = max(1, LOGITS_BYTES // (4 * self._model.config.vocab_size))
        losses, likeliest = [], []
        for rows, wanted in zip(hidden.split(size), targets.split(size), strict=True):
            logits = self._model.logits(rows)
            losses.append(F.cross_entropy(logits, wanted, reduction="none"))
            likeliest.append(logits.argmax(-1) == wanted)
        return torch.cat(losses).cpu(), torch.cat(likeliest).cpu()


@contextmanager
def _long_enough(model: GPT, length: int) -> Iterator[None]:
    """Rotary tables for `length` positions meanwhile.

    The model's own are put back as they are: tables made here could not be trained with.
    """
    cos, sin = model.cos, model.sin
    if length > model.rotary_length:
        model.set_rotary(length)
    try:
        yield
    finally:
        model.cos, model.sin = cos, sin


class _Tree:
    """The tokens of a question that are read: what all rows begin with, then what each goes on with.

    Args:
        question: what is asked.
        reach: how many tokens before it a token can learn of through all layers; None for all of them.

    Attributes:
        begin: position of the first token that is read.
        stem: tokens from there on that all rows have.
        branches: what each row goes on with; nothing for a single row.
    """

    def __init__(self, question: Question, reach: int | None) -> None:
        read = [row.ids[:-1] for row in question.rows]
        common = min(map(len, read))
        for other in read[1:]:
            common = next((at for at in range(common) if other[at] != read[0][at]), common)
        first = min(row.start for row in question.rows) - 1
        self.begin = 0 if reach is None else max(0, min(first - reach, common - 1))
        self.before = read[0][self.begin - 1] if self.begin else 0
        self.stem = read[0][self.begin : common]
        self.branches = [ids[common:] for ids in read] if len(read) > 1 else []
        self.branch_tokens = sum(map(len, self.branches))
        self.size = len(self.stem) + self.branch_tokens
        self.rows = question.rows

    def scored(self) -> tuple[list[int], list[int]]:
        """Of each scored token of each row, the place of the token that predicts it, counted in the stem and then in
        the branches; and what it should predict.
        """
        places: list[int] = []
        wanted: list[int] = []
        branch_at = stem = len(self.stem)
        for number, row in enumerate(self.rows):
            first, end = row.start - 1 - self.begin, len(row.ids) - 1 - self.begin
            places += range(first, min(stem, end))
            places += range(branch_at + max(0, first - stem), branch_at + end - stem)
            wanted += row.ids[row.start :]
            branch_at += len(self.branches[number]) if self.branches else 0
        return places, wanted


class _Forest:
    """One pass over several trees, a `nanochat.model.gpt.Cache`: first all stems, then all branches.

    Attributes:
        ids: (1, N).
        positions: (N,), in the text of each row.
        previous: (1, N), the token before each.
        wanted: (W,) the tokens that predict a scored one, tree after tree.
        longest: tokens of the longest row.
        places: (M,) for each scored token, row after row, where in `wanted` the one that predicts it is.
        targets: (M,) the scored tokens.
    """

    wanted: Tensor | None

    def __init__(self, trees: Sequence[_Tree], model: GPT) -> None:
        device = model.device
        ids: list[int] = []
        previous: list[int] = []
        positions: list[int] = []
        for tree in trees:
            ids += tree.stem
            previous += [tree.before, *tree.stem[:-1]]
            positions += range(tree.begin, tree.begin + len(tree.stem))
        owners: list[int] = []  # which branch of its tree a token is of
        for tree in trees:
            end = tree.begin + len(tree.stem)
            for number, branch in enumerate(tree.branches):
                ids += branch
                previous += [tree.stem[-1], *branch][: len(branch)]
                positions += range(end, end + len(branch))
                owners += [number] * len(branch)
        where = torch.tensor((ids, previous, positions), device=device)
        self.ids, self.previous, self.positions = where[:1], where[1:2], where[2]
        self.longest = max(positions) + 1
        self._windows = model.config.window_sizes()
        self._stems = _Padded([len(tree.stem) for tree in trees], device)
        self._branches = _Padded([tree.branch_tokens for tree in trees], device)
        # of the stem's tokens the owner is -1, which every branch sees; padding has an owner that none does
        stem_owners = torch.full((self._stems.count,), -1, device=device)
        self._owners = torch.cat((stem_owners, torch.tensor(owners, dtype=torch.int64, device=device)))
        self._find_scored(trees, device)
        self._masks: dict[tuple[int | None, bool], Tensor] = {}

    def _find_scored(self, trees: Sequence[_Tree], device: torch.device) -> None:
        wanted: list[int] = []
        places: list[int] = []
        targets: list[int] = []
        counts: list[int] = []
        stem_at, branch_at = 0, self._stems.count
        for tree in trees:
            scored, tokens = tree.scored()
            distinct = {place: number for number, place in enumerate(dict.fromkeys(scored))}
            places += [len(wanted) + distinct[place] for place in scored]
            targets += tokens
            stem = len(tree.stem)
            wanted += [stem_at + place if place < stem else branch_at + place - stem for place in distinct]
            counts.append(len(distinct))
            stem_at += stem
            branch_at += tree.branch_tokens
        self.wanted = torch.tensor(wanted, device=device)
        self.places = torch.tensor(places, device=device)
        self.targets = torch.tensor(targets, device=device)
        self._asking = _Padded(counts, device)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Cache`."""
        window = self._windows[layer]
        stems, branches = self._stems, self._branches
        count = stems.count
        keys, values = stems.padded(k[0, :count]), stems.padded(v[0, :count])
        last = layer == len(self._windows) - 1
        y = q[0, :0]
        if not last:
            y = stems.packed(attend(stems.padded(q[0, :count]), keys, values, window=window))
        if branches.count:
            keys = torch.cat((keys, branches.padded(k[0, count:])), dim=1)
            values = torch.cat((values, branches.padded(v[0, count:])), dim=1)
        queries, asked = (self._asking, q[0]) if last else (branches, q[0, count:])
        if queries.count:
            z = attend(queries.padded(asked), keys, values, mask=self._mask(window, last))
            y = torch.cat((y, queries.packed(z)))
        return y[None]

    def _mask(self, window: int | None, last: bool) -> Tensor:
        """(B, 1, Q, P+R) bool: which tokens of the stem and of the branches each query sees.

        Queries are the tokens of the branches, in the last layer those that are wanted.
        """
        if (window, last) not in self._masks:
            count = self._stems.count
            queries, tokens = (self._asking, self.wanted) if last else (self._branches, slice(count, None))
            place, owner = queries.padded(self.positions[tokens]), queries.padded(self._owners[tokens])
            key_place, key_owner = (self._side_by_side(facts) for facts in (self.positions, self._owners))
            there = self._side_by_side(None)
            distance = place[:, :, None] - key_place[:, None, :]  # (B, Q, P+R)
            seen = (distance >= 0) & ((key_owner == -1)[:, None, :] | (key_owner[:, None, :] == owner[:, :, None]))
            seen &= there[:, None, :]
            self._masks[window, last] = (seen if window is None else seen & (distance <= window))[:, None]
        return self._masks[window, last]

    def _side_by_side(self, facts: Tensor | None) -> Tensor:
        """(B, P+R) what is known of each key, by default whether it is no padding."""
        parts = (self._stems, self._branches) if self._branches.count else (self._stems,)
        count = self._stems.count
        if facts is None:
            return torch.cat([part.there for part in parts], dim=1)
        halves = (facts[:count], facts[count:])
        return torch.cat([part.padded(half) for part, half in zip(parts, halves, strict=False)], dim=1)


class _Padded:
    """Sequences of these lengths that lie end to end, and the same side by side.

    Attributes:
        count: of all tokens.
        longest: L, of the longest sequence.
        there: (B, L) bool, what is no padding.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.count, self.longest = sum(lengths), max(lengths)
        sizes = torch.tensor(lengths, device=device)
        at = torch.arange(self.longest, device=device)
        self.there = at < sizes[:, None]
        self._whole = self.count == self.longest * len(lengths)
        begins = sizes.cumsum(0) - sizes
        self._index = (begins[:, None] + at).masked_fill(~self.there, 0)
        self._places = self.there.flatten().nonzero()[:, 0]

    def padded(self, packed: Tensor) -> Tensor:
        """(N, ...) to (B, L, ...); padding holds anything."""
        return packed.view(*self.there.shape, *packed.shape[1:]) if self._whole else packed[self._index]

    def packed(self, padded: Tensor) -> Tensor:
        """(B, L, ...) to (N, ...)."""
        flat = padded.flatten(0, 1)
        return flat if self._whole else flat[self._places]
