"""Attention against a few lines that anyone can check."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from references import reference, tensors, with_gradients
from torch import Tensor

from nanochat.model import attention
from nanochat.model.attention import attend
from nanochat.model.chunked import LONGEST, chunked
from nanochat.model.windows import SMALLEST_WINDOW, blocks_pay, blockwise, window_mask


def by_blocks(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    return blockwise(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), window).transpose(1, 2)


def ours(q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    return attend(q, k, v, window=window)


def test_the_reference_looks_at_what_it_should() -> None:
    """Against loops over single numbers, so that the rest of this file stands on something."""
    q, k, v = tensors(6, heads=2, kv_heads=1, dim=3, batch=1)
    got = reference(q, k, v, 2)
    for t in range(6):
        for head in range(2):
            seen = range(max(0, t - 2), t + 1)
            weights = [math.exp(float(q[0, t, head] @ k[0, s, 0]) / math.sqrt(3)) for s in seen]
            slow = sum(w / sum(weights) * v[0, s, 0] for w, s in zip(weights, seen, strict=True))
            torch.testing.assert_close(got[0, t, head], slow, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [0, 1, 3, 7, 8, 100, None])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_short_texts(window: int | None, kv_heads: int) -> None:
    q, k, v = tensors(8, kv_heads=kv_heads)
    for fast, slow in zip(
        with_gradients(ours, q, k, v, window), with_gradients(reference, q, k, v, window), strict=True
    ):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize(
    ("time", "window"), [(8, 4), (9, 4), (11, 4), (12, 4), (5, 4), (7, 1), (20, 19), (33, 16), (6, 5)]
)
def test_blocks(time: int, window: int, kv_heads: int) -> None:
    """T a multiple of the window or not, a window almost as long as the text, and one of a single position."""
    q, k, v = tensors(time, kv_heads=kv_heads)
    for fast, slow in zip(
        with_gradients(by_blocks, q, k, v, window), with_gradients(reference, q, k, v, window), strict=True
    ):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [None, 1, 60, 127, 128, 150, 400])
@pytest.mark.parametrize(("time", "kv_heads"), [(5, 4), (128, 2), (129, 1), (300, 4), (384, 2)])
def test_chunks(time: int, kv_heads: int, window: int | None) -> None:
    """One chunk, several, a last one that is not full; windows that reach into none, one or two chunks before."""
    q, k, v = tensors(time, kv_heads=kv_heads)
    for fast, slow in zip(
        with_gradients(chunked, q, k, v, window), with_gradients(reference, q, k, v, window), strict=True
    ):
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


def test_chunks_at_the_largest_scores_there_are() -> None:
    """Queries and keys alike, of the norm that era D gives them at D = 128."""
    q, k, v = (F.normalize(x, dim=-1) * 1.2 * math.sqrt(128) for x in tensors(40, kv_heads=4, dim=128))
    k = q.clone()
    wanted = reference(q, k, v)
    torch.testing.assert_close(chunked(q, k, v), wanted, rtol=1e-4, atol=1e-5)
    half = chunked(q.bfloat16(), k.bfloat16(), v.bfloat16()).float()
    assert float((half - wanted).norm() / wanted.norm()) < 0.01


def test_chunks_are_for_compiled_training_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def calls(time: int, dtype: torch.dtype, *, compiling: bool) -> int:
        seen = []
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
        monkeypatch.setattr(attention, "chunked", lambda *args: seen.append(args) or args[0])
        attend(*(x.to(dtype) for x in tensors(time)))
        return len(seen)

    assert calls(8, torch.float32, compiling=True) == calls(8, torch.bfloat16, compiling=True) == 1
    assert calls(8, torch.float32, compiling=False) == 0
    assert calls(8, torch.float16, compiling=True) == 0  # whose range ends at 65,504
    assert calls(LONGEST + 1, torch.float32, compiling=True) == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_blocks_in_two_bytes(dtype: torch.dtype) -> None:
    q, k, v = (x.to(dtype) for x in tensors(300, dim=16))
    exact = with_gradients(reference, *(x.float() for x in (q, k, v)), window=64)
    for near, far in zip(with_gradients(by_blocks, q, k, v, 64), exact, strict=True):
        assert near.dtype == dtype
        assert (near.float() - far).abs().max() < 0.02 * far.abs().max() + 0.01


def test_attend_takes_blocks_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def noted(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
        taken.append(window)
        return blockwise(q, k, v, window)

    monkeypatch.setattr(attention, "blockwise", noted)
    for time, window in ((300, 64), (300, 290), (300, 299), (300, 8), (300, None)):
        q, k, v = tensors(time)
        torch.testing.assert_close(ours(q, k, v, window), reference(q, k, v, window), rtol=1e-5, atol=1e-5)
    assert taken == [64]


def test_when_blocks_pay() -> None:
    for length, window in ((512, 128), (2048, 512), (2048, 1024), (1000, 128)):
        assert blocks_pay(length, window)
    assert not blocks_pay(700, 512)  # a second block, padded, would be dearer than all pairs
    assert not blocks_pay(2048, SMALLEST_WINDOW - 1)
    assert not blocks_pay(2048, 0)


def test_a_window_holds_less_than_a_mask() -> None:
    """Blocks never make anything of T * T elements, forward or backward; the mask does."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = function(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self.elements = max(self.elements, leaf.untyped_storage().nbytes() // leaf.element_size())
            return result

    time, window = 1024, 64
    q, k, v = tensors(time, heads=1, kv_heads=1, dim=8, batch=1)
    with Largest() as largest:
        with_gradients(ours, q, k, v, window)
    assert largest.elements <= time * 2 * window
    with Largest() as largest:
        with_gradients(lambda q, k, v, w: attend(q, k, v, mask=window_mask(time, w, q.device)), q, k, v, window)
    assert largest.elements >= time * time


def test_no_window_is_causal() -> None:
    q, k, v = tensors(5)
    torch.testing.assert_close(attend(q, k, v), attend(q, k, v, window=5))
    torch.testing.assert_close(attend(q, k, v)[:, 0], v[:, 0].repeat_interleave(2, dim=1))


def test_window_mask_rows() -> None:
    mask = window_mask(5, 2, torch.device("cpu"))
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]


def test_explicit_mask_where_lengths_differ() -> None:
    q, k, v = tensors(5)
    mask = window_mask(5, 1, torch.device("cpu"))[None, None, 3:]
    torch.testing.assert_close(attend(q[:, 3:], k, v, mask=mask), reference(q[:, 3:], k, v, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [None, 64])
def test_one_graph(window: int | None) -> None:
    q, k, v = tensors(256)
    torch._dynamo.reset()
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True, dynamic=False)
    for fast, slow in zip(
        with_gradients(compiled, q, k, v, window), with_gradients(ours, q, k, v, window), strict=True
    ):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)
    torch._dynamo.reset()
