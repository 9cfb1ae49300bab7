"""What an audit of 50,000 pictures takes, against the extraction of their features alone.

The pictures are those of many_small.py; a thousand of them are there once more, mirrored. Each
half is a process of its own with an empty store and a network converted before.

    python benchmarks/audit_many.py
"""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import simplejpeg

from common import Figure, Options, Report, converted_cache, main, median, run_fit, run_process
from many_small import make_pictures

COUNT, COPIES = 50_000, 1_000
EXTRACT = """import sys, time
from regraft.app import default_plan, open_backbone, open_store
from regraft.data.manifest import read_manifest
from regraft.frozen.devices import get_device
from regraft.frozen.extract import FrozenPass
from regraft.frozen.files import cache_dir
from regraft.frozen.sources import FileSource
from regraft.options import FitOptions
from regraft.progress import Silent
manifest, cache = read_manifest(sys.argv[1]), cache_dir()
with open_store(cache) as store:
    network = open_backbone(FitOptions(), cache)
    device = get_device("cpu", cache)
    frozen = FrozenPass(network, default_plan(network.probes), store, device, None, Silent())
    frozen.run([FileSource(picture.path, picture.name) for picture in manifest.pictures])
"""
AUDIT = "from regraft.cli import main; main()"


def measure(options: Options) -> Report:
    count, copies = (600, 20) if options.quick else (COUNT, COPIES)
    rows = []
    with options.scratch() as scratch:
        photos = make_pictures(scratch / "photos", count)
        for path in sorted(photos.rglob("*.jpg"))[:copies]:
            pixels = simplejpeg.decode_jpeg(path.read_bytes())
            mirrored = np.ascontiguousarray(pixels[:, ::-1])
            encoded = simplejpeg.encode_jpeg(mirrored, quality=90)
            path.with_name(f"{path.stem}-mirrored.jpg").write_bytes(encoded)
        run_fit(make_pictures(scratch / "few", 200), scratch / "model", scratch / "warm")
        for what in ("extraction", "audit"):
            cache = converted_cache(scratch / "warm", scratch / "cache")
            said = [EXTRACT, photos] if what == "extraction" else [AUDIT, "audit", photos, "--json"]
            finished = run_process([sys.executable, "-c", *said], REGRAFT_CACHE=cache)
            shutil.rmtree(cache)
            row = {
                "what": what,
                "pictures": count + copies,
                "seconds": round(finished.seconds, 1),
                "processor seconds": round(finished.cpu_seconds, 1),
                "peak memory, MB": round(finished.peak_bytes / 1e6),
            }
            if what == "audit":
                record = json.loads(finished.out)
                kinds = ("copy", "leak", "conflict")
                items = [i for f in record["findings"] if f["kind"] in kinds for i in f["items"]]
                row["copies found"] = len(items)
            rows.append(row)
            print(row, flush=True)
    seconds = {row["what"]: row["seconds"] for row in rows}
    ratio = seconds["audit"] / seconds["extraction"]
    return Report(
        figures=[
            Figure(f"audit of {count + copies:,} pictures, against extraction", ratio, "x", 2.0),
            Figure("audit", median([seconds["audit"]]), "s"),
        ],
        cases=rows,
    )


if __name__ == "__main__":
    main("audit_many", measure)
