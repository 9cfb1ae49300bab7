"""Do the intervals of an evaluation hold what they promise? 2,000 simulated test parts.

A made model says how probable each class is, exactly as sure as it is right, of a hundred thousand
pictures: what it comes to on those is the truth. Test parts are drawn from them again and again,
and it is counted how often each 95 % interval of `regraft evaluate` holds the truth; beside it, for
the average precision, how often the percentiles of a bootstrap would. In "bursts" up to five
pictures are of one unit and tend to be right or wrong together. Writes ``results/figures.json`` and
the table of README.md.

    python benchmarks/figures.py
    python benchmarks/figures.py --only Brier "log loss"
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from common import RESULTS, machine, parser_of
from regraft.assessing.calibration import brier_score
from regraft.assessing.comparison import compare
from regraft.assessing.f1 import f1_scores, macro_f1
from regraft.assessing.ranking import area, rank_class
from regraft.metrics import evaluate_predictions, log_loss, log_losses
from run import README, with_block

SIZES = (50, 100, 400)
DRAWS = 2000
PICTURES = 100_000
LOG = RESULTS / "figures.json"
FIGURES = (
    "accuracy",
    "macro F1",
    "AUC",
    "average precision",
    "percentiles",
    "Brier",
    "log loss",
    "accuracy difference",
    "balanced difference",
    "log loss difference",
)
BY_RESAMPLING = ("macro F1", "AUC", "average precision", "percentiles")


@dataclass(frozen=True)
class Case:
    """A made model: how often each class occurs, and how far apart it sees them."""

    name: str
    prior: tuple[float, ...]
    separation: float
    most_of_a_unit: int = 1


CASES = (
    Case("two classes, 86 % right", (0.5, 0.5), 1.5),
    Case("two classes, 99 % right", (0.5, 0.5), 3.5),
    Case("two classes, one rare", (0.9, 0.1), 2.5),
    Case("five classes, 95 % right", (0.2,) * 5, 3.0),
    Case("five classes, two rare", (0.4, 0.3, 0.2, 0.05, 0.05), 3.0),
    Case("bursts", (0.5, 0.5), 1.5, 5),
)


def said(case: Case, y: np.ndarray, units: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give probabilities; pictures of one unit share half of what disturbs them."""
    k = len(case.prior)
    shared = rng.normal(size=(units.max() + 1, k))[units]
    own = rng.normal(size=(len(y), k))
    noise = own if case.most_of_a_unit == 1 else np.sqrt(0.5) * (shared + own)
    seen = noise + case.separation * np.eye(k)[y]
    odds = np.array(case.prior) * np.exp(case.separation * (seen - seen.max(1, keepdims=True)))
    return odds / odds.sum(axis=1, keepdims=True)


def simulate(case: Case, draws: int, only: Sequence[str]) -> dict[str, dict[str, float]]:
    """Count how often intervals of some figures hold the truth, for each size of the test part."""
    rng, k = np.random.default_rng(0), len(case.prior)
    units = np.repeat(np.arange(PICTURES), rng.integers(1, case.most_of_a_unit + 1, PICTURES))
    units = units[:PICTURES]
    of_unit = rng.choice(k, PICTURES, p=case.prior)
    y = of_unit[units]
    proba, other = said(case, y, units, rng), said(case, y, units, rng)
    called, called_other = proba.argmax(axis=1), other.argmax(axis=1)
    ahead = (called == y) * 1.0 - (called_other == y)
    rare = k - 1
    truth = {
        "accuracy": np.mean(called == y),
        "macro F1": np.nanmean(f1_scores(y, called, k)),
        "AUC": roc_auc_score(y == rare, proba[:, rare]),
        "average precision": average_precision_score(y == rare, proba[:, rare]),
        "Brier": np.sum((proba - np.eye(k)[y]) ** 2, axis=1).mean(),
        "log loss": log_losses(y, proba).mean(),
        "log loss difference": (log_losses(y, proba) - log_losses(y, other)).mean(),
        "accuracy difference": np.mean(ahead),
        "balanced difference": np.mean([ahead[y == c].mean() for c in range(k)]),
    }
    truth["percentiles"] = truth["average precision"]
    starts = np.searchsorted(units, np.arange(units.max() + 1))
    found = {}
    for size in SIZES:
        held, counted = dict.fromkeys(only, 0), dict.fromkeys(only, 0)
        for number in range(draws):
            generator = np.random.default_rng([number, size])
            if case.most_of_a_unit == 1:
                rows = generator.choice(PICTURES, size, replace=False)
            else:
                drawn = generator.choice(len(starts) - 2, size, replace=False)
                rows = np.concatenate([np.arange(starts[u], starts[u + 1]) for u in drawn])[:size]
            for name, low, high in intervals(
                y[rows], proba[rows], other[rows], units[rows], number, only
            ):
                counted[name] += 1
                held[name] += low <= truth[name] <= high
        found[str(size)] = {name: held[name] / max(1, counted[name]) for name in only}
    return found


def intervals(
    y: np.ndarray,
    proba: np.ndarray,
    other: np.ndarray,
    units: np.ndarray,
    seed: int,
    only: Sequence[str],
) -> list[tuple[str, float, float]]:
    """Work out intervals of one test part."""
    k, called = proba.shape[1], proba.argmax(axis=1)
    pair = compare(y, (called, proba), (other.argmax(axis=1), other), units, seed)
    told = {
        "accuracy": evaluate_predictions(y, proba, [str(c) for c in range(k)], units).accuracy,
        "Brier": brier_score(y, proba, units),
        "log loss": log_loss(y, proba, units),
        "log loss difference": pair.log_loss,
        "accuracy difference": pair.accuracy,
        "balanced difference": pair.balanced_accuracy,
    }
    rows = []
    if set(only).intersection(BY_RESAMPLING):
        told["macro F1"] = macro_f1(y, called, k, units, seed)
        ranking = rank_class("rare", y == k - 1, proba[:, -1], units, k, seed)
        if ranking is not None:
            told["AUC"] = area(y == k - 1, proba[:, -1], units)
            told["average precision"] = ranking.average_precision
            rows.append(("percentiles", *percentiles(y == k - 1, proba[:, -1], seed)))
    rows += [(name, estimate.low, estimate.high) for name, estimate in told.items()]
    return [row for row in rows if row[0] in only]


def percentiles(truth: np.ndarray, scores: np.ndarray, seed: int) -> tuple[float, float]:
    """Give the interval that is usual for an average precision."""
    rng, found = np.random.default_rng(seed), []
    order = np.argsort(-scores, kind="stable")
    for _ in range(200):
        weights = np.bincount(rng.integers(0, len(truth), len(truth)), minlength=len(truth))[order]
        hits = np.cumsum(weights * truth[order])
        if hits[-1]:
            precision = hits / np.maximum(np.cumsum(weights), 1)
            found.append(np.diff(hits, prepend=0) @ precision / hits[-1])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def table(rows: dict[str, Any]) -> str:
    """Lay out the coverage."""
    lines = [
        "| model | test pictures | " + " | ".join(FIGURES) + " |",
        "| --- | --- | " + " | ".join("---" for _ in FIGURES) + " |",
    ]
    for case, sizes in rows.items():
        for size, found in sizes.items():
            cells = " | ".join(f"{100 * found[name]:.1f}" for name in FIGURES)
            lines.append(f"| {case} | {size} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--only", nargs="+", choices=FIGURES, help="others stay as they are")
    options = parser.parse_args()
    only = options.only or FIGURES
    rows = json.loads(LOG.read_text("utf-8"))["rows"] if options.only else {}
    for case in CASES:
        for size, found in simulate(case, options.draws, only).items():
            rows.setdefault(case.name, {}).setdefault(size, {}).update(found)
        print(case.name, rows[case.name], flush=True)
    log = {"machine": machine(), "draws": options.draws, "rows": rows}
    LOG.write_text(json.dumps(log, indent=1) + "\n", "utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(with_block(text, "figures", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
