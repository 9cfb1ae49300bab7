"""Do the intervals that a fit prints hold what they promise? 2,000 simulated splits.

Features of whole data sets, both parts together, are computed once. Then again and again some
pictures train a head. All others are the population: their accuracy is the truth, and the test
pictures are drawn from them at random, with replacement. Counted is how often the 95 % interval
of the test accuracy, and of the balanced one, holds the truth. Writes ``results/intervals.json``
and the table of README.md.

    python benchmarks/intervals.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from common import RESULTS, machine, parser_of
from regraft.backbones.registry import get_backbone
from regraft.data.manifest import read_manifest
from regraft.frozen.plan import CutPlan, PassPlan
from regraft.frozen.store import FeatureStore
from regraft.heads.fitting import fit_linear
from regraft.metrics import evaluate_predictions
from regraft.options import DEFAULT_BACKBONE, FitOptions
from regraft.progress import Silent
from regraft.workshop import Workshop
from run import README, with_block

DATA_SETS = ("mnist_sample", "ham10000_mel_nv", "flowers5")
SIZES = (20, 50, 100, 200, 400)
TRAIN = 150
SPLITS = 2000
LOG = RESULTS / "intervals.json"


def features(folder: Path, cache: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Compute what the last layer says of every picture of a folder."""
    backbone = get_backbone(DEFAULT_BACKBONE, cache)
    plan = PassPlan((CutPlan(backbone.probes[-1], ("avg",)),))
    with FeatureStore(cache) as store:
        shop = Workshop(backbone, plan, store, cache, FitOptions(), Silent())
        lot = shop.gather(read_manifest(folder))
        X = np.array(lot.table.read(plan.taps, np.arange(lot.table.n)))
    return X, lot.y, list(lot.classes)


def drawn(rng: np.random.Generator, y: np.ndarray, count: int) -> np.ndarray:
    """Draw pictures at random, at least two of each class."""
    order = rng.permutation(len(y))
    first = [order[y[order] == label][:2] for label in np.unique(y)]
    must = np.concatenate(first)
    rest = order[~np.isin(order, must)]
    return np.concatenate([must, rest[: max(0, count - len(must))]])


def simulate(X: np.ndarray, y: np.ndarray, classes: list[str], splits: int) -> dict[str, Any]:
    """Count how often intervals hold the truth, for each size of the test part."""
    held = {size: [0, 0, 0] for size in SIZES}
    for number in range(splits):
        rng = np.random.default_rng(number)
        train = drawn(rng, y, TRAIN)
        head = fit_linear(
            "ridge",
            X[train],
            y[train],
            len(classes),
            strength=1.0,
            temperature=0.2,
            widths=[X.shape[1]],
        )
        others = np.setdiff1d(np.arange(len(y)), train)
        chances = head.predict_proba(X[others])
        truth = evaluate_predictions(y[others], chances, classes)
        for size in SIZES:
            test = rng.integers(0, len(others), size)
            told = evaluate_predictions(y[others[test]], chances[test], classes)
            held[size][0] += 1
            for place, name in enumerate(("accuracy", "balanced_accuracy"), 1):
                found, true = getattr(told, name), getattr(truth, name).value
                held[size][place] += found.low <= true <= found.high
    return {
        str(size): {
            "splits": n,
            "accuracy": right / n,
            "balanced_accuracy": balanced / n,
        }
        for size, (n, right, balanced) in held.items()
    }


def table(rows: dict[str, Any]) -> str:
    """Lay out the coverage."""
    lines = [
        "| data | " + " | ".join(f"{size} test pictures" for size in SIZES) + " |",
        "| --- | " + " | ".join("---" for _ in SIZES) + " |",
    ]
    for data, found in rows.items():
        shares = [found[str(size)] for size in SIZES]
        cells = [f"{100 * s['accuracy']:.1f} ({100 * s['balanced_accuracy']:.1f})" for s in shares]
        lines.append(f"| {data} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--splits", type=int, default=SPLITS)
    options = parser.parse_args()
    cache = options.work / "intervals-cache"
    cache.mkdir(parents=True, exist_ok=True)
    rows = {}
    for data in DATA_SETS:
        X, y, classes = features(options.data / data, cache)
        rows[data] = simulate(X, y, classes, options.splits)
        print(data, rows[data], flush=True)
    LOG.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", "utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(with_block(text, "intervals", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
