"""Does an audit find what is wrong, and nothing else? Defects planted in real pictures.

Copies: of a tenth of the test pictures one goes into train, and of a tenth of the training pictures
one goes beside it, each changed in one of five ways. Found is a pair that is named together. Clean
pictures that are named are counted without and with what was planted; real collections have copies
of their own, so those are listed to be looked at. Labels: a tenth is moved to another class.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import regraft
from common import Figure, Options, Report, main
from regraft.alike.copies import find_copies, scaled_features
from regraft.alike.looks import SIDE
from regraft.auditing.findings import Audit
from regraft.data.manifest import read_manifest
from regraft.data.records import Picture

SETS = ("hymenoptera", "flowers5", "ham10000_mel_nv", "mnist_sample")
LABELS = "flowers5"
SHARE, NOISE = 0.1, 0.1
MOST = 150  # planted pictures of either kind in a set
MANY = 50_000
COPIES = ("leak", "conflict", "copy")


def packed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def smaller(image: Image.Image) -> Image.Image:
    return image.resize((max(8, image.width // 2), max(8, image.height // 2)))


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    left, top, right, bottom = rng.uniform(0.01, 0.06, 4)
    w, h = image.size
    return image.crop(
        (round(w * left), round(h * top), round(w * (1 - right)), round(h * (1 - bottom)))
    )


Change = Callable[[Image.Image, np.random.Generator], Image.Image]
CHANGES: dict[str, Change] = {
    "half the size": lambda image, _: smaller(image),
    "JPEG of quality 30": lambda image, _: packed(image, 30),
    "mirrored": lambda image, _: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": cropped,
    "all of these": lambda image, rng: packed(
        smaller(cropped(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), rng)), 50
    ),
}


def write_table(path: Path, rows: Sequence[tuple[Path, str, str]]) -> Path:
    """Write a table of pictures: path, label, part."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        writer.writerows(rows)
    return path


def row_of(picture: Picture) -> tuple[Path, str, str]:
    return picture.path.resolve(), picture.label, picture.role or "train"


def named(audit: Audit, *kinds: str) -> list[frozenset[str]]:
    """Return the groups of pictures that findings of some kinds name, by file name."""
    return [
        frozenset(Path(name).name for name in item.pictures)
        for finding in audit.findings
        if finding.kind in kinds
        for item in finding.items
    ]


def copies(name: str, options: Options, folder: Path) -> dict[str, Any]:
    """Plant copies in a set."""
    pictures = read_manifest(options.pictures(name)).pictures
    rng = np.random.default_rng(0)
    before = named(regraft.audit(options.pictures(name)), *COPIES)
    rows = [row_of(picture) for picture in pictures]
    planted: dict[str, list[frozenset[str]]] = {change: [] for change in CHANGES}
    for part in ("train", "test"):
        found = [picture for picture in pictures if (picture.role == "train") == (part == "train")]
        count = 10 if options.quick else min(MOST, round(SHARE * len(found)))
        for number, place in enumerate(rng.permutation(len(found))[:count]):
            source = found[place]
            change = list(CHANGES)[number % len(CHANGES)]
            with Image.open(source.path) as image:
                changed = CHANGES[change](image.convert("RGB"), rng)
            copy = folder / f"planted-{part}-{number}.jpg"
            changed.save(copy, quality=90)
            rows.append((copy, source.label, "train"))
            planted[change].append(frozenset({copy.name, source.path.name}))
    audit = regraft.audit(write_table(folder / f"{name}.csv", rows))
    groups = named(audit, *COPIES)
    known = {frozenset({a, b}) for pairs in planted.values() for a, b in map(sorted, pairs)}
    touched = set().union(*known, *before)
    wrong = {picture for group in groups for picture in group} - touched
    hits = {
        change: 100 * np.mean([any(pair <= group for group in groups) for pair in pairs])
        for change, pairs in planted.items()
    }
    return {
        "data": name,
        "pictures": len(pictures),
        "named as they are, %": round(100 * len(set().union(*before)) / len(pictures), 2),
        "planted": len(known),
        **{f"found: {change}, %": round(float(hit), 1) for change, hit in hits.items()},
        "named beside them, %": round(100 * len(wrong) / len(pictures), 2),
        "as they are": [sorted(group) for group in before],
    }


def labels(options: Options, folder: Path) -> dict[str, float]:
    """Move a tenth of the pictures to another class."""
    pictures = read_manifest(options.pictures(LABELS)).pictures
    classes = sorted({picture.label for picture in pictures})
    rng = np.random.default_rng(1)
    moved = set(rng.permutation(len(pictures))[: round(NOISE * len(pictures))].tolist())
    rows = []
    for number, picture in enumerate(pictures):
        path, label, part = row_of(picture)
        if number in moved:
            label = str(rng.choice([other for other in classes if other != label]))
        rows.append((path, label, part))
    audit = regraft.audit(write_table(folder / "labels.csv", rows))
    found = {picture for group in named(audit, "label") for picture in group}
    wanted = {pictures[number].path.name for number in moved}
    return {
        "recall": 100 * len(found & wanted) / len(wanted),
        "precision": 100 * len(found & wanted) / max(1, len(found)),
    }


def seconds_of_many(count: int) -> float:
    """Time the search for copies among many pictures, a tenth of them copies."""
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (count, SIDE // 4, SIDE // 4), np.uint8)
    thumbnails = source.repeat(4, axis=1).repeat(4, axis=2)
    features = rng.normal(size=(count, 320)).astype(np.float32)
    tenth = count // 10
    thumbnails[-tenth:], features[-tenth:] = thumbnails[:tenth, :, ::-1], features[:tenth]
    began = time.perf_counter()
    assert len(find_copies(thumbnails, scaled_features(features))) == tenth
    return time.perf_counter() - began


def measure(options: Options) -> Report:
    cases = []
    with options.scratch() as folder:
        os.environ["REGRAFT_CACHE"] = str(folder / "cache")
        for name in SETS[:1] if options.quick else SETS:
            cases.append(copies(name, options, folder))
            print(json.dumps(cases[-1]), flush=True)
        noisy = labels(options, folder)
    photographs = [case for case in cases if case["data"] != "mnist_sample"]
    found = [case[f"found: {change}, %"] for case in photographs for change in CHANGES]
    many = 2_000 if options.quick else MANY
    return Report(
        figures=[
            Figure("copies found in photographs, worst kind and set", min(found), "%", 95, False),
            Figure(
                "clean pictures named beside what was planted, worst set",
                max(case["named beside them, %"] for case in cases),
                "%",
                1,
            ),
            Figure("wrong labels found (flowers5, a tenth wrong)", noisy["recall"], "%", 70, False),
            Figure("of the labels named, wrong", noisy["precision"], "%", 50, False),
            Figure(f"search for copies among {many:,} made pictures", seconds_of_many(many), "s"),
        ],
        cases=[{k: v for k, v in case.items() if k != "as they are"} for case in cases],
        raw={"named as they are": {case["data"]: case["as they are"] for case in cases}},
    )


if __name__ == "__main__":
    main("audit", measure)
