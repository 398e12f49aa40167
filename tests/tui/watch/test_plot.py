"""Curves as characters: ticks, axes, spans, cursors, and no size that breaks them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.tui.watch.plot import Curve, Drawing, draw
from nanochat.tui.watch.series import Point
from nanochat.tui.watch.ticks import log_ticks, nice_ticks, number_label, size_label, time_ticks

BRAILLE = range(0x2801, 0x2900)


def points(*values: float) -> list[Point]:
    return [Point(float(x), y, y, y) for x, y in enumerate(values)]


def text(drawing: Drawing) -> list[str]:
    return [line.plain for line in drawing.lines]


def test_a_line_from_corner_to_corner() -> None:
    drawing = draw([Curve(points(*range(11)), "cyan")], width=24, height=7, x_range=(0, 10))
    assert text(drawing) == [
        "10┤                  ⢀⠤⠔",
        "  │              ⢀⠤⠔⠉⠁  ",
        "  │          ⢀⡠⠔⠉⠁      ",
        "  │       ⡠⠤⠊⠁          ",
        "  │   ⡠⠤⠊⠉              ",
        " 0┤⠤⠊⠉                  ",
        "   0                  10",
    ]


def test_a_spike_does_not_flatten_the_rest() -> None:
    span = [Point(float(x), 2.0, 1.9, 2.1) for x in range(99)] + [Point(99.0, 2.0, 1.9, 50.0)]
    lines = text(draw([Curve(span, span=True), Curve(span)], width=60, height=12, x_range=(0, 99)))
    assert "2.1┤" in "\n".join(lines) or "2.10┤" in "\n".join(lines)
    assert ord(lines[0][-1]) in BRAILLE, "the spike reaches the top"


def test_a_line_is_seen_among_its_span() -> None:
    span = [Point(float(x), 2.0, 1.0, 3.0) for x in range(100)]
    only = text(draw([Curve(span, "dim", span=True)], width=30, height=9, x_range=(0, 99)))
    both = draw([Curve(span, "dim", span=True), Curve(span, "cyan")], width=30, height=9, x_range=(0, 99))
    assert set(only[3][3:]) == {"⣿"}
    rows = [row for row in both.lines if any(part.style == "cyan" for part in row.spans)]
    assert len(rows) == 1
    assert "⣿" not in rows[0].plain


def test_two_curves_in_a_cell_keep_their_dots() -> None:
    one = text(draw([Curve(points(0, 10))], width=20, height=6, x_range=(0, 1)))
    two = text(draw([Curve(points(10, 0))], width=20, height=6, x_range=(0, 1)))
    both = text(draw([Curve(points(0, 10)), Curve(points(10, 0))], width=20, height=6, x_range=(0, 1)))
    for a, b, c in zip(one, two, both, strict=True):
        for x, y, z in zip(a, b, c, strict=True):
            if ord(x) in BRAILLE or ord(y) in BRAILLE:
                dots = (ord(x) & 0xFF if ord(x) in BRAILLE else 0) | (ord(y) & 0xFF if ord(y) in BRAILLE else 0)
                assert ord(z) & 0xFF == dots


def test_a_part_of_the_x_axis_has_a_y_axis_of_its_own() -> None:
    falling = [Point(float(x), 100 / x, 100 / x, 100 / x) for x in range(1, 101)]
    whole = text(draw([Curve(falling)], width=40, height=8, x_range=(0, 100)))
    part = text(draw([Curve(falling)], width=40, height=8, x_range=(50, 100)))
    assert "100┤" in "\n".join(whole)
    assert "100┤" not in "\n".join(part)
    assert part[0].startswith("2┤")


def test_the_cursor() -> None:
    lines = text(draw([Curve(points(0, 0, 0))], width=30, height=6, x_range=(0, 2), cursor=1.0))
    assert all(line.count("│") + line.count("┤") >= 2 for line in lines[:2])
    assert lines[0].rindex("│") in (16, 17)


def test_few_points_have_marks() -> None:
    drawing = draw([Curve(points(3, 2, 1), marks=True)], width=40, height=8, x_range=(0, 2))
    assert "".join(text(drawing)).count("•") == 3


def test_nothing_to_draw() -> None:
    assert text(draw([Curve([])], width=20, height=5, x_range=(0, 1)))[2].strip() == "no data yet"


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (2.1, 2.9, 4, [2.2, 2.4, 2.6, 2.8]),
        (0.18, 0.32, 1, [0.2, 0.3]),
        (1e6, 3e6, 2, [1e6, 2e6, 3e6]),
    ],
)
def test_nice_ticks(low: float, high: float, count: int, ticks: list[float]) -> None:
    assert nice_ticks(low, high, count) == pytest.approx(ticks)


def test_ticks_of_time_and_of_powers() -> None:
    assert time_ticks(0, 3600, 4) == [0, 900, 1800, 2700, 3600]
    assert log_ticks(0.5, 300, 5) == [1, 10, 100]
    assert log_ticks(0.9, 12, 6) == [1, 2, 5, 10]
    assert log_ticks(2.1, 2.9, 4) == pytest.approx([2.2, 2.4, 2.6, 2.8])


def test_labels_tell_ticks_apart() -> None:
    assert number_label(0.975, 0.005) == "0.975"
    assert number_label(31_100, 100) == "31.1k"
    assert number_label(3, 1) == "3"
    assert number_label(0, 0.5) == "0"
    assert [number_label(value, 10) for value in (30_010, 30_020)] == ["30.01k", "30.02k"]
    assert [size_label(value, 5e5) for value in (801e6, 801.5e6)] == ["801.0 MB", "801.5 MB"]


@given(
    values=st.lists(st.floats(-1e12, 1e12), max_size=60),
    width=st.integers(0, 90),
    height=st.integers(0, 30),
    start=st.floats(-50, 50),
    length=st.floats(0, 100),
    log=st.booleans(),
    time=st.booleans(),
    cursor=st.none() | st.floats(-1e6, 1e6),
)
def test_any_values_at_any_size(
    values: list[float],
    width: int,
    height: int,
    start: float,
    length: float,
    log: bool,
    time: bool,
    cursor: float | None,
) -> None:
    drawing = draw(
        [Curve(points(*values), span=True), Curve(points(*values), marks=True)],
        width=width,
        height=height,
        x_range=(start, start + length),
        log=log,
        time=time,
        cursor=cursor,
    )
    assert len(drawing.lines) == max(0, height)
    assert all(line.cell_len <= width for line in drawing.lines)


@given(value=st.floats(1e-12, 1e12), apart=st.floats(1e-12, 1e12))
def test_labels_are_short(value: float, apart: float) -> None:
    assert len(number_label(value, apart)) <= 15
    assert math.isfinite(value)
