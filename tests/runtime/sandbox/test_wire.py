"""Values cross as they are, in exact builtin types; nothing else crosses."""

from __future__ import annotations

import collections
import enum
import math
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.runtime.sandbox.wire import LONGEST_MESSAGE, Broken, Gone, Pipes

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.binary(),
    st.complex_numbers(),
    st.binary().map(bytearray),
    st.builds(range, st.integers(-99, 99), st.integers(-99, 99), st.integers(1, 9)),
)
keys = st.one_of(st.booleans(), st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text()))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.dictionaries(keys, inner),
        st.sets(keys),
        st.frozensets(keys),
    ),
    max_leaves=20,
)


def refuse(*_: Any) -> Any:
    raise ValueError("no objects here")


def through(value: Any) -> Any:
    incoming, outgoing = os.pipe()
    try:
        pipes = Pipes(incoming, outgoing, refuse, refuse)
        pipes.send("value", value)
        return pipes.receive()[1]
    finally:
        os.close(incoming)
        os.close(outgoing)


def read(data: bytes) -> Any:
    incoming, outgoing = os.pipe()
    try:
        os.write(outgoing, len(data).to_bytes(4, "big") + data)
        return Pipes(incoming, outgoing, refuse, refuse).receive()
    finally:
        os.close(incoming)
        os.close(outgoing)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    return repr(one) == repr(other) if isinstance(one, (float, complex)) else one == other


@given(values)
def test_values_cross(value: Any) -> None:
    assert same(through(value), value)


def test_large_values_cross() -> None:
    for value in (7**20000, -(7**20000), math.inf, -0.0, "\ud800", list(range(3000)), "x" * 60_000):
        assert same(through(value), value)


def test_extended_types_become_plain() -> None:
    class Text(str):
        __eq__ = lambda self, other: True  # noqa: E731
        __hash__ = str.__hash__

    class Number(int):
        __eq__ = lambda self, other: True  # noqa: E731
        __hash__ = int.__hash__

    class Colour(enum.IntEnum):
        RED = 3

    pair = collections.namedtuple("pair", "a b")
    for value, plain in (
        (Text("a"), "a"),
        (Number(4), 4),
        (Colour.RED, 3),
        (pair(1, 2), (1, 2)),
        (collections.Counter("aab"), {"a": 2, "b": 1}),
        (collections.OrderedDict(a=1), {"a": 1}),
        ([Text("a")], ["a"]),
    ):
        arrived = through(value)
        assert same(arrived, plain)
    assert type(through([Text("a")])[0]) is str
    assert through([Text("a")]) != ["b"]


@given(st.binary(max_size=60))
def test_no_bytes_do_harm(data: bytes) -> None:
    try:
        message = read(data)
    except Broken:
        return
    assert type(message) is tuple
    assert type(message[0]) is str


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"N",
        b"t0;",
        b"ti1;",
        b"t1;i1;",
        b"t2;s1;x",
        b"t2;s1;xs99;a",
        b"t2;s1;xs-1;a",
        b"t2;s1;xl99999999999;",
        b"t2;s1;xe1;l0;",
        b"t2;s1;xd1;l0;N",
        b"t2;s1;xr0;1;0;",
        b"t2;s1;xfnothing;",
        b"t2;s1;x" + b"l1;" * 100_000,
        b"t2;s1;xs1;\xff",
        b"t2;s1;xo1;",
        b"t2;s1;xq1;",
        b"\xff",
    ],
)
def test_malformed(data: bytes) -> None:
    if len(data) > 60_000:
        data = data[:60_000]
    with pytest.raises(Broken):
        read(data)


def test_limits_of_a_message() -> None:
    incoming, outgoing = os.pipe()
    pipes = Pipes(incoming, outgoing, refuse, refuse)
    with pytest.raises(OverflowError, match="at most"):
        pipes.send("value", "x" * LONGEST_MESSAGE)
    os.write(outgoing, (LONGEST_MESSAGE + 1).to_bytes(4, "big"))
    with pytest.raises(Broken, match="bytes"):
        pipes.receive()
    os.close(outgoing)
    with pytest.raises(Gone):
        pipes.receive()
    os.close(incoming)
