"""Weight files: the hubs' caches, checkpoints of every make, and what licences allow."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from regraft.backbones import weights
from regraft.backbones.checkpoints import load_into, read_checkpoint
from regraft.backbones.licences import forbids_commercial_use, notice
from regraft.errors import UserError

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

COMMIT = "a" * 40
REPO = "timm/tiny.test"
SPELLING = "timm:tiny.test"
CONTENT = b"weights " * 5000
SHA = hashlib.sha256(CONTENT).hexdigest()
NAMES = ("model.safetensors", "pytorch_model.bin")


# --- the Hugging Face hub ------------------------------------------------------------------------


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub that cannot be reached."""
    constants = pytest.importorskip("huggingface_hub.constants")
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        point_at(monkeypatch, free.getsockname()[1])
    return cache


def point_at(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    from huggingface_hub import constants

    endpoint = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def put_into(cache: Path, content: bytes, name: str = NAMES[0], blob: str = SHA) -> Path:
    """Lay a file out as the hub's client does."""
    folder = cache / "models--timm--tiny.test"
    for part in ("blobs", f"snapshots/{COMMIT}", "refs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "blobs" / blob).write_bytes(content)
    (folder / "refs" / "main").write_text(COMMIT)
    link = folder / "snapshots" / COMMIT / name
    link.symlink_to(Path("..", "..", "blobs", blob))
    return link


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Hub(BaseHTTPRequestHandler):
    """The part of the hub that gives files: it has pytorch_model.bin of one repository."""

    content = CONTENT
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        found = self.path == f"/{REPO}/resolve/main/{NAMES[1]}"
        self.send_response(200 if found else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        if found:
            self.send_header("ETag", f'"{SHA}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()
        if found and self.command == "GET":
            self.wfile.write(self.content)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub on this machine; gives the list of what it was asked for."""
    monkeypatch.setattr(Hub, "asked", [], raising=False)
    with serving(Hub) as port:
        point_at(monkeypatch, port)
        yield Hub.asked


def ask_hub(said: list[str] | None = None, revision: str | None = None) -> Path:
    say = [].append if said is None else said.append
    return weights.hub_file(REPO, NAMES, revision=revision, spelling=SPELLING, say=say)


def test_a_cached_hub_file_is_taken_without_network(hub_cache):
    link = put_into(hub_cache, CONTENT)
    said: list[str] = []
    assert ask_hub(said) == link
    assert said == []


def test_the_first_name_that_is_cached_whole_is_taken(hub_cache):
    put_into(hub_cache, b"cut short")
    other = put_into(hub_cache, b"other", NAMES[1], hashlib.sha256(b"other").hexdigest())
    assert ask_hub() == other


def test_a_blob_in_the_store_shared_by_repositories_is_whole_by_its_own_name(hub_cache):
    link = put_into(hub_cache, CONTENT)
    blob = hub_cache / "models--timm--tiny.test" / "blobs" / SHA
    store = hub_cache / "blobs" / "ff" / ("f" * 64)  # named by another hash of 64 digits
    store.parent.mkdir(parents=True)
    blob.rename(store)
    blob.symlink_to(store)
    assert ask_hub() == link


def test_a_file_kept_by_its_git_hash_is_taken_as_it_is(hub_cache):
    link = put_into(hub_cache, b"small", blob="b" * 40)
    assert ask_hub() == link


def test_a_missing_hub_file_names_file_folder_command_and_way_out(hub_cache):
    with pytest.raises(UserError) as caught:
        ask_hub(revision="v2")
    text = str(caught.value)
    assert "timm:tiny.test needs the file model.safetensors of timm/tiny.test" in text
    assert "is not on this disk" in text
    assert "ConnectError" in text
    assert "`hf download timm/tiny.test model.safetensors --revision v2`" in text
    assert "copy the folder models--timm--tiny.test from the cache there" in text
    assert f"into {hub_cache}" in text
    assert "timm:tiny.test@FILE" in text


def test_offline_is_respected(hub, hub_cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        ask_hub()
    link = put_into(hub_cache, b"cut short")
    with pytest.raises(UserError, match=r"is damaged: .*another SHA-256") as caught:
        ask_hub()
    assert str(link) in str(caught.value)
    assert hub == []


def test_a_silent_hub_is_given_up_within_seconds(hub_cache, monkeypatch):
    monkeypatch.setattr(weights, "_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        point_at(monkeypatch, server.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(UserError, match="Timeout"):
            ask_hub()
    assert time.monotonic() - start < 5


def test_a_hub_file_is_fetched_once(hub, hub_cache):
    said: list[str] = []
    path = ask_hub(said)
    assert path.name == NAMES[1]  # the hub has no file of the first name
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(hub_cache)
    assert [line for line in said if "pytorch_model.bin (0.0 MB) from http://127.0.0.1" in line]
    before = len(hub)
    assert ask_hub() == path
    assert len(hub) == before


@pytest.mark.parametrize("damaged", [CONTENT[:-100], b"x" + CONTENT[1:]])
def test_a_damaged_hub_file_is_fetched_again(hub, hub_cache, damaged):
    link = put_into(hub_cache, damaged, NAMES[1])
    said: list[str] = []
    assert ask_hub(said) == link
    assert link.read_bytes() == CONTENT
    assert said[0] == f"{link} is damaged"


def test_what_the_hub_sends_is_checked_too(hub, hub_cache, monkeypatch):
    monkeypatch.setattr(Hub, "content", CONTENT[::-1])
    with pytest.raises(UserError, match="what came has another SHA-256"):
        ask_hub()


def test_a_file_that_the_hub_does_not_have(hub, hub_cache):
    with pytest.raises(UserError, match=r"timm/tiny\.test has no such file"):
        weights.hub_file(
            REPO, ["absent.safetensors"], revision=None, spelling=SPELLING, say=lambda _: None
        )


def test_a_cache_that_cannot_be_written_is_said(hub, hub_cache):
    hub_cache.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write to"):
        ask_hub()


def test_the_hubs_client_does_not_tell_home(hub_cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", False)
    put_into(hub_cache, CONTENT)
    ask_hub()
    from huggingface_hub import constants

    assert constants.HF_HUB_DISABLE_TELEMETRY


# --- torch.hub -----------------------------------------------------------------------------------


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / f"tiny-{SHA[:8]}.pth"
    path.write_bytes(CONTENT)
    return path


def ask_url(url: str) -> Path:
    return weights.url_file(url, spelling="torchvision:tiny", say=lambda _: None)


def test_a_url_file_is_fetched_once(torch_home, published):
    path = ask_url(published.as_uri())
    assert path == torch_home / published.name
    assert path.read_bytes() == CONTENT
    published.unlink()
    assert ask_url(published.as_uri()) == path
    assert [entry.name for entry in torch_home.iterdir()] == [path.name]


def test_a_damaged_url_file_is_fetched_again(torch_home, published):
    torch_home.mkdir(parents=True)
    (torch_home / published.name).write_bytes(CONTENT[:-1])
    assert ask_url(published.as_uri()).read_bytes() == CONTENT


def test_a_damaged_url_file_without_network_is_an_error(torch_home, published):
    torch_home.mkdir(parents=True)
    cached = torch_home / published.name
    cached.write_bytes(CONTENT[:-1])
    published.unlink()
    with pytest.raises(UserError) as caught:
        ask_url(published.as_uri())
    text = str(caught.value)
    assert f"torchvision:tiny needs the file {published.name}, which is damaged" in text
    assert f"fetch {published.as_uri()} and put it into {torch_home}" in text
    assert "torchvision:tiny@FILE" in text
    assert cached.read_bytes() == CONTENT[:-1]


def test_a_url_file_of_another_hash_never_arrives(torch_home, published):
    published.write_bytes(CONTENT[::-1])
    with pytest.raises(UserError, match="another SHA-256"):
        ask_url(published.as_uri())
    assert list(torch_home.iterdir()) == []


def test_a_url_without_a_hash_is_taken_as_it_is(torch_home, published):
    plain = published.rename(published.with_name("IN1K-vit.h.14-300e.pth"))
    assert ask_url(plain.as_uri()).read_bytes() == CONTENT


def test_a_transfer_cut_short_never_arrives(torch_home):
    class Short(Hub):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:1000])

    with serving(Short) as port, pytest.raises(UserError, match="only 1000 of 40000 bytes came"):
        ask_url(f"http://127.0.0.1:{port}/plain.pth")
    assert list(torch_home.iterdir()) == []


def test_a_silent_server_is_given_up_within_seconds(torch_home, monkeypatch):
    monkeypatch.setattr(weights, "_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = time.monotonic()
        with pytest.raises(UserError, match="timed out"):
            ask_url(f"http://127.0.0.1:{server.getsockname()[1]}/plain.pth")
    assert time.monotonic() - start < 5


# --- what lies on this disk ----------------------------------------------------------------------


def test_a_hash_is_computed_again_when_the_file_changes(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, ns=(0, len(content) if content == b"one" else 10**9))
        assert weights.sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_cached_files_are_listed(hub_cache, torch_home):
    assert weights.cached_hub_repos() == []
    assert weights.cached_url_files() == {}
    put_into(hub_cache, CONTENT)
    older = hub_cache / "models--timm--tiny.test" / "snapshots" / ("c" * 40)
    older.mkdir()
    (older / NAMES[0]).symlink_to(Path("..", "..", "blobs", SHA))  # the same blob counts once
    (older / NAMES[1]).symlink_to(Path("..", "..", "blobs", "gone"))
    (hub_cache / "models--timm--only-a-card" / "snapshots" / COMMIT).mkdir(parents=True)
    (hub_cache / "models--timm--only-a-card" / "snapshots" / COMMIT / "README.md").write_text("-")
    (hub_cache / "datasets--a--b").mkdir()
    (hub_cache / "models--odd").write_text("a file, no folder")
    assert weights.cached_hub_repos() == [(REPO, len(CONTENT))]
    torch_home.mkdir(parents=True)
    (torch_home / "resnet18-f37072fd.pth").write_bytes(b"1234")
    (torch_home / ".resnet18-f37072fd.pth.0.partial").write_bytes(b"1")
    (torch_home / "a-folder").mkdir()
    assert weights.cached_url_files() == {"resnet18-f37072fd.pth": 4}


def test_listing_finds_torchs_own_folder_and_opens_no_framework(tmp_path):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "a.pth").write_bytes(b"12")
    code = (
        "import sys; from regraft.backbones import weights as w; w.cached_hub_repos(); "
        "print(w.cached_url_files(), {'torch', 'timm', 'numpy'} & set(sys.modules)); "
        "import torch; print(torch.hub.get_dir())"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("TORCH_HOME", "HF_HUB_CACHE")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["{'a.pth': 2} set()", str(folder.parent)]


# --- checkpoints ---------------------------------------------------------------------------------


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "stem.weight": torch.randn(30, 20, generator=generator),
        "stem.bias": torch.randn(30, generator=generator),
    }


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert torch.equal(found[name], value)


@pytest.mark.parametrize("make", ["safetensors", "zip", "legacy"])
def test_every_make_is_read_whatever_its_name(tmp_path, make):
    path = tmp_path / "weights.data"
    if make == "safetensors":
        save_file(tensors(), path)
    else:
        torch.save(tensors(), path, _use_new_zipfile_serialization=make == "zip")
    found = read_checkpoint(path)
    assert_same({name: found[name] for name in tensors()}, tensors())
    assert len(found) == 2


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"state_dict": t, "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}},
        lambda t: {"model": t, "params": {"lr": 0.1}},
        lambda t: {"model_state_dict": {f"module.{k}": v for k, v in t.items()}},
        lambda t: {"net": {"model_ema": {f"module._orig_mod.{k}": v for k, v in t.items()}}},
        lambda t: {f"model.backbone.{k}": torch.nn.Parameter(v) for k, v in t.items()},
        lambda t: {**t, "epoch": 3},
    ],
)
def test_containers_and_prefixes_are_taken_off(tmp_path, wrap):
    path = tmp_path / "weights.pth"
    torch.save(wrap(tensors()), path)
    assert_same(read_checkpoint(path), tensors())


def test_a_prefix_that_not_every_name_has_stays(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"backbone.a": torch.ones(1), "fc.a": torch.ones(1)}, path)
    assert set(read_checkpoint(path)) == {"backbone.a", "fc.a"}


class Code:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("make", ["zip", "legacy", "plain"])
def test_a_pickle_with_code_is_refused_and_its_code_does_not_run(tmp_path, make):
    path, mark = tmp_path / "weights.pth", tmp_path / "ran"
    content = {"state_dict": tensors(), "extra": Code(mark)}
    if make == "plain":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=make == "zip")
    with pytest.raises(UserError, match="refused") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "code" in str(caught.value)
    assert "safetensors" in str(caught.value)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Code(mark)))
    assert mark.is_dir()  # so it would have run


@pytest.mark.parametrize("make", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("keep", [0.04, 0.5, 0.9])
def test_a_truncated_checkpoint_is_refused(tmp_path, make, keep):
    path = tmp_path / "weights.pth"
    if make == "safetensors":
        save_file(tensors(), path)
    else:
        torch.save(tensors(), path, _use_new_zipfile_serialization=make == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(UserError, match="truncated or damaged"):
        read_checkpoint(path)


def test_a_flipped_bit_in_a_checkpoint_is_found(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(tensors(), path)
    content = bytearray(path.read_bytes())
    place = content.index(tensors()["stem.weight"].numpy().tobytes()[:16])
    content[place] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)  # PyTorch itself does not notice
    with pytest.raises(UserError, match=r"the checksum of .* is wrong"):
        read_checkpoint(path)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>not found</html>", "is a web page"),
        (LFS, "Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "keras:NAME@FILE"),
        (b"hello, world\n" * 20, "cannot be read"),
        (bytes(range(256)) * 4, "cannot be read"),
    ],
)
def test_what_is_no_checkpoint_is_said(tmp_path, content, says):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_checkpoint(path)


def test_places_without_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(UserError, match="is a directory"):
        read_checkpoint(tmp_path)


def test_other_zip_files_and_programs_are_named(tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(UserError, match="is a zip file, but none of PyTorch"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", b"")
    with pytest.raises(UserError, match="TorchScript"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.ones(1)], {0: torch.ones(1)}, {}])
def test_a_checkpoint_without_named_tensors_is_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match="holds no named tensor"):
        read_checkpoint(path)


def test_an_empty_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({}, path)
    with pytest.raises(UserError, match="holds no tensor"):
        read_checkpoint(path)


# --- into a network ------------------------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.fc = torch.nn.Linear(4, classes)


def snapshot(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def load(network: torch.nn.Module, values: dict[str, torch.Tensor]) -> None:
    load_into(network, values, path=Path("weights.pth"), head=("fc",))


def test_everything_is_loaded():
    source, network = Net(), Net()
    source.bn.num_batches_tracked += 7
    load(network, snapshot(source))
    assert_same(snapshot(network), snapshot(source))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_point_types_are_converted(dtype):
    network = Net()
    values = {k: v.to(dtype) if v.is_floating_point() else v for k, v in snapshot(Net()).items()}
    load(network, values)
    assert {v.dtype for v in network.parameters()} == {torch.float32}
    assert torch.equal(network.conv.weight, values["conv.weight"].to(torch.float32))


def test_every_misfit_is_listed_at_once_and_nothing_is_loaded():
    network = Net()
    before = snapshot(network)
    values = snapshot(Net())
    del values["conv.bias"], values["bn.running_mean"]
    values["conv.weight"] = torch.ones(4, 4, 3, 3)
    values["bn.weight"] = torch.ones(4, dtype=torch.int64)
    values["aux.weight"] = torch.ones(1)
    with pytest.raises(UserError) as caught:
        load(network, values)
    assert sorted(caught.value.problems) == [
        "aux.weight is extra: the network has no such tensor",
        "bn.running_mean is missing, shape (4,)",
        "bn.weight has type torch.int64, the network wants torch.float32",
        "conv.bias is missing, shape (4,)",
        "conv.weight has shape (4, 4, 3, 3), the network wants (4, 3, 3, 3)",
    ]
    assert "2 missing, 1 extra, 2 that do not fit" in caught.value.message
    assert "weights.pth" in caught.value.message
    assert "nothing was loaded" in caught.value.message
    assert_same(snapshot(network), before)


def test_a_head_of_another_size_missing_or_extra_is_left():
    source = Net(classes=9)
    network = Net(classes=5)
    head = network.fc.weight.clone()
    load(network, snapshot(source))
    assert torch.equal(network.conv.weight, source.conv.weight)
    assert torch.equal(network.fc.weight, head)
    trunk = {k: v for k, v in snapshot(Net()).items() if not k.startswith("fc.")}
    load(network, {**trunk, "fc.norm.weight": torch.ones(1)})
    assert torch.equal(network.conv.weight, trunk["conv.weight"])
    assert torch.equal(network.fc.weight, head)


def test_a_module_whose_name_begins_like_the_heads_is_not_the_head():
    with pytest.raises(UserError, match=r"fc2\.weight is extra"):
        load(Net(), {**snapshot(Net()), "fc2.weight": torch.ones(1)})


def test_the_count_of_batches_may_be_absent():
    values = snapshot(Net())
    del values["bn.num_batches_tracked"]
    network = Net()
    load(network, values)
    assert torch.equal(network.conv.weight, values["conv.weight"])


@pytest.mark.parametrize(
    ("change", "guess"),
    [
        (lambda v: {f"features.{k}": x for k, x in v.items()}, "another library's names"),
        (lambda v: {"conv.weight": v["conv.weight"]}, "a trunk only"),
        (lambda v: {**v, "decoder.weight": torch.ones(1)}, "has this one as a part"),
        (lambda v: {**v, "conv.bias": torch.ones(9)}, "another size or version"),
    ],
)
def test_the_message_guesses_what_the_file_is(change, guess):
    with pytest.raises(UserError, match=guess):
        load(Net(), change(snapshot(Net())))


# --- licences ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "licence",
    [
        "cc-by-nc-4.0",
        "CC-BY-NC-SA-4.0",
        "apple-amlr",
        "seer-license",
        "fair-noncommercial-research-license",
        "https://github.com/facebookresearch/SWAG/blob/main/LICENSE",
    ],
)
def test_licences_that_forbid_commercial_use(licence):
    assert forbids_commercial_use(licence)
    assert notice("timm:x", licence) == (
        f"timm:x: the licence of its weights, {licence}, forbids commercial use"
    )


@pytest.mark.parametrize(
    "licence", ["apache-2.0", "Apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0"]
)
def test_licences_that_need_no_word(licence):
    assert not forbids_commercial_use(licence)
    assert notice("timm:x", licence) is None


@pytest.mark.parametrize(
    "licence", ["dinov3-license", "gemma", "apple-ascl", "sapiens2-license", "qwen-community-1.0"]
)
def test_licences_with_terms_of_their_own(licence):
    assert not forbids_commercial_use(licence)
    assert f"{licence}, has terms of its own" in (notice("timm:x", licence) or "")


@pytest.mark.parametrize("licence", ["unknown", None, ""])
def test_no_licence_is_said(licence):
    assert not forbids_commercial_use(licence)
    assert "no licence is stated" in (notice("timm:x", licence) or "")


def test_every_licence_of_timm_that_names_itself_non_commercial_is_known():
    from regraft.backbones.torchvision_shim import declare_missing_operators

    declare_missing_operators()
    timm_models = pytest.importorskip("timm.models")
    names = timm_models.list_pretrained()
    found = {str(timm_models.get_pretrained_cfg(name).license) for name in names}
    forbidding = {licence for licence in found if forbids_commercial_use(licence)}
    assert {"cc-by-nc-4.0", "apple-amlr", "seer-license"} <= forbidding
    assert {x for x in found if "nc" in x.split("-") or "noncommercial" in x} <= forbidding
