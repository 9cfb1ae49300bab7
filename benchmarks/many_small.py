"""50,000 small pictures: is memory bounded, and does a picture cost no more than among 2,000.

The pictures are made: 64 x 64 JPEG files of 12 classes, each the soft pattern of its class under
noise. `regraft fit` runs as a process with an empty store and a network converted before. Peak
memory is the kernel's high-water mark of resident memory, mapped files included.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import simplejpeg

from common import Figure, Options, Report, converted_cache, main, median, run_fit

CLASSES, SIDE = 12, 64
SMALL, LARGE = 2_000, 50_000


def make_pictures(folder: Path, count: int) -> Path:
    """Write so many pictures, a folder a class."""
    generator = np.random.default_rng(0)
    coarse = generator.uniform(64, 192, (CLASSES, 8, 8, 3))
    patterns = coarse.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)
    for label in range(CLASSES):
        (folder / f"class {label:02d}").mkdir(parents=True)
    for number in range(count):
        label = number % CLASSES
        noise = generator.integers(-60, 61, (SIDE, SIDE, 3), dtype=np.int16)
        shift = generator.integers(0, SIDE, 2)
        pixels = np.roll(patterns[label], shift, (0, 1)) + noise
        encoded = simplejpeg.encode_jpeg(pixels.clip(0, 255).astype(np.uint8), quality=90)
        (folder / f"class {label:02d}" / f"{number:06d}.jpg").write_bytes(encoded)
    return folder


def measure(options: Options) -> Report:
    small, large = (200, 600) if options.quick else (SMALL, LARGE)
    order = (small, large) if options.quick else (small, small, large, small)
    rows = []
    with options.scratch() as scratch:
        photos = {n: make_pictures(scratch / f"photos-{n}", n) for n in (small, large)}
        run_fit(photos[small], scratch / "model", scratch / "warm")
        for count in order:
            cache = converted_cache(scratch / "warm", scratch / "cache")
            finished, record = run_fit(photos[count], scratch / "model", cache)
            shutil.rmtree(cache)
            rows.append(
                {
                    "pictures": count,
                    "seconds": round(finished.seconds, 2),
                    "ms a picture": round(1000 * finished.seconds / count, 3),
                    "frozen pass, ms": round(1000 * record["seconds"]["frozen"] / count, 3),
                    "choice and head, ms": round(1000 * record["seconds"]["head"] / count, 3),
                    "processor, ms": round(1000 * finished.cpu_seconds / count, 3),
                    "peak memory, MB": round(finished.peak_bytes / 1e6),
                    "test accuracy, %": round(100 * record["test"]["accuracy"], 2),
                }
            )
    few, many = ([row for row in rows if row["pictures"] == n] for n in (small, large))
    ratio = median([r["ms a picture"] for r in many]) / median([r["ms a picture"] for r in few])
    return Report(
        [
            Figure(
                f"peak memory, {large:,} pictures",
                max(row["peak memory, MB"] for row in many) / 1000,
                "GB",
                2.0,
            ),
            Figure(f"cost of a picture, {large:,} against {small:,}", ratio, "x", 1.0),
        ],
        rows,
    )


if __name__ == "__main__":
    main("many_small", measure)
