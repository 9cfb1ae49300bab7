"""Other networks: the frozen pass beside eager PyTorch, inference alone and with decoding.

Eager PyTorch is given its best ordinary way: channels-last, float32, batches of 32, all cores.
Both compute the network without its head and average what comes out; a row of its own shows the
engine with every feature that a fit reads, which is also what decodes. Arithmetic is counted as two
operations for each multiply-add, so that a rate can be held against what the processor can do at
all, which is measured too: the best of some large float32 products of matrices. Weights are random:
they do not change the speed. The cases take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from common import Figure, Options, Report, main, median
from regraft.backbones.base import Backbone
from regraft.backbones.pooling import Pool
from regraft.backbones.registry import get_backbone
from regraft.frozen.devices import Processor
from regraft.frozen.engine import Engine, run_all
from regraft.frozen.extract import FrozenPass
from regraft.frozen.plan import default_plan
from regraft.frozen.sources import FileSource
from regraft.frozen.store import FeatureStore
from regraft.progress import Silent
from regraft.strategy import Precision, Tap

NETWORKS = (
    "timm:resnet50",
    "timm:mobilenetv2_100",
    "timm:efficientnet_b0",
    "timm:vit_tiny_patch16_224",
    "timm:densenet121",
)
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16")
EAGER_BATCH = 32
_PRODUCT = 3072


@dataclass(frozen=True, slots=True)
class Rates:
    """Pictures a second of one network, one number a round; and its operations a picture."""

    operations: float
    eager: list[float]
    engine: dict[Precision, list[float]]
    all_taps: dict[Precision, list[float]]
    eager_decoding: list[float]
    decoding: dict[Precision, list[float]]


def photos(folder: Path, count: int) -> list[Path]:
    """Write different crops of two photographs, about 500 x 375 pixels, as JPEG."""
    from PIL import Image

    generator = np.random.default_rng(0)
    images = load_sample_images().images
    paths = []
    for number in range(count):
        image = images[number % 2]
        y, x = generator.integers(0, 427 - 375), generator.integers(0, 640 - 500)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(image[y : y + 375, x : x + 500]).save(paths[-1], quality=90)
    return paths


def eager_network(backbone: Backbone) -> Callable[[NDArray[np.uint8]], Any]:
    """Build the network in PyTorch, channels-last: from pixels to features."""
    import torch

    last = backbone.probes[-1]
    trunk = backbone.chain().prefix(last.name).to(memory_format=torch.channels_last)
    pool = Pool(last, "avg")
    preprocess = backbone.preprocess

    def run(pixels: NDArray[np.uint8]) -> Any:
        with torch.inference_mode():
            x = torch.from_numpy(preprocess.normalised(pixels))
            return pool(trunk(x.to(memory_format=torch.channels_last)))

    return run


def rate(work: Callable[[], Any], pictures: int) -> float:
    """Pictures a second."""
    start = time.perf_counter()
    work()
    return pictures / (time.perf_counter() - start)


def in_batches(run: Callable[[NDArray[np.uint8]], Any], pixels: NDArray[np.uint8]) -> None:
    for start in range(0, len(pixels), EAGER_BATCH):
        run(pixels[start : start + EAGER_BATCH])


def decode_then_run(
    run: Callable[[NDArray[np.uint8]], Any], backbone: Backbone, paths: Sequence[Path]
) -> None:
    """Do what a plain script does: decode a batch, run it, decode the next."""
    for start in range(0, len(paths), EAGER_BATCH):
        batch = [path.read_bytes() for path in paths[start : start + EAGER_BATCH]]
        run(np.stack([backbone.preprocess.encoded(data) for data in batch]))


def extraction(
    backbone: Backbone, precision: Precision, paths: Sequence[Path], cache: Path, store: Path
) -> Callable[[], Any]:
    sources = [FileSource(path, path.name) for path in paths]
    plan = default_plan(backbone.probes)

    def work() -> None:
        with FeatureStore(store) as features:
            FrozenPass(backbone, plan, features, Processor(cache), precision, Silent()).run(sources)

    return work


def measure_one(name: str, paths: Sequence[Path], scratch: Path, rounds: int) -> Rates:
    cache = scratch / "cache"
    backbone = get_backbone(name, cache, pretrained=False)
    pixels = np.stack([backbone.preprocess.encoded(path.read_bytes()) for path in paths])
    run = eager_network(backbone)
    taps = default_plan(backbone.probes).taps
    last = (Tap(backbone.probes[-1].name),)
    processor = Processor(cache)
    engines: dict[Precision, Engine] = {p: processor.engine(backbone, last, p) for p in PRECISIONS}
    tapped: dict[Precision, Engine] = {p: processor.engine(backbone, taps, p) for p in PRECISIONS}
    run(pixels[:EAGER_BATCH])
    for engine in (*engines.values(), *tapped.values()):
        run_all(engine, pixels[:EAGER_BATCH])
    operations = 2.0 * (backbone.description.multiply_adds or 0)
    engine_rates, tap_rates, decoding_rates = ({p: [] for p in PRECISIONS} for _ in range(3))
    rates = Rates(operations, [], engine_rates, tap_rates, [], decoding_rates)
    count = len(paths)
    for number in range(rounds):
        rates.eager.append(rate(lambda: in_batches(run, pixels), count))
        rates.eager_decoding.append(rate(lambda: decode_then_run(run, backbone, paths), count))
        for precision, engine in engines.items():
            rates.engine[precision].append(rate(lambda e=engine: run_all(e, pixels), count))
            taken = rate(lambda e=tapped[precision]: run_all(e, pixels), count)
            rates.all_taps[precision].append(taken)
            store = scratch / f"store-{name.partition(':')[2]}-{precision}-{number}"
            work = extraction(backbone, precision, paths, cache, store)
            rates.decoding[precision].append(rate(work, count))
    return rates


def peak(rounds: int) -> float:
    """Float32 operations a second of both cores, by the largest of some products of matrices."""
    import torch

    a = torch.rand(_PRODUCT, _PRODUCT)
    work = 2.0 * _PRODUCT**3
    return max(rate(lambda: a @ a, 1) * work for _ in range(3 * rounds))


def measure(options: Options) -> Report:
    count, rounds = (EAGER_BATCH, 1) if options.quick else (4 * EAGER_BATCH, 3)
    most = peak(rounds)
    figures = [Figure("float32 product of matrices, both cores", most / 1e9, "GFLOP/s")]
    rows = []
    with options.scratch() as scratch:
        paths = photos(scratch, count)
        for name in NETWORKS:
            found = measure_one(name, paths, scratch, rounds)
            eager = median(found.eager)
            for precision, target in (("f32", 2.0), ("bf16", 4.0)):
                times = median(found.engine[precision]) / eager
                what = f"{name}, inference, {precision} against eager PyTorch"
                figures.append(Figure(what, times, "x", target, at_most=False))
            used = found.operations * median(found.engine["f32"]) / most
            what = f"{name}, float32 of the engine, part of what the product of matrices reaches"
            figures.append(Figure(what, 100 * used, "%"))
            rows.append(
                {
                    "network": name,
                    "eager f32": round(eager, 1),
                    **{f"engine {p}": round(median(v), 1) for p, v in found.engine.items()},
                    **{f"all taps, {p}": round(median(v), 1) for p, v in found.all_taps.items()},
                    "decoding, eager f32": round(median(found.eager_decoding), 1),
                    **{f"decoding, {p}": round(median(v), 1) for p, v in found.decoding.items()},
                }
            )
    return Report(figures, rows)


if __name__ == "__main__":
    main("backbones", measure)
