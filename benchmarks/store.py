"""Which embedded store should keep the features? The same job for each of them.

A picture gives 13 vectors (nine depths of EfficientNet-Lite0 averaged, four more poolings), 39 KB
together. They arrive 64 pictures at a time, each arrival one commit. Measured, each in a process
of its own: writing (wall and CPU seconds, slowest commit), bytes on disk, reading one depth of
every picture and a slice of the largest vector, peak memory of the reader (beyond its result),
two writers at once, and what is left after `kill -9` at random instants.

    python benchmarks/store.py --pictures 50000 --folder .work

`lmdb` and `zarr` are not dependencies of regraft; install them to have them in the table.
"""

# ruff: noqa: D102 - the methods of the candidates are the same four

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMS = (32, 16, 24, 40, 80, 112, 192, 320, 1280, 448, 768, 1280, 5120)
LAST, LARGEST = 8, 12
BATCH = 64

Batch = tuple[list[bytes], list[NDArray[np.float32]]]


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def batches(first: int, last: int) -> Iterator[Batch]:
    """Pictures first .. last-1; the first number of each vector is the picture's own."""
    base = [np.random.default_rng(d).random((BATCH, d), np.float32) for d in DIMS]
    for start in range(first, last, BATCH):
        numbers = range(start, min(start + BATCH, last))
        vectors = [rows[: len(numbers)].copy() for rows in base]
        for rows in vectors:
            rows[:, 0] = numbers
        yield [digest(number) for number in numbers], vectors


class Blocks:
    """regraft's own: SQLite, a block of rows an entry."""

    def __init__(self, folder: Path) -> None:
        from regraft.frozen.store import FeatureStore

        self.store = FeatureStore(folder)

    def write(self, digests: Sequence[bytes], vectors: Sequence[NDArray[np.float32]]) -> None:
        self.store.put_batches((str(space), digests, rows) for space, rows in enumerate(vectors))

    def known(self, space: int) -> set[bytes]:
        return self.store.known(str(space))

    def read(self, space: int, digests: Sequence[bytes], columns: slice) -> NDArray[np.float32]:
        return self.store.read(str(space), digests, columns)

    def close(self) -> None:
        self.store.close()


class Rows:
    """SQLite, a vector an entry, with an index on (space, picture)."""

    journal = "TRUNCATE"

    def __init__(self, folder: Path) -> None:
        self.file = sqlite3.connect(folder / "rows.sqlite", timeout=60, isolation_level=None)
        for setting in ("page_size=16384", f"journal_mode={self.journal}", "synchronous=NORMAL"):
            self.file.execute(f"PRAGMA {setting}")
        self.file.execute("PRAGMA wal_autocheckpoint=2000")
        self.file.execute(
            "CREATE TABLE IF NOT EXISTS rows (space INTEGER, digest BLOB, vector BLOB,"
            " UNIQUE (space, digest))"
        )

    def write(self, digests: Sequence[bytes], vectors: Sequence[NDArray[np.float32]]) -> None:
        self.file.execute("BEGIN IMMEDIATE")
        self.file.executemany(
            "INSERT OR IGNORE INTO rows VALUES (?, ?, ?)",
            (
                (space, name, rows[i].tobytes())
                for space, rows in enumerate(vectors)
                for i, name in enumerate(digests)
            ),
        )
        self.file.execute("COMMIT")

    def known(self, space: int) -> set[bytes]:
        return {d for (d,) in self.file.execute("SELECT digest FROM rows WHERE space=?", [space])}

    def read(self, space: int, digests: Sequence[bytes], columns: slice) -> NDArray[np.float32]:
        out = np.empty((len(digests), len(range(DIMS[space])[columns])), np.float32)
        query = "SELECT vector FROM rows WHERE space=? AND digest=?"
        for i, name in enumerate(digests):
            (vector,) = self.file.execute(query, [space, name]).fetchone()
            out[i] = np.frombuffer(vector, np.float32)[columns]
        return out

    def close(self) -> None:
        self.file.close()


class RowsWal(Rows):
    """The same with a write-ahead log."""

    journal = "WAL"


class Lmdb:
    """LMDB, a vector an entry; the largest size has to be said beforehand."""

    sync = True

    def __init__(self, folder: Path) -> None:
        import lmdb

        self.file = lmdb.open(str(folder), map_size=64 << 30, sync=self.sync, metasync=False)

    def write(self, digests: Sequence[bytes], vectors: Sequence[NDArray[np.float32]]) -> None:
        with self.file.begin(write=True) as transaction:
            for space, rows in enumerate(vectors):
                for i, name in enumerate(digests):
                    transaction.put(bytes([space]) + name, rows[i].tobytes(), overwrite=False)

    def known(self, space: int) -> set[bytes]:
        found = set()
        with self.file.begin() as transaction, transaction.cursor() as cursor:
            if cursor.set_range(bytes([space])):
                for key in cursor.iternext(values=False):
                    if key[0] != space:
                        break
                    found.add(bytes(key[1:]))
        return found

    def read(self, space: int, digests: Sequence[bytes], columns: slice) -> NDArray[np.float32]:
        out = np.empty((len(digests), len(range(DIMS[space])[columns])), np.float32)
        with self.file.begin(buffers=True) as transaction:
            for i, name in enumerate(digests):
                vector = transaction.get(bytes([space]) + name)
                out[i] = np.frombuffer(vector, np.float32)[columns]
        return out

    def close(self) -> None:
        self.file.close()


class LmdbUnsynced(Lmdb):
    """LMDB that leaves flushing to the system: a power cut may break the file."""

    sync = False


class Arrow:
    """A directory with an Arrow file for each arrival, renamed into place when complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, digests: Sequence[bytes], vectors: Sequence[NDArray[np.float32]]) -> None:
        import pyarrow as pa

        columns = {
            str(space): pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), DIMS[space])
            for space, rows in enumerate(vectors)
        }
        table = pa.table({"digest": pa.array(digests, pa.binary(32)), **columns})
        place = self.folder / f"{digests[0].hex()}.tmp"
        with pa.OSFile(str(place), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        place.rename(place.with_suffix(".arrow"))

    def tables(self) -> Iterator[Any]:
        import pyarrow as pa

        for place in sorted(self.folder.glob("*.arrow")):
            with pa.memory_map(str(place)) as source:
                yield pa.ipc.open_file(source).read_all()

    def known(self, space: int) -> set[bytes]:
        return {name for table in self.tables() for name in table["digest"].to_pylist()}

    def read(self, space: int, digests: Sequence[bytes], columns: slice) -> NDArray[np.float32]:
        places = {name: i for i, name in enumerate(digests)}
        out = np.empty((len(digests), len(range(DIMS[space])[columns])), np.float32)
        for table in self.tables():
            here = [places.get(name, -1) for name in table["digest"].to_pylist()]
            values = table[str(space)].combine_chunks().values.to_numpy()
            rows = values.reshape(-1, DIMS[space])
            wanted = [i for i, place in enumerate(here) if place >= 0]
            out[[here[i] for i in wanted]] = rows[wanted, columns]
        return out

    def close(self) -> None:
        pass


class Zarr:
    """A Zarr array for each space that grows with each arrival, and one of digests."""

    def __init__(self, folder: Path) -> None:
        import zarr

        self.root = zarr.open_group(str(folder), mode="a")
        for name, dim, kind in [("digest", 32, "u1"), *((str(s), d, "f4") for s, d in SPACES)]:
            if name not in self.root:
                self.root.create_array(
                    name, shape=(0, dim), chunks=(BATCH, dim), dtype=kind, compressors=None
                )

    def write(self, digests: Sequence[bytes], vectors: Sequence[NDArray[np.float32]]) -> None:
        for space, rows in enumerate(vectors):
            self.root[str(space)].append(rows)
        self.root["digest"].append(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32))

    def known(self, space: int) -> set[bytes]:
        return {row.tobytes() for row in self.root["digest"][:]}

    def read(self, space: int, digests: Sequence[bytes], columns: slice) -> NDArray[np.float32]:
        places = {row.tobytes(): i for i, row in enumerate(self.root["digest"][:])}
        rows: NDArray[np.float32] = self.root[str(space)][:, columns]
        return rows[[places[name] for name in digests]]

    def close(self) -> None:
        pass


SPACES = tuple(enumerate(DIMS))
STORES: dict[str, Any] = {
    "SQLite, blocks (regraft)": Blocks,
    "SQLite, rows": Rows,
    "SQLite, rows, WAL": RowsWal,
    "LMDB": Lmdb,
    "LMDB, unsynced": LmdbUnsynced,
    "Arrow files": Arrow,
    "Zarr": Zarr,
}
NEEDS = {"LMDB": "lmdb", "LMDB, unsynced": "lmdb", "Zarr": "zarr"}


def write(name: str, folder: Path, first: int, last: int) -> dict[str, float]:
    store = STORES[name](folder)
    slowest = spent = 0.0
    cpu = time.process_time()
    for digests, vectors in batches(first, last):
        start = time.perf_counter()
        store.write(digests, vectors)
        took = time.perf_counter() - start
        print("stored", len(digests), file=sys.stderr, flush=True)
        spent, slowest = spent + took, max(slowest, took)
    start = time.perf_counter()
    store.close()
    return {
        "write_s": spent + time.perf_counter() - start,
        "write_cpu_s": time.process_time() - cpu,
        "slowest_commit_ms": 1000 * slowest,
    }


def read(name: str, folder: Path, first: int, last: int) -> dict[str, float]:
    digests = [digest(number) for number in range(first, last)]
    store = STORES[name](folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    known = len(store.known(LAST))
    known_s = time.perf_counter() - start
    start = time.perf_counter()
    features = store.read(LAST, digests, slice(None))
    read_s = time.perf_counter() - start
    extra = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) - features.nbytes
    right = bool((features[:, 0] == np.arange(first, last)).all())
    start = time.perf_counter()
    store.read(LARGEST, digests, slice(0, 1280))
    slice_s = time.perf_counter() - start
    return {
        "known": known,
        "known_s": known_s,
        "read_s": read_s,
        "slice_s": slice_s,
        "extra_mb": extra / 1e6,
        "right": right,
    }


def survivors(name: str, folder: Path, first: int, last: int) -> dict[str, float]:
    """Count what can be read, and check that it is right in every space."""
    store = STORES[name](folder)
    numbers = {digest(number): number for number in range(first, last)}
    known = [store.known(space) for space, _ in SPACES]
    whole = sorted(set.intersection(*known), key=numbers.__getitem__)
    wanted = np.array([numbers[name] for name in whole], np.float32)
    right = all((store.read(s, whole, slice(0, 1))[:, 0] == wanted).all() for s, _ in SPACES)
    return {"known": len(whole), "right": right}


def start(task: str, name: str, folder: Path, first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, "--task", task, name, str(folder), str(first), str(last)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate()
    if process.returncode:
        return {"error": (err.strip().splitlines() or ["killed"])[-1]}
    return dict(json.loads(out))


def killed(name: str, work: Path, pictures: int, times: int, seconds: float) -> str:
    """Kill writers at random instants; say in how many cases all that was stored is there."""
    rng = random.Random(0)
    good = 0
    for _ in range(times):
        folder = Path(tempfile.mkdtemp(dir=work))
        process = start("write", name, folder, 0, pictures)
        assert process.stderr is not None
        first = process.stderr.readline()
        time.sleep(rng.random() * seconds)
        process.send_signal(signal.SIGKILL)
        lines = (first + process.communicate()[1]).split("\n")[:-1]
        left = finish(start("survivors", name, folder, 0, pictures))
        stored = sum(int(line.split()[1]) for line in lines)
        good += left.get("right", False) and left["known"] >= stored
        shutil.rmtree(folder)
    return f"{good} of {times}"


def two_writers(name: str, work: Path, pictures: int) -> str:
    folder = Path(tempfile.mkdtemp(dir=work))
    half = pictures // 2 // BATCH * BATCH
    both = [start("write", name, folder, *part) for part in ((0, half), (half, pictures))]
    results = [finish(process) for process in both]
    left = finish(start("survivors", name, folder, 0, pictures))
    shutil.rmtree(folder)
    errors = [result["error"] for result in [*results, left] if "error" in result]
    return errors[0] if errors else f"{left['known']} of {pictures}"


def measure(name: str, work: Path, pictures: int) -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(dir=work))
    result = finish(start("write", name, folder, 0, pictures))
    result["disk_mb"] = sum(512 * p.stat().st_blocks for p in folder.rglob("*")) / 1e6
    result |= finish(start("read", name, folder, 0, pictures))
    shutil.rmtree(folder)
    few = min(pictures, 10_000)
    result["two_writers"] = two_writers(name, work, few)
    result["killed"] = killed(name, work, few, 10, result["write_s"] * few / pictures)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / ".work")
    parser.add_argument("--task", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task, name, folder, first, last = options.task
        print(json.dumps(globals()[task](name, Path(folder), int(first), int(last))))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in STORES:
        if importlib.util.find_spec(NEEDS.get(name, "regraft")) is None:
            print(f"{name}: not installed", file=sys.stderr)
            continue
        print(json.dumps({"store": name, **measure(name, options.folder, options.pictures)}))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
