"""How threads of a computation wait for each other while other programs want the same cores."""

from __future__ import annotations

from collections.abc import MutableMapping

SPINS = "GOMP_SPINCOUNT"
POLICY = "OMP_WAIT_POLICY"
SPIN_COUNT = 10_000
"""How often a thread looks before it sleeps. The library's own 300,000 are some milliseconds: a thread that waits so
long for one that has no core keeps that core from it, at every one of a thousand meetings a step. Two pocket runs at
once on two cores took 4.9 s a step each, with 10,000 they take 0.62 s; one alone 0.17 s. With 1,000 it is 0.33 s, but a
step alone takes a tenth longer."""


def share_cores(environ: MutableMapping[str, str]) -> None:
    """Tell the OpenMP library that torch brings to wait briefly; what a person has set stays.

    It reads the environment when torch is imported, so this comes before.
    """
    if POLICY not in environ:
        environ.setdefault(SPINS, str(SPIN_COUNT))
