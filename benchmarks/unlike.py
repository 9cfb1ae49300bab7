"""How often a model notices pictures unlike those of training, and how often it is wrong there.

A model is made of each real set, on all pictures and on 100; then every other set is shown to it.
Of its own test part no more than some 2 % should be named. Writes ``results/unlike.json`` and the
table of README.md.

    python benchmarks/unlike.py
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np

from common import RESULTS, machine, parser_of, run_fit
from regraft.bundle.model import load
from regraft.data.manifest import read_manifest
from regraft.frozen.sources import FileSource
from run import README, with_block

DATA_SETS = ("hymenoptera", "mnist_sample", "ham10000_mel_nv", "flowers5")
SHOWN = 150
FEW = 100
LOG = RESULTS / "unlike.json"


def some_of(folder: Path, count: int, table: Path) -> Path:
    """Write a table with so many pictures of the training part, and the whole test part."""
    pictures = read_manifest(folder).pictures
    train = [p for p in pictures if p.role == "train" or p.role is None]
    test = [p for p in pictures if p.role in ("test", "val")]
    drawn = np.random.default_rng(0).choice(len(train), min(count, len(train)), replace=False)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", *(["split"] if test else [])])
        for picture in [train[k] for k in sorted(drawn)]:
            writer.writerow([picture.path, picture.label, *(["train"] if test else [])])
        for picture in test:
            writer.writerow([picture.path, picture.label, "test"])
    return table


def named(model_path: Path, data: Path, name: str) -> float | None:
    """Return the share (%) of the pictures of a set that a model takes for unlike."""
    model = load(model_path)
    if model.familiarity is None:
        return None
    pictures = read_manifest(data / name).pictures
    tested = [p for p in pictures if p.role in ("test", "val")] or list(pictures)
    places = np.unique(np.linspace(0, len(tested) - 1, min(SHOWN, len(tested))).astype(int))
    found = model.run([FileSource(tested[k].path, tested[k].name) for k in places])
    return 100 * float(np.mean(found.unlike)) if found.unlike is not None else None


def main() -> None:
    options = parser_of(__doc__).parse_args()
    data, rows = Path(options.data), []
    work = Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    os.environ["REGRAFT_CACHE"] = str(work / "unlike-cache")
    for name in DATA_SETS:
        for count in (None, FEW):
            photos = data / name
            if count is not None:
                photos = some_of(photos, count, work / f"unlike-{name}.csv")
            model = work / "unlike-model"
            _, record = run_fit(photos, model, work / "unlike-cache")
            shares = {other: named(model, data, other) for other in DATA_SETS}
            rows.append({"data": name, "train": record["counts"]["train"], "shares": shares})
            print(rows[-1], flush=True)
    LOG.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", "utf-8")
    lines = [
        f"| learned from | pictures | {' | '.join(DATA_SETS)} |",
        "| --- | --- |" + " --- |" * len(DATA_SETS),
    ]
    for row in rows:
        cells = ("–" if s is None else f"{s:.1f}" for s in row["shares"].values())
        lines.append(f"| {row['data']} | {row['train']} | {' | '.join(cells)} |")
    text = README.read_text(encoding="utf-8")
    README.write_text(with_block(text, "unlike", "\n".join(lines)), encoding="utf-8")


if __name__ == "__main__":
    main()
