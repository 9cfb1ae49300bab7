"""What leaving layers out costs or brings, for heads on frozen features.

Draws of every data set with 5, 20 and 100 training pictures a class. Where the depth curve points
to a depth before the last one, by one standard error or by two, what a head on the network up to
there gets of the test part is compared with what it gets on the whole network; the folds say which
of the two is taken. Each draw is written down as it ends, in ``results/shorter.jsonl``: started
again, this goes on with what is missing.

    python benchmarks/shorter.py --seeds 3
    python benchmarks/shorter.py --table
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np

from advisor import sampled
from common import RESULTS, parser_of
from regraft.advice.depth import DepthCurve, depth_curve
from regraft.advice.probe import exam_of
from regraft.advice.shorten import does_as_well
from regraft.candidates import candidate_sets
from regraft.data.manifest import read_manifest
from regraft.metrics import log_losses
from regraft.opening import open_backbone, plan_up_to
from regraft.options import FitOptions
from regraft.progress import Silent
from regraft.selection import Choice, fit_head
from regraft.strategy import FeatureSet
from regraft.workshop import Lot, Workshop, open_store
from run import README, with_block
from strategies import DATA_SETS

SIZES = (5, 20, 100)
LOG = RESULTS / "shorter.jsonl"
FEWEST = 30
RULES = {
    "two standard errors": lambda row: bool(row["in_the_way"]),
    "one": lambda _: True,
    f"one, of {FEWEST} pictures": lambda row: row["n"] >= FEWEST,
}


def tested(shop: Workshop, lot: Lot, choice: Choice) -> dict[str, float]:
    """Train a head on all that is not test, and test it."""
    rows = np.sort(np.concatenate([lot.splits.train, lot.splits.val]))
    head = fit_head(lot.table, lot.y, len(lot.classes), rows, choice, shop.progress)
    test = lot.splits.test
    found = head.predict_proba(lot.table.read(choice.features.taps, test)).astype(np.float64)
    right = found.argmax(axis=1) == lot.y[test]
    return {
        "accuracy": float(right.mean()),
        "log_loss": float(log_losses(lot.y[test], found).mean()),
    }


def sets_up_to(curve: DepthCurve, shop: Workshop) -> tuple[FeatureSet, ...]:
    """Name what a head up to the best depth may read; nothing where that is the last."""
    if curve.best is None or not curve.tells or curve.best is curve.points[-1]:
        return ()
    names = [cut.name for cut in shop.cuts]
    kept = shop.cuts[: names.index(curve.best.features.name) + 1]
    return tuple(replace(found, name=f"{found.name}, shorter") for found in candidate_sets(kept))


def measure(data: str, size: int, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Test both heads on a draw."""
    work, fit = options.work / "shorter", FitOptions(seed=seed)
    cache = work / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(sampled(options.data / data, size, seed, work))
    backbone = open_backbone(fit, cache)
    with open_store(cache) as store:
        shop = Workshop(backbone, plan_up_to(backbone, None), store, cache, fit, Silent())
        lot = shop.gather(manifest)
        choice = shop.choose(lot)
        curve = depth_curve(exam_of(shop, lot), shop.cuts, ())
        row: dict[str, Any] = {
            "data": data,
            "size": size,
            "seed": seed,
            "n": curve.n,
            "best": curve.best.features.name if curve.best else None,
            "in_the_way": list(curve.in_the_way),
            "whole": tested(shop, lot, choice),
            "shorter": None,
            "as_well": False,
        }
        shorter = sets_up_to(curve, shop)
        if not shorter:
            return row
        more = shop.with_taps(lot, [tap for found in shorter for tap in found.taps])
        assert more is not None, "no time was set"
        picked = shop.choose(more, shorter)
        duel = shop.choose(more, (picked.features, choice.features))
        well = bool(duel.evidence) and does_as_well(duel, picked.features)
        return {**row, "shorter": tested(shop, more, picked), "as_well": well}


def recorded() -> list[dict[str, Any]]:
    """Read what was measured before."""
    return (
        [json.loads(line) for line in LOG.read_text("utf-8").splitlines()] if LOG.exists() else []
    )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lay out what each rule for comparing brings against never leaving layers out."""
    lines = [
        "| compared from | draws | left out in | accuracy, points | log loss |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, rule in RULES.items():
        taken = [row for row in rows if row["shorter"] and row["as_well"] and rule(row)]
        gains = [row["shorter"]["accuracy"] - row["whole"]["accuracy"] for row in taken]
        losses = [row["shorter"]["log_loss"] - row["whole"]["log_loss"] for row in taken]
        lines.append(
            f"| {name} | {len(rows)} | {len(taken)} | {100 * sum(gains) / len(rows):+.2f} "
            f"| {sum(losses) / len(rows):+.4f} |"
        )
    accuracy = mean(row["whole"]["accuracy"] for row in rows)
    return "\n".join([*lines, "", f"The whole network: {accuracy:.1%}."])


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args()
    done = {(row["data"], row["size"], row["seed"]) for row in recorded()}
    for seed in range(options.seeds if not options.table else 0):
        for size in SIZES:
            for data in DATA_SETS:
                if (data, size, seed) not in done:
                    row = measure(data, size, seed, options)
                    with LOG.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
                    print(row, flush=True)
    text = README.read_text(encoding="utf-8")
    README.write_text(with_block(text, "shorter", table(recorded())), encoding="utf-8")


if __name__ == "__main__":
    main()
