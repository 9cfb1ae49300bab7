"""Whether a lower precision is good enough for these pictures.

bfloat16 keeps 8 bits of a number and is about twice as fast. The features of the embedded network
are 4 % off (median), which costs nothing as long as the pictures keep their neighbours; that is
checked on the user's own pictures before bfloat16 is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regraft.frozen.store import FeatureStore
from regraft.strategy import Precision

CHECKED_PICTURES = 32
MAX_RELATIVE_ERROR = 6e-2
MIN_NEIGHBOUR_OVERLAP = 0.85
_NEIGHBOURS = 5
_REMEMBERED_VERDICTS = 64


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the fast features are from the float32 ones.

    Parameters
    ----------
    n : int
        Pictures compared.
    relative_error : float
        Median over pictures of ``|fast - exact| / |exact|`` (Euclidean norms).
    neighbour_overlap : float
        Mean share of a picture's nearest neighbours (five, by cosine) that stay among them.
    """

    n: int
    relative_error: float
    neighbour_overlap: float

    @property
    def passed(self) -> bool:
        """Whether the fast features may stand in for the exact ones."""
        return (
            self.relative_error <= MAX_RELATIVE_ERROR
            and self.neighbour_overlap >= MIN_NEIGHBOUR_OVERLAP
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "passed": self.passed}


def compare(exact: NDArray[np.float32], fast: NDArray[np.float32]) -> Parity:
    """Compare two sets of features of the same pictures, each of shape (n, D)."""
    exact64, fast64 = exact.astype(np.float64), fast.astype(np.float64)
    norms = np.linalg.norm(exact64, axis=1)
    errors = np.linalg.norm(fast64 - exact64, axis=1)
    relative = errors / np.maximum(norms, np.finfo(np.float64).tiny)
    return Parity(
        n=len(exact),
        relative_error=float(np.median(relative)) if np.isfinite(relative).all() else float("inf"),
        neighbour_overlap=_overlap(exact64, fast64),
    )


def _overlap(exact: NDArray[np.float64], fast: NDArray[np.float64]) -> float:
    count = len(exact)
    near = min(_NEIGHBOURS, (count - 1) // 2)
    if near < 1 or not np.isfinite(fast).all():
        return 1.0 if np.isfinite(fast).all() else 0.0
    sets = [_neighbours(features, near) for features in (exact, fast)]
    shared = [len(a & b) for a, b in zip(*sets, strict=True)]
    return float(np.mean(shared)) / near


def _neighbours(features: NDArray[np.float64], near: int) -> list[set[int]]:
    centred = features - features.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.maximum(lengths, np.finfo(np.float64).tiny)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :near]
    return [set(row.tolist()) for row in order]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The precision of a frozen pass, why, and the pictures (digests) that were asked."""

    precision: Precision
    parity: Parity | None
    digests: tuple[bytes, ...]


def check_positions(names: Sequence[str]) -> list[int]:
    """Pick the pictures that the check looks at: those whose names have the smallest hashes.

    That spreads them over the classes, and a few added pictures hardly change the choice.
    """
    hashes = [hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest() for name in names]
    return sorted(range(len(names)), key=hashes.__getitem__)[:CHECKED_PICTURES]


def recall_verdict(store: FeatureStore, key: str, digests: Sequence[bytes]) -> Verdict | None:
    """Return an earlier verdict that rests on at least half of these pictures, or None."""
    now = {digest.hex() for digest in digests}
    for entry in store.note(key) or []:
        if now and 2 * len(now.intersection(entry["digests"])) >= len(now):
            parity = entry["parity"]
            return Verdict(
                precision=entry["precision"],
                parity=Parity(**parity) if parity else None,
                digests=tuple(bytes.fromhex(text) for text in entry["digests"]),
            )
    return None


def remember_verdict(store: FeatureStore, key: str, verdict: Verdict) -> None:
    """Keep a verdict for the next pass over these pictures."""
    entry = {
        "precision": verdict.precision,
        "parity": asdict(verdict.parity) if verdict.parity else None,
        "digests": [digest.hex() for digest in verdict.digests],
    }
    store.set_note(key, [entry, *(store.note(key) or [])][:_REMEMBERED_VERDICTS])
