"""What an audit takes, against the extraction of the features alone.

Pictures: 50,000 as many_small.py makes them, a thousand of which are there once more, mirrored
(those of a class are all alike, which is the worst case for the search for copies); and two sets
of photographs. Each half is a process of its own with an empty store and a network converted
before; the halves take turns, on the photographs three times.

    python benchmarks/audit_many.py
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import simplejpeg

from common import (
    Cells,
    Figure,
    Options,
    Report,
    converted_cache,
    main,
    median,
    run_fit,
    run_process,
)
from many_small import make_pictures

COUNT, COPIES = 50_000, 1_000
PHOTOGRAPHS = ("flowers5", "ham10000_mel_nv")
RUNS = 3
EXTRACT = """import sys
from regraft.data.manifest import read_manifest
from regraft.frozen.devices import get_device
from regraft.frozen.extract import FrozenPass
from regraft.frozen.files import cache_dir
from regraft.frozen.plan import default_plan
from regraft.frozen.sources import FileSource
from regraft.opening import open_backbone
from regraft.options import FitOptions
from regraft.progress import Silent
from regraft.workshop import open_store
manifest, cache = read_manifest(sys.argv[1]), cache_dir()
with open_store(cache) as store:
    network = open_backbone(FitOptions(), cache)
    device = get_device("cpu", cache)
    frozen = FrozenPass(network, default_plan(network.probes), store, device, None, Silent())
    frozen.run([FileSource(picture.path, picture.name) for picture in manifest.pictures])
"""
AUDIT = "from regraft.cli import main; main()"


def made(folder: Path, count: int, copies: int) -> Path:
    """Write made pictures, some of them mirrored once more."""
    photos = make_pictures(folder, count)
    for path in sorted(photos.rglob("*.jpg"))[:copies]:
        pixels = simplejpeg.decode_jpeg(path.read_bytes())
        mirrored = np.ascontiguousarray(pixels[:, ::-1])
        encoded = simplejpeg.encode_jpeg(mirrored, quality=90)
        path.with_name(f"{path.stem}-mirrored.jpg").write_bytes(encoded)
    return photos


def compared(name: str, photos: Path, scratch: Path, runs: int) -> Cells:
    """Time both halves, and count what the audit finds."""
    seconds: dict[str, list[float]] = {"extraction": [], "audit": []}
    record, peak = {}, 0
    for _ in range(runs):
        for what, taken in seconds.items():
            cache = converted_cache(scratch / "warm", scratch / "cache")
            said = [EXTRACT, photos] if what == "extraction" else [AUDIT, "audit", photos, "--json"]
            finished = run_process([sys.executable, "-c", *said], REGRAFT_CACHE=cache)
            shutil.rmtree(cache)
            taken.append(finished.seconds)
            if what == "audit":
                record, peak = json.loads(finished.out), finished.peak_bytes
    kinds = ("copy", "leak", "conflict")
    row = {
        "pictures": name,
        "count": record["pictures"],
        "extraction, s": round(median(seconds["extraction"]), 1),
        "audit, s": round(median(seconds["audit"]), 1),
        "ratio": round(median(seconds["audit"]) / median(seconds["extraction"]), 2),
        "peak memory of the audit, MB": round(peak / 1e6),
        "groups of copies": sum(len(f["items"]) for f in record["findings"] if f["kind"] in kinds),
    }
    print(row, flush=True)
    return row


def measure(options: Options) -> Report:
    count, copies = (600, 20) if options.quick else (COUNT, COPIES)
    with options.scratch() as scratch:
        run_fit(make_pictures(scratch / "few", 200), scratch / "model", scratch / "warm")
        rows = [compared("made", made(scratch / "made", count, copies), scratch, 1)]
        for name in () if options.quick else PHOTOGRAPHS:
            rows.append(compared(name, options.pictures(name), scratch, RUNS))
    figures = [Figure(f"audit of {row['pictures']}", float(row["ratio"]), "x", 2) for row in rows]
    return Report(figures=figures, cases=rows)


if __name__ == "__main__":
    main("audit_many", measure)
