"""How far pictures of several kinds are from ImageNet, by the statistics of the embedded networks.

Real folders where they are at hand, changed copies of ImageNet pictures, and pictures that are no
photographs. Writes ``results/distance.json`` and the table of README.md.

    python benchmarks/distance.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from common import RESULTS, machine, parser_of
from regraft.advice.distance import domain_distance
from regraft.backbones.registry import get_backbone
from regraft.frozen.sources import MemorySource
from regraft.progress import Silent
from run import README, with_block

NETWORKS = tuple(f"embedded:efficientnet_lite{number}" for number in range(3))
COUNT = 96
LOG = RESULTS / "distance.json"

Pixels = np.ndarray


def folder(path: Path) -> list[Image.Image]:
    """Open some pictures, evenly spread over a folder."""
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    places = np.linspace(0, len(files) - 1, min(COUNT, len(files))).astype(int)
    return [Image.open(files[place]).convert("RGB") for place in np.unique(places)]


def noisy(deviation: float) -> Callable[[Image.Image], Image.Image]:
    """Add noise."""
    rng = np.random.default_rng(0)

    def change(picture: Image.Image) -> Image.Image:
        pixels = np.asarray(picture)
        added = pixels + rng.normal(0, deviation, pixels.shape)
        return Image.fromarray(added.clip(0, 255).astype(np.uint8))

    return change


def sketch(picture: Image.Image) -> Image.Image:
    """Draw edges in black on white."""
    return ImageOps.invert(picture.convert("L").filter(ImageFilter.FIND_EDGES)).convert("RGB")


def small(picture: Image.Image) -> Image.Image:
    """Shrink to 32 pixels and enlarge again."""
    return picture.resize((32, 32)).resize((224, 224), Image.Resampling.BILINEAR)


def page(number: int) -> Image.Image:
    """Print a page of text."""
    rng = np.random.default_rng(number)
    made = Image.new("RGB", (300, 300), "white")
    draw = ImageDraw.Draw(made)
    for line in range(8, 290, 14):
        text = "".join(rng.choice(list("abcdefghijklm nopqrst uvwxyz "), 46))
        draw.text((8, line), text, fill="black")
    return made


def spectrogram(number: int) -> Image.Image:
    """Draw the spectrogram of some tones in noise."""
    rng = np.random.default_rng(number)
    time = np.arange(224 * 128)
    sound = rng.normal(0, 0.3, len(time))
    for _ in range(6):
        sweep = rng.uniform(0.01, 0.4) * time + rng.uniform(-1e-6, 1e-6) * time**2
        sound += rng.uniform(0.1, 1) * np.sin(2 * np.pi * sweep)
    power = np.abs(np.fft.rfft(sound.reshape(224, 128) * np.hanning(128), axis=1))
    shades = np.log1p(power).T[::-1]
    grey = (255 * (shades - shades.min()) / np.ptp(shades)).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def kinds(data: Path) -> dict[str, list[Image.Image]]:
    """Gather the pictures of each kind."""
    source = folder(data / "imagenet_sample")
    changes: dict[str, Callable[[Image.Image], Image.Image]] = {
        "grey": lambda p: p.convert("L").convert("RGB"),
        **{
            f"blurred, radius {r}": lambda p, r=r: p.filter(ImageFilter.GaussianBlur(r))
            for r in (2, 4, 8)
        },
        "shrunk to 32 pixels": small,
        **{f"noise of {d} added": noisy(d) for d in (30, 80)},
        "a quarter as bright": lambda p: p.point(lambda value: value // 4),
        "edges": sketch,
    }
    rng = np.random.default_rng(1)
    return {
        "ImageNet": source,
        "ants and bees": folder(data / "hymenoptera" / "train"),
        "flowers": folder(data / "flowers5" / "train"),
        **{f"ImageNet, {name}": [change(p) for p in source] for name, change in changes.items()},
        "skin lesions": folder(data / "ham10000_mel_nv" / "train"),
        "handwritten digits": folder(data / "mnist_sample" / "train"),
        "spectrograms": [spectrogram(number) for number in range(COUNT)],
        "pages of text": [page(number) for number in range(COUNT)],
        "noise": [
            Image.fromarray(rng.integers(0, 256, (224, 224, 3), dtype=np.uint8))
            for _ in range(COUNT)
        ],
    }


def table(rows: dict[str, dict[str, list[float]]]) -> str:
    """Lay out the distances."""
    names = [network.removeprefix("embedded:efficientnet_") for network in NETWORKS]
    lines = [
        "| pictures | " + " | ".join(f"{name}: all (looks, content)" for name in names) + " |",
        "| --- | " + " | ".join("---" for _ in names) + " |",
    ]
    for kind, found in rows.items():
        cells = [
            f"{found[n][0]:.2f} ({found[n][1]:.2f}, {found[n][2]:.2f})" if n in found else ""
            for n in NETWORKS
        ]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = parser_of(__doc__)
    options = parser.parse_args()
    cache = options.work / "distance-cache"
    cache.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, list[float]]] = {}
    for kind, pictures in kinds(options.data).items():
        sources = [MemorySource(np.asarray(p), str(n)) for n, p in enumerate(pictures)]
        rows[kind] = {}
        for network in NETWORKS:
            found = domain_distance(
                get_backbone(network, cache),
                sources,
                np.arange(len(sources)),
                cache,
                seed=0,
                progress=Silent(),
            )
            rows[kind][network] = [found.overall, found.looks, found.content]
        print(kind, rows[kind], flush=True)
    LOG.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", "utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(with_block(text, "distance", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
