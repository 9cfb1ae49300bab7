"""The feature store: right rows or none, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from regraft.demo import write_digits
from regraft.errors import UserError
from regraft.files import staged
from regraft.frozen import blocks, database
from regraft.frozen.files import cache_dir, publish_dir, size_cap
from regraft.frozen.store import FeatureStore, StoreMiss

FILE = f"features-{database.SCHEMA_VERSION}.sqlite"


def name(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def vector(space: str, number: int, dim: int = 6) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(f"{space}{number}".encode()).digest()[:4], "big")
    return np.random.default_rng(seed).random(dim, np.float32)


def rows(space: str, numbers: range | list[int], dim: int = 6) -> list[tuple[str, bytes, NDArray]]:
    return [(space, name(n), vector(space, n, dim)) for n in numbers]


def expected(space: str, numbers: range | list[int], dim: int = 6) -> NDArray[np.float32]:
    return np.stack([vector(space, n, dim) for n in numbers])


def put(store: FeatureStore, arrived: list[tuple[str, bytes, NDArray]]) -> None:
    """Store single rows in one transaction."""
    spaces: dict[str, list[tuple[bytes, NDArray]]] = {}
    for space, digest, row in arrived:
        spaces.setdefault(space, []).append((digest, row))
    store.put_batches(
        (s, [d for d, _ in part], np.stack([v for _, v in part])) for s, part in spaces.items()
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with FeatureStore(tmp_path / "cache") as opened:
        yield opened


PROCESSES: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _end_processes() -> Iterator[None]:
    yield
    while PROCESSES:
        process = PROCESSES.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run `code` in a process of its own, with the helpers of this file."""
    prelude = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    prelude += "from test_store import *\n"
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    PROCESSES.append(process)
    return process


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


# -- rows in, rows out ---------------------------------------------------------------------------


def test_rows_come_back_in_the_order_asked_for(store: FeatureStore) -> None:
    put(store, rows("a", range(50)) + rows("b", range(50), 3))
    asked = [7, 3, 49, 3, 0]
    assert store.read("a", [name(n) for n in asked]).tobytes() == expected("a", asked).tobytes()
    assert store.read("b", [name(9)]).tolist() == expected("b", [9], 3).tolist()
    assert store.known("a") == {name(n) for n in range(50)}
    assert store.known("never written") == set()


def test_columns(store: FeatureStore) -> None:
    put(store, rows("a", range(20)))
    asked = [4, 2, 11]
    part = store.read("a", [name(n) for n in asked], slice(1, 4))
    assert part.shape == (3, 3)
    assert part.tolist() == expected("a", asked)[:, 1:4].tolist()


def test_reading_nothing(store: FeatureStore) -> None:
    put(store, rows("a", range(3)))
    assert store.read("a", []).shape == (0, 6)
    assert store.read("a", [], slice(0, 2)).shape == (0, 2)
    put(store, [])
    store.put_batches([("a", [], np.empty((0, 6), np.float32))])
    assert store.info().rows == 3


@pytest.mark.parametrize("words", [300, 1000, 2560, 4087, 5632, 37000])
def test_what_rows_that_lie_alone_take_on_disk_is_known(words: int, tmp_path: Path) -> None:
    vectors = np.ones((60, words), np.float32)
    with FeatureStore(tmp_path) as store:
        for at in range(10):
            pictures = [hashlib.sha256(b"%d %d" % (at, row)).digest() for row in range(60)]
            store.put_batches([("a" * 64, pictures, vectors)], scattered=True)
    taken = sum(file.stat().st_size for file in tmp_path.rglob("*.sqlite"))
    assert blocks.bytes_on_disk(words * 4) == pytest.approx(taken / 600, rel=0.02)


def test_special_values_are_kept_bit_for_bit(store: FeatureStore) -> None:
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    put(store, [("a", name(0), odd)])
    assert store.read("a", [name(0)])[0].tobytes() == odd.tobytes()


def test_a_miss_names_what_is_missing(store: FeatureStore) -> None:
    put(store, rows("a", range(4)))
    with pytest.raises(StoreMiss) as caught:
        store.read("a", [name(1), name(9), name(2), name(8)])
    assert (caught.value.space, caught.value.digests) == ("a", (name(9), name(8)))
    with pytest.raises(StoreMiss):
        store.read("b", [name(1)])


def test_rows_that_are_there_stay_as_they_are(store: FeatureStore) -> None:
    put(store, rows("a", range(10)))
    put(store, [("a", name(n), np.zeros(6, np.float32)) for n in range(5, 15)])
    assert store.info().rows == 15
    assert store.read("a", [name(7)]).tolist() == expected("a", [7]).tolist()
    assert store.read("a", [name(12)]).tolist() == [[0.0] * 6]


def test_a_picture_twice_in_one_batch_is_one_row(store: FeatureStore) -> None:
    batch = rows("a", [1, 2, 1, 1, 3])
    put(store, batch)
    assert store.info().rows == 3
    assert store.read("a", [b for _, b, _ in batch]).tolist() == [v.tolist() for *_, v in batch]


def test_large_arrivals_are_cut_into_blocks(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 100)  # four rows of 24 bytes
    put(store, rows("a", range(10)))
    put(store, rows("wide", range(3), 40))  # a row is larger than a block
    assert store.read("a", [name(n) for n in range(10)]).tolist() == (
        expected("a", range(10)).tolist()
    )
    assert store.read("wide", [name(2)]).tolist() == expected("wide", [2], 40).tolist()
    with sqlite3.connect(store.folder / FILE) as file:
        sizes = [len(d) // 32 for (d,) in file.execute("SELECT digests FROM blocks ORDER BY id")]
    file.close()
    assert sizes == [4, 4, 2, 1, 1, 1]


@pytest.mark.parametrize("seed", range(4))
def test_behaves_like_a_dictionary(tmp_path: Path, seed: int) -> None:
    """Random puts through two stores on one folder, reads, evictions and reopenings."""
    rng = random.Random(seed)
    both = [FeatureStore(tmp_path), FeatureStore(tmp_path)]
    model: dict[str, set[int]] = {"a": set(), "b": set()}
    for _ in range(60):
        one, space = rng.choice(both), rng.choice("ab")
        action = rng.random()
        if action < 0.5:
            numbers = rng.sample(range(80), rng.randrange(1, 12))
            put(one, rows(space, numbers))
            model[space] |= set(numbers)
        elif action < 0.9:
            asked = [rng.randrange(80) for _ in range(8)]
            absent = [name(n) for n in asked if n not in model[space]]
            if absent:
                with pytest.raises(StoreMiss) as caught:
                    one.read(space, [name(n) for n in asked])
                assert list(caught.value.digests) == absent
            else:
                found = one.read(space, [name(n) for n in asked])
                assert found.tolist() == expected(space, asked).tolist()
        elif action < 0.95:
            one.close()
        else:
            one.trim(0)
            model = {"a": set(), "b": set()}
        for each in both:
            assert each.known(space) == {name(n) for n in model[space]}
    assert both[0].info().rows == sum(map(len, model.values()))
    for each in both:
        each.close()


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (("a", b"short", np.ones(6, np.float32)), "32 bytes, got 5"),
        (("a", bytes(32), np.ones(6)), "float64"),
        (("a", bytes(32), np.ones((2, 6), np.float32)), r"got float32 \(1, 2, 6\)"),
        (("a", bytes(32), np.ones(0, np.float32)), r"got float32 \(1, 0\)"),
        (("a", bytes(32), np.ones(5, np.float32)), r"one length, got \[5, 6\]"),
    ],
)
def test_malformed_rows_are_refused_and_nothing_is_stored(
    store: FeatureStore, row: tuple[str, bytes, NDArray], complaint: str
) -> None:
    put(store, rows("a", range(3)))
    with pytest.raises(ValueError, match=complaint):
        put(store, [*rows("b", range(3)), row])
    assert store.info().rows == 3
    assert store.known("b") == set()


def test_a_put_that_fails_leaves_no_trace_in_memory(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids of blocks taken back are given again: a stale index would show other rows."""
    real = database.Database._attempt  # the whole transaction is written, then fails

    def failing(self: object, work: Callable, *, write: bool) -> object:
        def then_fail(connection: sqlite3.Connection) -> None:
            work(connection)
            raise KeyboardInterrupt

        return real(self, then_fail if write else work, write=write)

    with monkeypatch.context() as patch:
        patch.setattr(database.Database, "_attempt", failing)
        with pytest.raises(KeyboardInterrupt):
            put(store, rows("a", range(5)))
    assert store.known("a") == set()
    put(store, rows("a", range(5, 10)))
    assert store.read("a", [name(6)]).tolist() == expected("a", [6]).tolist()
    with pytest.raises(StoreMiss):
        store.read("a", [name(1)])


def test_notes(store: FeatureStore) -> None:
    assert store.note("parity") is None
    store.set_note("parity", {"median": 0.04, "agrees": True, "sets": ["a", None]})
    store.set_note("other", 3)
    store.set_note("other", 4)
    store.close()
    assert store.note("parity") == {"median": 0.04, "agrees": True, "sets": ["a", None]}
    assert store.note("other") == 4


# -- several users at once -----------------------------------------------------------------------


def test_two_stores_that_write_the_same_pictures_in_other_orders(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as one, FeatureStore(tmp_path) as two:
        put(one, rows("a", [1, 2, 3]))
        put(two, rows("a", [3, 2, 1, 4]))
        put(one, rows("a", [4, 5]))
        asked = [5, 4, 3, 2, 1]
        for each in (one, two):
            found = each.read("a", [name(n) for n in asked])
            assert found.tolist() == expected("a", asked).tolist()
        assert one.info().rows == 5


def test_rows_that_another_process_evicted_are_a_miss_and_can_be_put_again(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as one, FeatureStore(tmp_path) as two:
        put(one, rows("a", range(5)))
        one.read("a", [name(1)])
        two.trim(0)
        with pytest.raises(StoreMiss):
            one.read("a", [name(1)])
        put(one, rows("a", range(5)))
        assert one.read("a", [name(1)]).tolist() == expected("a", [1]).tolist()


def test_eviction_between_lookup_and_reading_is_a_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FeatureStore(tmp_path) as one, FeatureStore(tmp_path) as two:
        put(one, rows("a", range(5)))
        located = FeatureStore._located

        def located_then_evicted(self: FeatureStore, *arguments: object) -> object:
            where = located(self, *arguments)
            two.trim(0)
            return where

        monkeypatch.setattr(FeatureStore, "_located", located_then_evicted)
        with pytest.raises(StoreMiss) as caught:
            one.read("a", [name(3), name(1)])
        assert set(caught.value.digests) == {name(3), name(1)}


def test_clearing_under_an_open_store(tmp_path: Path) -> None:
    with FeatureStore(tmp_path) as one:
        put(one, rows("a", range(5)))
        with FeatureStore(tmp_path) as two:
            two.clear()
        put(one, rows("a", range(5, 8)))
        assert one.known("a") == {name(n) for n in (5, 6, 7)}
        with FeatureStore(tmp_path) as two:
            assert two.known("a") == {name(n) for n in (5, 6, 7)}


def test_threads_share_one_store(store: FeatureStore) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def look() -> None:
        try:
            while not done.is_set():
                found = sorted(store.known("a"))
                if found:
                    store.read("a", found)
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for first in range(0, 300, 10):
        put(store, rows("a", range(first, first + 10)))
    done.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert store.read("a", [name(n) for n in range(300)]).tolist() == (
        expected("a", range(300)).tolist()
    )


def test_two_processes_at_once_store_each_row_once(tmp_path: Path) -> None:
    code = """
        with FeatureStore(Path(sys.argv[1])) as store:
            for first in range(0, 400, 8):
                put(store, rows("a", range(first, first + 8)) + rows("b", range(first, first + 8)))
    """
    both = [start(code, tmp_path) for _ in range(2)]
    for process in both:
        finish(process)
    with FeatureStore(tmp_path) as store:
        assert store.info().rows == 800
        for space in "ab":
            found = store.read(space, [name(n) for n in range(400)])
            assert found.tolist() == expected(space, range(400)).tolist()


def test_a_lock_that_is_never_released_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.05)
    with FeatureStore(tmp_path) as store:
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="in use by another process"):
            put(store, rows("a", range(2)))
        other.execute("ROLLBACK")
        other.close()
        put(store, rows("a", range(2)))
        assert len(store.known("a")) == 2


# -- killed at any instant -----------------------------------------------------------------------

WRITER = """
    with FeatureStore(Path(sys.argv[1])) as store:
        known = store.known("a")
        print(len(known), flush=True)
        for first in range(0, 4000, 20):
            if name(first) not in known:
                numbers = range(first, first + 20)
                put(store, rows("a", numbers) + rows("b", numbers))
                print(first, flush=True)
"""


def test_killed_at_random_instants(tmp_path: Path) -> None:
    """What was acknowledged is there and right, in both spaces; the next run goes on from it."""
    rng = random.Random(1)
    acknowledged: set[int] = set()
    for attempt in range(5):
        process = start(WRITER, tmp_path)
        assert process.stdout is not None
        stored = int(process.stdout.readline())
        assert stored >= 20 * len(acknowledged), f"attempt {attempt} lost rows"
        time.sleep(rng.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        lines = process.communicate()[0].split("\n")
        acknowledged |= {int(line) for line in lines[:-1]}  # the last one may be cut short
    assert 0 < len(acknowledged) < 200, "the kills came too early or too late to test anything"
    with FeatureStore(tmp_path) as store:
        numbers = [n for n in range(4000) if name(n) in store.known("a")]
        assert store.known("a") == store.known("b")
        assert {n - n % 20 for n in numbers} >= acknowledged
        for space in "ab":
            found = store.read(space, [name(n) for n in numbers])
            assert found.tolist() == expected(space, numbers).tolist()


def test_killed_while_trimming(tmp_path: Path) -> None:
    code = """
        with FeatureStore(Path(sys.argv[1])) as store:
            print(flush=True)
            store.trim(150_000)
    """
    with FeatureStore(tmp_path) as store:
        for first in range(0, 200, 4):
            put(store, rows("a", range(first, first + 4), 5000))
    for delay in (0.0, 0.002, 0.005, 0.01):
        process = start(code, tmp_path)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with FeatureStore(tmp_path) as store:
            left = [n for n in range(200) if name(n) in store.known("a")]
            if left:
                found = store.read("a", [name(n) for n in left])
                assert found.tolist() == expected("a", left, 5000).tolist()
    with FeatureStore(tmp_path) as store:
        store.trim(150_000)
        assert store.info().bytes <= 150_000
    assert not list(tmp_path.glob("*.damaged"))


# -- damage --------------------------------------------------------------------------------------


def test_a_rotten_block_is_a_miss_and_is_dropped(store: FeatureStore) -> None:
    put(store, rows("a", range(4)))
    put(store, rows("a", range(4, 8)))
    store.close()
    file = sqlite3.connect(store.folder / FILE)
    data = bytearray(file.execute("SELECT data FROM vectors WHERE block = 1").fetchone()[0])
    data[50] ^= 1
    file.execute("UPDATE vectors SET data = ? WHERE block = 1", [bytes(data)])
    file.commit()
    file.close()
    with pytest.raises(StoreMiss) as caught:
        store.read("a", [name(n) for n in range(8)])
    assert set(caught.value.digests) == {name(n) for n in range(4)}
    assert store.known("a") == {name(n) for n in range(4, 8)}
    put(store, rows("a", range(8)))
    assert store.read("a", [name(n) for n in range(8)]).tolist() == expected("a", range(8)).tolist()


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """Change some bytes, or cut the end off."""
    broken = bytearray(whole)
    used = [i for i, byte in enumerate(whole) if byte]
    for _ in range(rng.choice([1, 1, 4, 40])):
        broken[rng.choice(used)] = rng.randrange(256)
    return bytes(broken[: rng.randrange(len(broken))] if rng.random() < 0.2 else broken)


def read_as_the_application_does(store: FeatureStore, space: str, numbers: range) -> NDArray:
    """Compute again what turns out to be lost."""
    for _ in range(len(numbers)):
        try:
            return store.read(space, [name(n) for n in numbers])
        except StoreMiss:
            put(store, rows(space, [n for n in numbers if name(n) not in store.known(space)]))
    raise AssertionError("the store cannot be filled")


@pytest.mark.parametrize("seed", range(3))
def test_no_damage_makes_a_wrong_row(tmp_path: Path, seed: int) -> None:
    """Bytes of the file changed at random: right rows, a miss, or a fresh file."""
    rng = random.Random(seed)
    space, file = "9c1d", tmp_path / FILE
    with FeatureStore(tmp_path) as store:
        for first in range(0, 60, 10):
            put(store, rows(space, range(first, first + 10)))
        store.set_note("key", [1, 2, 3])
    whole = file.read_bytes()
    missed = 0
    for _ in range(15):
        file.write_bytes(damaged(whole, rng))
        with FeatureStore(tmp_path) as store:
            for n in range(60):
                try:
                    found = store.read(space, [name(n)])
                except StoreMiss:
                    missed += 1
                else:
                    assert found.tolist() == expected(space, [n]).tolist()
            assert store.note("key") in (None, [1, 2, 3])
            store.info()
            found = read_as_the_application_does(store, space, range(60))
            assert found.tolist() == expected(space, range(60)).tolist()
            store.trim(0)
            assert store.known(space) == set()
    assert missed


def other_database(path: Path) -> None:
    file = sqlite3.connect(path)
    file.execute("CREATE TABLE holiday (photo TEXT)")
    file.commit()
    file.close()


def newer_database(path: Path) -> None:
    with FeatureStore(path.parent) as store:
        put(store, rows("a", range(3)))
    file = sqlite3.connect(path)
    file.execute("PRAGMA user_version = 99")
    file.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_text("dear diary " * 1000),
        lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 64),
        other_database,
        newer_database,
    ],
    ids=["text", "broken header", "other tables", "newer tables"],
)
def test_a_file_that_is_not_ours_is_set_aside(tmp_path: Path, make: Callable) -> None:
    make(tmp_path / FILE)
    foreign = (tmp_path / FILE).read_bytes()
    with FeatureStore(tmp_path) as store:
        assert store.known("a") == set()
        put(store, rows("a", range(3)))
    assert (tmp_path / f"{FILE}.damaged").read_bytes() == foreign
    with FeatureStore(tmp_path) as store:
        assert len(store.known("a")) == 3
        store.clear()
    assert not list(tmp_path.glob("features-*"))


def test_an_empty_file_is_a_fresh_store(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    with FeatureStore(tmp_path) as store:
        put(store, rows("a", range(3)))
        assert len(store.known("a")) == 3
    assert not list(tmp_path.glob("*.damaged"))


def test_the_file_of_another_version_is_left_alone(tmp_path: Path) -> None:
    later = tmp_path / "features-99.sqlite"
    later.write_bytes(b"from the future")
    with FeatureStore(tmp_path) as store:
        put(store, rows("a", range(3)))
        assert later.read_bytes() == b"from the future"
        assert store.info().bytes >= 15
        store.clear()
    assert not later.exists()


# -- disks ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where this user may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    try:
        made = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def put_much(store: FeatureStore) -> None:
    """Put eight megabytes, bit by bit."""
    for first in range(0, 4000, 20):
        put(store, rows("a", range(first, first + 20), 500))


def test_a_full_disk_is_explained_and_what_was_stored_stays(small_disk: Path) -> None:
    with FeatureStore(small_disk) as store:
        with pytest.raises(UserError) as caught:
            put_much(store)
        assert str(small_disk) in caught.value.message
        assert "REGRAFT_CACHE" in caught.value.message
        assert "the disk is full" in caught.value.message
        stored = [n for n in range(4000) if name(n) in store.known("a")]
        assert len(stored) >= 400
        found = store.read("a", [name(n) for n in stored])
        assert found.tolist() == expected("a", stored, 500).tolist()
        assert store.clear() > 1_000_000
        put(store, rows("a", range(5)))


def test_a_full_disk_from_the_start(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        assert file.write(bytes(4_000_000)) < 4_000_000
    with pytest.raises(UserError, match="REGRAFT_CACHE"), FeatureStore(small_disk) as store:
        put(store, rows("a", range(5)))
    filler.unlink()
    with FeatureStore(small_disk) as store:
        put(store, rows("a", range(5)))
        assert len(store.known("a")) == 5


def test_a_file_that_may_not_grow_is_explained(tmp_path: Path) -> None:
    """Like a quota; needs no rights."""
    code = """
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
        with FeatureStore(Path(sys.argv[1])) as store:
            try:
                put_much(store)
            except UserError as error:
                print(error.message)
            stored = [n for n in range(4000) if name(n) in store.known("a")]
            assert len(stored) >= 100
            found = store.read("a", [name(n) for n in stored])
            assert found.tolist() == expected("a", stored, 500).tolist()
    """
    message = finish(start(code, tmp_path))
    assert str(tmp_path) in message
    assert "REGRAFT_CACHE" in message


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file" / "cache", tmp_path / "file", Path("/proc/regraft")):
        with pytest.raises(UserError, match="REGRAFT_CACHE") as caught, FeatureStore(place):
            pass
        assert str(place) in caught.value.message
        monkeypatch.setenv("REGRAFT_CACHE", str(place))
        with pytest.raises(UserError, match="REGRAFT_CACHE"):
            cache_dir()


def test_a_read_only_folder(small_disk: Path) -> None:
    with FeatureStore(small_disk) as store:
        put(store, rows("a", range(5)))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match="REGRAFT_CACHE") as caught, FeatureStore(small_disk):
        pass
    assert "read-only" in caught.value.message


# -- size ----------------------------------------------------------------------------------------


class Clock:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        monkeypatch.setattr("regraft.frozen.store.time.time", lambda: self.now)


def test_what_was_not_used_for_longest_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    for first in (0, 10, 20, 30):
        with FeatureStore(tmp_path) as store:
            put(store, rows("a", range(first, first + 10), 5000))
        clock.now += 10_000
    with FeatureStore(tmp_path) as store:
        store.read("a", [name(3)])  # the oldest block is used again
    clock.now += 10_000
    with FeatureStore(tmp_path) as store:
        store.read("a", [name(13)])  # and so is the second
    with FeatureStore(tmp_path) as store:
        before = sum(f.stat().st_size for f in tmp_path.iterdir())
        freed = store.trim(before - 300_000)
        assert store.known("a") == {name(n) for n in range(20)}
        after = sum(f.stat().st_size for f in tmp_path.iterdir())
        assert before - after == freed >= 300_000
        assert store.read("a", [name(15)]).tolist() == expected("a", [15], 5000).tolist()


def test_use_is_noted_on_disk_at_most_once_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)

    def used_at() -> int:
        file = sqlite3.connect(tmp_path / FILE)
        (found,) = file.execute("SELECT used_at FROM blocks").fetchone()
        file.close()
        return int(found)

    with FeatureStore(tmp_path) as store:
        put(store, rows("a", range(3)))
        clock.now += 3000
        store.read("a", [name(1)])
        assert used_at() == 1_000_000
        clock.now += 3000
        store.read("a", [name(1)])
        assert used_at() == 1_006_000


def test_what_this_run_used_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    with FeatureStore(tmp_path) as store:
        put(store, rows("a", range(10), 5000))
    clock.now += 60  # too soon for a note on disk: only this object knows
    with FeatureStore(tmp_path) as other:
        put(other, rows("a", range(10, 20), 5000))
    with FeatureStore(tmp_path) as store:
        store.read("a", [name(1)])
        store.trim(350_000)
        assert store.known("a") == {name(n) for n in range(10)}
        store.trim(150_000)  # by itself too large
        assert store.known("a") == set()
        assert store.info().bytes <= 150_000


def test_within_the_cap_nothing_happens(store: FeatureStore) -> None:
    put(store, rows("a", range(10), 5000))
    assert store.trim() == 0
    assert store.info().rows == 10


def test_info_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_GB", "0.5")
    keepsake = tmp_path / "mine.txt"
    keepsake.write_text("not regraft's")
    publish_dir(lambda folder: (folder / "net.bin").write_bytes(bytes(100_000)), net(tmp_path))
    with FeatureStore(tmp_path) as store:
        put(store, rows("a", range(5)) + rows("b", range(3, 8), 2))
        info = store.info()
        assert (info.pictures, info.rows, info.spaces, info.networks) == (8, 10, 2, 1)
        assert info.path == tmp_path
        assert info.cap_bytes == 2**29
        assert info.bytes == 100_000 + (tmp_path / FILE).stat().st_size
        with staged(tmp_path / "networks" / "other") as being_built:
            assert store.clear() == info.bytes
            assert being_built.is_dir()
        info = store.info()
        assert (info.pictures, info.rows, info.spaces, info.networks) == (0, 0, 0, 0)
        put(store, rows("a", range(5)))
    assert keepsake.exists()


def net(folder: Path) -> Path:
    return folder / "networks" / "net-source"


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan", "inf"])
def test_a_cap_that_is_no_size(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("REGRAFT_CACHE_GB", text)
    with pytest.raises(UserError, match=f"REGRAFT_CACHE_GB must be a positive .* got '{text}'"):
        size_cap()


def test_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REGRAFT_CACHE_GB", raising=False)
    assert size_cap() == 20 * 2**30
    monkeypatch.setenv("REGRAFT_CACHE", str(tmp_path / "a" / "b"))
    assert cache_dir() == tmp_path / "a" / "b"
    assert cache_dir().is_dir()
    monkeypatch.delenv("REGRAFT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_dir().name == "regraft"
    assert tmp_path in cache_dir().parents


# -- folders published whole ---------------------------------------------------------------------


def fill(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a").write_text("a")


def test_publishing(tmp_path: Path) -> None:
    target = tmp_path / "networks" / "key"
    assert publish_dir(fill, target)
    assert (target / "sub" / "a").read_text() == "a"
    assert [p.name for p in target.parent.iterdir()] == ["key"]


def test_the_first_to_publish_wins(tmp_path: Path) -> None:
    target = tmp_path / "key"

    def slow(folder: Path) -> None:
        fill(folder)
        assert publish_dir(lambda other: (other / "first").write_text("yes"), target)

    assert not publish_dir(slow, target)
    assert [p.name for p in tmp_path.iterdir()] == ["key"]
    assert [p.name for p in target.iterdir()] == ["first"]


def test_a_builder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        fill(folder)
        raise RuntimeError("no such network")

    with pytest.raises(RuntimeError, match="no such network"):
        publish_dir(broken, tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_litter_of_a_killed_builder_is_swept_but_not_a_living_ones(tmp_path: Path) -> None:
    code = """
        with staged(Path(sys.argv[1])) as folder:
            (folder / "half").write_text("half")
            print(folder, flush=True)
            time.sleep(60)
    """
    target = tmp_path / "key"
    process = start(code, target)
    assert process.stdout is not None
    litter = Path(process.stdout.readline().strip())
    assert publish_dir(fill, target)
    assert litter.is_dir()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not publish_dir(fill, target)
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_a_disk_without_locks_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, _: int) -> None:
        opened.append(descriptor)
        raise OSError(errno.ENOLCK, "No locks available")

    opened: list[int] = []
    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"no locks available; .* REGRAFT_CACHE"):
        publish_dir(fill, tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_a_sweeper_between_making_and_opening_the_hidden_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = Path.mkdir, []

    def swept(self: Path, *arguments: object, **settings: object) -> None:
        real(self, *arguments, **settings)
        if self.name.startswith(".key") and not made:
            made.append(self)
            self.rmdir()

    monkeypatch.setattr(Path, "mkdir", swept)
    assert publish_dir(fill, tmp_path / "key")
    assert len(made) == 1


def test_the_demo_gives_advice_about_its_own_option(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="give --out a folder") as caught:
        write_digits(tmp_path / "file" / "digits")
    assert "REGRAFT_CACHE" not in caught.value.message


def test_publishing_on_a_full_disk(small_disk: Path) -> None:
    def large(folder: Path) -> None:
        (folder / "net.bin").write_bytes(bytes(4_000_000))

    with pytest.raises(UserError, match=r"the disk is full; .* REGRAFT_CACHE"):
        publish_dir(large, small_disk / "key")
    assert list(small_disk.iterdir()) == []


def test_importing_the_store_is_cheap() -> None:
    code = "import regraft.frozen.store, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    heavy = {"torch", "sklearn", "pandas", "scipy", "pyarrow", "openvino", "PIL"}
    assert not heavy & set(modules.split())
