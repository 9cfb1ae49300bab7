"""How close the frozen pass comes to what the machine can do.

limit = cores / (decode core-seconds + inference core-seconds a picture), each measured alone:
decoding and resizing on one thread, inference with the engine of the pass on prepared pixels.
The pass itself is everything: reading, hashing, decoding, the precision check on the first
pictures, compiling the graph, inference, writing to the store. The three take turns.

The pictures are photo-sized JPEG files (500 x 375, quality 90) made of ants and bees, each with
other bytes: a comment makes many files of one picture, which costs the decoder nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from common import Figure, Options, Report, main, median
from regraft.backbones.registry import get_backbone
from regraft.frozen.cpu import available_cores
from regraft.frozen.devices import Processor
from regraft.frozen.engine import run_all
from regraft.frozen.extract import FrozenPass
from regraft.frozen.network import converted_network
from regraft.frozen.plan import default_plan
from regraft.frozen.sources import FileSource
from regraft.frozen.store import FeatureStore
from regraft.options import DEFAULT_BACKBONE
from regraft.progress import Silent
from regraft.strategy import Precision

BACKBONE = get_backbone(DEFAULT_BACKBONE, Path("no cache"))
PLAN = default_plan(BACKBONE.probes)
SIZE = (500, 375)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Pictures of the pass, of the decoder alone, of the engine alone; and rounds."""

    whole: int
    decoded: int
    inferred: int
    rounds: int


def photos(folder: Path) -> Iterator[bytes]:
    """Re-encode every picture of a folder at the size of a photo."""
    for path in sorted(folder.rglob("*.*")):
        try:
            photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        except UnidentifiedImageError:
            continue
        encoded = BytesIO()
        ImageOps.fit(photo, SIZE).save(encoded, "JPEG", quality=90)
        yield encoded.getvalue()


def with_comment(jpeg: bytes, number: int) -> bytes:
    """Put a comment segment after the start marker, so that the bytes are new."""
    text = b"%012d" % number
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def write_files(encoded: Sequence[bytes], folder: Path, count: int) -> list[FileSource]:
    folder.mkdir()
    sources = []
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        path.write_bytes(with_comment(encoded[number % len(encoded)], number))
        sources.append(FileSource(path, path.name))
    return sources


def decode_alone(encoded: Sequence[bytes], count: int, threads: int = 1) -> float:
    """Core-seconds a picture of decoding and resizing from memory."""

    def work(first: int) -> None:
        for number in range(first, count, threads):
            BACKBONE.preprocess.encoded(encoded[number % len(encoded)])

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * (time.perf_counter() - start) / count


def infer_alone(cache: Path, pixels: NDArray[np.uint8], count: int, precision: Precision) -> float:
    """Core-seconds a picture of the engine that the pass uses, busy with ready batches."""
    engine = Processor(cache).engine(BACKBONE, PLAN.taps, precision)
    run_all(engine, pixels)
    repeats = -(-count // len(pixels))
    start = time.perf_counter()
    for _ in range(repeats):
        for first in range(0, len(pixels), engine.batch):
            engine.start(pixels[first : first + engine.batch], lambda _: None)
    engine.wait()
    return available_cores() * (time.perf_counter() - start) / (repeats * len(pixels))


def whole_pass(sources: Sequence[FileSource], cache: Path) -> tuple[float, Precision]:
    """Seconds a picture of the pass, into an empty store."""
    for path in cache.glob("features*"):
        path.unlink()
    with FeatureStore(cache) as store:
        frozen = FrozenPass(BACKBONE, PLAN, store, Processor(cache), None, Silent())
        start = time.perf_counter()
        found = frozen.run(sources)
        seconds = time.perf_counter() - start
    if found.misses != len(sources):
        raise RuntimeError(f"{len(sources)} pictures should be new, got {found.misses}")
    return seconds / len(sources), found.precision


def measure(options: Options) -> Report:
    sizes = Sizes(256, 64, 64, 1) if options.quick else Sizes(6000, 800, 2000, 5)
    rows = []
    with options.scratch() as scratch:
        encoded = list(photos(options.pictures("hymenoptera")))
        pixels = np.stack([BACKBONE.preprocess.encoded(jpeg) for jpeg in encoded[:256]])
        sources = write_files(encoded, scratch / "photos", sizes.whole)
        cache = scratch / "cache"
        cache.mkdir()
        converted_network(BACKBONE, (), cache)
        _, precision = whole_pass(sources[: sizes.decoded], cache)
        os.sync()
        for _ in range(sizes.rounds):
            decode = decode_alone(encoded, sizes.decoded)
            together = decode_alone(encoded, sizes.decoded, available_cores())
            infer = infer_alone(cache, pixels, sizes.inferred, precision)
            rows.append((decode, together, infer, whole_pass(sources, cache)[0]))
    return report(rows, precision, sizes)


def report(
    rows: Sequence[tuple[float, float, float, float]], precision: Precision, sizes: Sizes
) -> Report:
    decode, together, infer, whole = (median(column) for column in zip(*rows, strict=True))
    limit = available_cores() / (decode + infer)
    figures = [
        Figure("decode and resize, one thread alone", 1000 * decode, "core-ms a picture"),
        Figure("the same on every core at once", 1000 * together, "core-ms a picture"),
        Figure(f"inference alone, {precision}", 1000 * infer, "core-ms a picture"),
        Figure("limit", limit, "pictures/s"),
        Figure(f"whole pass over {sizes.whole} pictures", 1 / whole, "pictures/s"),
        Figure("share of the limit", 100 / (whole * limit), "%", 85, at_most=False),
    ]
    names = ("decode_s", "decode_on_every_core_s", "inference_core_s", "whole_s")
    return Report(
        figures, raw={n: list(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)}
    )


if __name__ == "__main__":
    main("extraction", measure)
