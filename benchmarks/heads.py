"""Choice and training of the head at 50,000 pictures, 1,280 features and 1,000 classes.

Made features in a real feature store, with all taps of a fit. A picture has a hidden vector (its
class's, and noise), of which the averages are random projections, rectified; earlier cuts see it
under more noise, and the other poolings are noise alone, so that the 1,280 averages of the last
cut have all there is to know. A process of its own chooses and trains as `regraft fit` does; its
peak memory is the kernel's high-water mark of resident memory, mapped files included.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np

from common import HERE, Figure, Options, Report, main, run_process
from regraft.backbones.registry import get_backbone
from regraft.frozen.plan import default_plan
from regraft.frozen.store import FeatureStore
from regraft.frozen.table import StoredFeatures
from regraft.options import DEFAULT_BACKBONE
from regraft.strategy import Tap

PLAN = default_plan(get_backbone(DEFAULT_BACKBONE, HERE).probes)
HIDDEN = 128
BATCH = 500
LAST_NOISE, MORE_NOISE = 2.0, 2.0
FOLDS = 5


def digests(count: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest() for number in range(count)]


def labels(count: int, n_classes: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.arange(count, dtype=np.intp) % n_classes


def fill(cache: Path, count: int, n_classes: int) -> None:
    """Write the features of every picture at every cut, the last cut first."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((n_classes, HIDDEN), np.float32)
    maps = [generator.standard_normal((HIDDEN, c.cut.channels), np.float32) for c in PLAN.cuts]
    names, y = digests(count), labels(count, n_classes)
    with FeatureStore(cache) as store:
        for first in range(0, count, BATCH):
            part = slice(first, first + BATCH)
            n = len(y[part])
            hidden = centres[y[part]] + LAST_NOISE * generator.standard_normal((n, HIDDEN))
            batches = []
            for number, plan in reversed([*enumerate(PLAN.cuts)]):
                rows = generator.standard_normal((n, plan.width), np.float32)
                rows[:, plan.columns(Tap(plan.cut.name, "avg"))] = hidden @ maps[number]
                batches.append((str(number), names[part], np.maximum(rows, 0)))
                hidden = hidden + MORE_NOISE * generator.standard_normal((n, HIDDEN))
            store.put_batches(batches)


def work(cache: str, train: int, test: int, n_classes: int) -> None:
    """Choose, train and test as a fit does; prints one JSON object."""
    from regraft.candidates import candidate_sets
    from regraft.data.splits import folds
    from regraft.selection import choose, fit_head

    y, rows = labels(train + test, n_classes), np.arange(train)
    sets = candidate_sets([plan.cut for plan in PLAN.cuts])
    with FeatureStore(Path(cache)) as store:
        spaces = tuple(str(number) for number in range(len(PLAN.cuts)))
        table = StoredFeatures(store, PLAN, spaces, tuple(digests(train + test)), Path(cache))
        start = time.perf_counter()
        dealt = folds(y[rows], rows, FOLDS, 0)
        choice = choose(table, y, n_classes, rows=rows, sets=sets, folds=dealt)
        chosen = time.perf_counter()
        head = fit_head(table, y, n_classes, rows, choice)
        fitted = time.perf_counter()
        held = np.arange(train, train + test)
        scores = head.scores(table.read(choice.features.taps, held))
    record = {
        "choose_s": chosen - start,
        "fit_s": fitted - chosen,
        "features": choice.features.name,
        "dim": int(head.weight.shape[1]),
        "strength": choice.strength,
        "accuracy": float((scores.argmax(axis=1) == y[held]).mean()),
    }
    print(json.dumps(record))


def measure(options: Options) -> Report:
    train, test, n_classes = (600, 200, 20) if options.quick else (50_000, 5_000, 1_000)
    with options.scratch() as scratch:
        fill(scratch, train + test, n_classes)
        call = f"import heads; heads.work({str(scratch)!r}, {train}, {test}, {n_classes})"
        finished = run_process([sys.executable, "-c", call], PYTHONPATH=HERE)
    found = json.loads(finished.out)
    return Report(
        [
            Figure(f"choice, {train:,} x {n_classes:,} classes", found["choose_s"], "s"),
            Figure(f"final fit on {found['dim']:,} features", found["fit_s"], "s"),
            Figure("peak memory of the process", finished.peak_bytes / 1e9, "GB"),
            Figure("accuracy on other made pictures", 100 * found["accuracy"], "%"),
        ],
        raw=found,
    )


if __name__ == "__main__":
    main("heads", measure)
