"""From a typed name to an opened network: spelling, weights, what is remembered, bundles."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import regraft
from pictures import write_classes
from regraft.backbones import described
from regraft.backbones.chain import Chain
from regraft.backbones.registry import get_backbone, request_of
from regraft.backbones.spelling import Request
from regraft.errors import MissingExtraError, UserError
from regraft.frozen.devices import Processor, get_device
from regraft.frozen.engine import run_all
from regraft.options import Overrides
from regraft.strategy import Tap

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402

SMALL = Overrides(size=(64, 64))
RESNET = "timm:resnet18"
NETWORK_FILE = Path(__file__).parent / "networks" / "stated.onnx"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the Hugging Face hub, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def state(text: str, cache: Path, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every weight of a random network, head included."""
    backbone = get_backbone(text, cache, pretrained=False, seed=seed, overrides=SMALL)
    return {k: v.clone() for k, v in backbone.opener().traced.root.state_dict().items()}


def equal(chain: Chain, other: Chain) -> bool:
    mine, theirs = chain.weights(), other.weights()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


# --- spelling ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("timm:resnet18", Request("timm", "resnet18")),
        ("timm:resnet18.a1_in1k", Request("timm", "resnet18.a1_in1k")),
        ("timm:resnet18@w.pth", Request("timm", "resnet18", Path("w.pth"))),
        ("torchvision:resnet50:DEFAULT", Request("torchvision", "resnet50:DEFAULT")),
        ("keras:MobileNet@a/b@c.h5", Request("keras", "MobileNet", Path("a/b@c.h5"))),
        ("file:a b/model@2.onnx", Request("file", "a b/model@2.onnx")),
    ],
)
def test_spelling(text: str, request_: Request) -> None:
    assert request_of(text) == request_
    assert request_.spelling == text


@pytest.mark.parametrize(
    "text", ["", ":", "timm:", "timm:resnet18@", "@w.pth", ":resnet18", "file:"]
)
def test_half_a_spelling_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="backbone"):
        get_backbone(text, tmp_path)


def test_an_unknown_zoo_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must begin with one of embedded:, timm:, .*got 'tim:x'"):
        get_backbone("tim:x", tmp_path)


def test_a_bare_name_lists_all_its_sources(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must name its source too") as caught:
        get_backbone("ResNet50", tmp_path)
    assert set(caught.value.problems) == {"timm:resnet50", "torchvision:resnet50", "keras:ResNet50"}


def test_an_unknown_bare_name_lists_what_is_close(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither") as caught:
        get_backbone("mobilenet_v22", tmp_path)
    assert "torchvision:mobilenet_v2" in caught.value.problems


@pytest.mark.parametrize(
    ("text", "close"),
    [
        ("timm:resnet51", "timm:resnet50"),
        ("torchvision:resnet51", "torchvision:resnet50"),
        ("keras:resnet50v3", "keras:ResNet50V2"),
    ],
)
def test_an_unknown_name_lists_the_closest(text: str, close: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        get_backbone(text, tmp_path)
    assert close in str(caught.value)


def test_unknown_weights_list_the_known_ones(tmp_path: Path) -> None:
    for text in ("timm:resnet18.best", "torchvision:resnet18:BEST"):
        with pytest.raises(UserError, match="one of") as caught:
            get_backbone(text, tmp_path)
        assert len(caught.value.problems) >= 1


def test_architectures_without_weights_need_an_architecture(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"random weights \(--no-pretrained, --strategy scratch\) need an arch"
    ):
        get_backbone("file:x.onnx", tmp_path, pretrained=False)
    with pytest.raises(UserError, match="tap and layout are for network files"):
        get_backbone(RESNET, tmp_path, overrides=Overrides(tap="x"))


def test_a_missing_framework_is_named_with_its_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "keras" else real(name, *a)
    )
    monkeypatch.delitem(__import__("sys").modules, "keras", raising=False)
    with pytest.raises(MissingExtraError, match=r'pip install "regraft\[keras\]"'):
        get_backbone("keras:MobileNet", tmp_path)


# --- weights -------------------------------------------------------------------------------------


def test_weights_of_the_hub_are_found_in_its_cache(tmp_path: Path, no_hub: Path) -> None:
    tensors = state(RESNET, tmp_path, seed=3)
    lay_out(no_hub, "timm/resnet18.a1_in1k", tensors)
    said: list[str] = []
    backbone = get_backbone("timm:resnet18.a1_in1k", tmp_path, say=said.append)
    assert backbone.name == "timm:resnet18.a1_in1k"
    assert backbone.origin.licence == "apache-2.0"
    assert backbone.origin.trained_on == "ImageNet-1k"
    found = backbone.chain().weights()
    assert torch.equal(found["layer1.0.conv1.weight"], tensors["layer1.0.conv1.weight"])
    assert not said


def test_absent_weights_say_which_file_is_needed_and_where_it_goes(
    tmp_path: Path, no_hub: Path
) -> None:
    with pytest.raises(UserError) as caught:
        get_backbone("timm:resnet18.a1_in1k", tmp_path)
    text = str(caught.value)
    for part in ("timm/resnet18.a1_in1k", "model.safetensors", str(no_hub), "resnet18.a1_in1k@"):
        assert part in text


def test_a_licence_that_forbids_commercial_use_is_said(tmp_path: Path, no_hub: Path) -> None:
    name = "convnextv2_atto.fcmae_ft_in1k"
    lay_out(no_hub, f"timm/{name}", state("timm:convnextv2_atto", tmp_path))
    for _ in range(2):  # opened, then remembered
        said: list[str] = []
        get_backbone(f"timm:{name}", tmp_path, overrides=SMALL, say=said.append)
        assert len(said) == 1
        assert "cc-by-nc-4.0" in said[0]


@pytest.mark.parametrize("zoo", ["timm", "torchvision"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_checkpoint_gives_its_weights(zoo: str, suffix: str, tmp_path: Path) -> None:
    tensors = state(f"{zoo}:resnet18", tmp_path, seed=5)
    tensors["fc.weight"], tensors["fc.bias"] = torch.zeros(7, 512), torch.zeros(7)
    path = tmp_path / f"weights{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    backbone = get_backbone(f"{zoo}:resnet18@{path}", tmp_path, overrides=SMALL)
    reference = get_backbone(f"{zoo}:resnet18", tmp_path, pretrained=False, seed=5, overrides=SMALL)
    assert equal(backbone.chain(), reference.chain())
    assert backbone.origin.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(tmp_path) not in backbone.origin.weights


def test_a_checkpoint_of_another_network_lists_what_does_not_fit(tmp_path: Path) -> None:
    tensors = state(RESNET, tmp_path)
    tensors["layer1.0.conv1.weight"] = torch.zeros(3, 3)
    del tensors["bn1.weight"]
    tensors["layer9.weight"] = torch.zeros(1)
    path = tmp_path / "other.safetensors"
    save_file(tensors, path)
    with pytest.raises(UserError) as caught:
        get_backbone(f"{RESNET}@{path}", tmp_path)
    for part in ("layer1.0.conv1.weight", "bn1.weight", "layer9.weight"):
        assert part in str(caught.value)


def test_random_weights_follow_the_seed(tmp_path: Path) -> None:
    first, same, other = (state(RESNET, tmp_path, seed)["conv1.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    before = torch.get_rng_state()
    state(RESNET, tmp_path, 4)
    assert torch.equal(torch.get_rng_state(), before)


# --- what is remembered --------------------------------------------------------------------------


def test_a_description_is_remembered_while_its_weights_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(state(RESNET, tmp_path, seed=1), path)
    opened = []
    real = described.note
    monkeypatch.setattr(
        "regraft.backbones.registry.note", lambda *a: (opened.append(a[0]), real(*a))
    )

    def describe() -> str:
        return get_backbone(f"{RESNET}@{path}", tmp_path).origin.weights_sha256

    first = describe()
    assert describe() == first
    assert len(opened) == 1
    save_file(state(RESNET, tmp_path, seed=2), path)
    opened.clear()
    second = describe()
    assert second != first
    assert len(opened) == 1
    for file in (tmp_path / "descriptions").iterdir():
        file.write_text("{")
    opened.clear()
    assert describe() == second
    assert len(opened) == 1


def test_a_remembered_network_opens_no_framework(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = f"""
import sys
from pathlib import Path
from regraft.backbones.registry import get_backbone
get_backbone({RESNET!r}, Path({str(tmp_path)!r}), pretrained=False)
print(*(name for name in ("torch", "timm", "torchvision", "openvino") if name in sys.modules))
"""
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert "timm" in runs[0].stdout
    assert runs[1].stdout.strip() == ""


# --- a model of regraft's own as a source --------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder of these tests' own: others count what is in the shared one."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("photos"), {"cats": 12, "dogs": 12})


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("models") / "cats.regraft"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGRAFT_CACHE", str(cache))
        regraft.fit(photos, folder, backbone=RESNET, pretrained=False, overrides=SMALL, seed=3)
    return folder


def test_a_bundle_is_a_source(trained: Path, tmp_path: Path, cache: Path) -> None:
    backbone = get_backbone(str(trained), cache)
    source = get_backbone(RESNET, cache, pretrained=False, seed=3, overrides=SMALL)
    assert equal(backbone.chain(), source.chain())
    assert backbone.cuts == source.cuts
    assert backbone.preprocess == source.preprocess
    assert backbone.description.trains
    assert backbone.origin.trained_on == source.origin.trained_on  # only a head was trained
    tap = (Tap(backbone.probes[-1].name),)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    ours, theirs = (
        run_all(Processor(cache).engine(b, tap, "f32"), pixels) for b in (backbone, source)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_chain_of_models(
    trained: Path, photos: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))
    regraft.fit(photos, tmp_path / "second", backbone=str(trained))
    moved = tmp_path / "moved"
    (tmp_path / "second").rename(moved)
    third = regraft.fit(photos, tmp_path / "third", backbone=str(moved))
    info = third.model.info["backbone"]
    assert info["name"] == "timm:resnet18.a1_in1k"
    assert [(a["name"], a["strategy"]) for a in info["ancestors"]] == [
        ("timm:resnet18", None),
        ("cats.regraft", "features"),
        ("moved", "features"),
    ]
    assert str(tmp_path) not in json.dumps(info)
    assert (
        load_file(moved / "model.safetensors").keys()
        == load_file(trained / "model.safetensors").keys()
    )


def test_a_damaged_bundle_is_no_source(trained: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"model\.safetensors differs from what SHA256SUMS says"):
        get_backbone(str(copy), tmp_path)


def test_a_model_on_a_network_file_is_a_source(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))
    spelling = f"file:{NETWORK_FILE}"
    first = regraft.fit(photos, tmp_path / "first", backbone=spelling)
    second = regraft.fit(photos, tmp_path / "second", backbone=str(tmp_path / "first"))
    assert first.record["test"] == second.record["test"]
    assert second.model.predict([photos / "cats" / "000.jpg"]) == ["cats"]
    backbone = get_backbone(str(tmp_path / "second"), cache)
    assert not backbone.description.trains
    assert [c.tensors for c in backbone.probes] == [
        c.tensors for c in get_backbone(spelling, cache).probes
    ]
    with pytest.raises(UserError, match=r"only runs frozen.*what can train"):
        backbone.chain()
    with pytest.raises(UserError, match="holds no PyTorch"):
        get_device("cuda", cache, trains=False)


def lay_out(hub: Path, repo: str, tensors: dict[str, torch.Tensor]) -> None:
    """Lay weights out as the hub's client does."""
    folder, commit = hub / f"models--{repo.replace('/', '--')}", "a" * 40
    for part in ("blobs", f"snapshots/{commit}", "refs"):
        (folder / part).mkdir(parents=True)
    save_file(tensors, folder / "blobs" / "new")
    digest = hashlib.sha256((folder / "blobs" / "new").read_bytes()).hexdigest()
    (folder / "blobs" / "new").rename(folder / "blobs" / digest)
    (folder / "refs" / "main").write_text(commit)
    link = folder / "snapshots" / commit / "model.safetensors"
    link.symlink_to(Path("..", "..", "blobs", digest))


# --- what a review found --------------------------------------------------------------------------


def test_random_weights_and_a_file_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="need no file, so leave it out of"):
        get_backbone(f"{RESNET}@x.safetensors", tmp_path, pretrained=False)


def test_weights_that_change_between_describing_and_opening_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state(RESNET, tmp_path, seed=1), path)
    get_backbone(f"{RESNET}@{path}", tmp_path)
    remembered = get_backbone(f"{RESNET}@{path}", tmp_path)
    save_file(state(RESNET, tmp_path, seed=2), path)
    with pytest.raises(UserError, match="were changed meanwhile"):
        remembered.chain()


def test_a_file_of_the_same_size_and_date_is_another_file(tmp_path: Path) -> None:
    import os

    path = tmp_path / "w.safetensors"
    save_file(state(RESNET, tmp_path, seed=1), path)
    status = path.stat()
    before = get_backbone(f"{RESNET}@{path}", tmp_path).origin.weights_sha256
    save_file(state(RESNET, tmp_path, seed=2), path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert get_backbone(f"{RESNET}@{path}", tmp_path).origin.weights_sha256 != before


def test_an_engine_leaves_the_network_where_it_is(tmp_path: Path) -> None:
    from regraft.frozen.torch_engine import TorchEngine

    backbone = get_backbone(RESNET, tmp_path, pretrained=False, overrides=SMALL)
    TorchEngine(backbone, (Tap("layer4"),), "f32", "meta")
    assert {p.device.type for p in backbone.opener().traced.root.parameters()} == {"cpu"}
    backbone.write(tmp_path, backbone.probes)
    assert (tmp_path / "frozen.xml").is_file()


@pytest.mark.parametrize("name", ["timm:levit_128s", "timm:repvit_m0_9"])
def test_no_cut_depends_on_one_of_several_heads(name: str, tmp_path: Path) -> None:
    backbone = get_backbone(name, tmp_path, pretrained=False)
    chain = backbone.chain()
    x = torch.randn(1, 3, 224, 224)
    flowing: tuple[torch.Tensor, ...] = (x,)
    with torch.no_grad():
        for stage in chain.stages:
            flowing = stage.module(*flowing)
        assert torch.equal(flowing, chain.network(x))
    assert 1000 not in {cut.channels for cut in backbone.cuts}


def test_class_tokens_are_not_pooled(tmp_path: Path) -> None:
    cuts = get_backbone("timm:crossvit_9_240", tmp_path, pretrained=False).cuts
    tokens = [t for cut in cuts for t in cut.tensors if t.layout == "NLC"]
    assert {(t.shape[0], t.prefix) for t in tokens} >= {(401, 1), (197, 1)}
    assert all(t.grid for t in tokens)


def test_a_graph_that_does_not_run_is_taken_in_two(tmp_path: Path) -> None:
    backbone = get_backbone("timm:hiera_tiny_224", tmp_path, pretrained=False)
    assert [cut.name for cut in backbone.cuts] == ["features"]
    x = torch.randn(1, 3, 224, 224)
    chain = backbone.chain()
    with torch.no_grad():
        whole = chain.suffix("features")(*chain.prefix("features")(x))
        assert torch.equal(whole, chain.network(x))


@pytest.mark.parametrize(
    "text", ["~nosuchuser/x", f"{RESNET}@~nosuchuser/x", "file:~nosuchuser/x", "x" * 300, "a\0b"]
)
def test_odd_paths_are_refused_with_a_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        get_backbone(text, tmp_path)


def test_names_are_matched_whatever_their_case(tmp_path: Path) -> None:
    for text, close in (("timm:RESNET18", RESNET), ("torchvision:AlexNet", "torchvision:alexnet")):
        with pytest.raises(UserError) as caught:
            get_backbone(text, tmp_path)
        assert close in caught.value.problems


def test_the_source_task_is_the_last_one_first() -> None:
    from regraft.backbones.timm_zoo import _task

    assert _task("augreg_in21k_ft_in1k") == "ImageNet-1k, before that ImageNet-21k"
    assert _task("a1_in1k") == "ImageNet-1k"
    assert _task("something") == "timm's tag 'something'"


def test_what_the_user_says_takes_the_place_of_what_is_known(tmp_path: Path) -> None:
    over = Overrides((64, 64), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "BGR", "squash")
    for name in (RESNET, "torchvision:resnet18", "embedded:efficientnet_lite0", "keras:MobileNet"):
        found = get_backbone(name, tmp_path, pretrained=False, overrides=over).preprocess
        assert (found.size, found.mean, found.std) == over_values(over)
        assert (found.channels, found.crop_pct) == ("BGR", None)
    for wrong in ({"crop": 0.0}, {"crop": 1.5}, {"channels": "GBR"}, {"std": (1.0, 0.0, 1.0)}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Overrides(**wrong)


def over_values(over: Overrides) -> tuple[object, object, object]:
    return over.size, over.mean, over.std
