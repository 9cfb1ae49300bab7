"""What the pictures of a report show: taken apart exactly, and found where it was put."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import regraft
from pictures import texture, write_classes
from regraft.backbones.base import Backbone
from regraft.backbones.cuts import Cut, TensorSpec
from regraft.backbones.pooling import Pool
from regraft.backbones.registry import get_backbone
from regraft.errors import MissingExtraError
from regraft.frozen.devices import get_device
from regraft.frozen.engine import run_all
from regraft.heads.linear import LinearHead
from regraft.options import Overrides
from regraft.report.activations import Places, looker
from regraft.report.depths import first_filters, see, shown_cuts
from regraft.report.evidence import evidence
from regraft.report.gradients import grad_cam, sources_of
from regraft.report.images import data_uri, heat, mosaic
from regraft.report.space import flat_map
from regraft.strategy import POOLINGS, Tap

SPECS = {
    "maps": TensorSpec("NCHW", (5, 6, 8)),
    "odd maps": TensorSpec("NCHW", (5, 7, 7)),
    "channels last": TensorSpec("NHWC", (5, 7, 4)),
    "tokens": TensorSpec("NLC", (10, 4), prefix=1),
    "vector": TensorSpec("NC", (6,)),
}


def tensor_of(spec: TensorSpec, values: np.ndarray) -> torch.Tensor:
    """Lay (places, channels) out as the network does, with tokens of no place in front."""
    if spec.layout == "NC":
        return torch.from_numpy(values)
    if spec.layout == "NLC":
        first = np.full((spec.prefix, spec.channels), 9.0, np.float32)
        return torch.from_numpy(np.concatenate([first, values])[np.newaxis])
    height, width = spec.grid
    shaped = values.reshape(height, width, -1)
    if spec.layout == "NCHW":
        shaped = np.ascontiguousarray(shaped.transpose(2, 0, 1))
    return torch.from_numpy(shaped[np.newaxis])


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", SPECS)
def test_evidence_adds_up_to_the_score_for_every_pooling_and_layout(name: str, pooling: str):
    spec, rng = SPECS[name], np.random.default_rng(3)
    cut = Cut("here", (spec,))
    if pooling not in cut.poolings and spec.layout != "NC":
        pytest.skip("this cut has no such pooling")
    pooling = pooling if pooling in cut.poolings else "avg"
    values = rng.normal(0.3, 1, (spec.places, spec.channels)).astype(np.float32)
    pooled = Pool(cut, pooling)((tensor_of(spec, values),)).numpy()[0]
    weights = rng.normal(0, 1, len(pooled))
    found = evidence(
        weights, 0.7, [Tap("here", pooling)], {"here": cut}, {"here": [Places(spec, values)]}
    )
    assert found.score == pytest.approx(float(weights @ pooled) + 0.7, rel=1e-5, abs=1e-5)
    assert found.on((30, 50)).sum() == pytest.approx(found.score, abs=1e-6)
    if spec.grid is not None and spec.places > 1:
        assert found.maps[0].shape == spec.grid
        assert found.elsewhere == pytest.approx(0.7)
    else:
        assert not found.maps


def test_evidence_lies_where_the_channel_is_on():
    spec = TensorSpec("NCHW", (2, 4, 4))
    values = np.zeros((16, 2), np.float32)
    values[3, 0], values[12, 1] = 1, 1  # the upper right corner, and the lower left one
    cut = Cut("here", (spec,))
    found = evidence(
        np.array([1.0, -1.0]), 0, [Tap("here")], {"here": cut}, {"here": [Places(spec, values)]}
    )
    shown = found.on((40, 40))
    assert shown.sum() == pytest.approx(found.score)
    assert np.unravel_index(shown.argmax(), shown.shape)[0] < 10
    assert np.unravel_index(shown.argmax(), shown.shape)[1] > 30
    assert shown[35, 5] < 0
    assert shown.sum() == pytest.approx(0, abs=1e-4)


def test_weights_of_another_length_are_no_evidence():
    spec = TensorSpec("NC", (3,))
    places = Places(spec, np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="must read 4 features, got 3"):
        evidence(np.ones(4), 0, [Tap("here")], {"here": Cut("here", (spec,))}, {"here": [places]})


@pytest.fixture(scope="module")
def vit(cache: Path) -> Backbone:
    return get_backbone("timm:test_vit", cache, pretrained=False)


@pytest.fixture(scope="module")
def resnet(cache: Path) -> Backbone:
    return get_backbone(
        "timm:test_resnet", cache, pretrained=False, overrides=Overrides(size=(64, 64))
    )


def pixels_of(backbone: Backbone, count: int) -> np.ndarray:
    pictures = [texture("ants", number, size=96) for number in range(count)]
    return np.stack([backbone.preprocess.rgb(picture) for picture in pictures])


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_real_networks_score_is_taken_apart(name: str, cache: Path, request):
    backbone = request.getfixturevalue(name)
    cuts = {cut.name: cut for cut in backbone.cuts}
    taps = [Tap(cut.name, p) for cut in backbone.probes[-3:] for p in cut.poolings]
    width = sum(cuts[tap.cut].width(tap.pooling) for tap in taps)
    weights = np.random.default_rng(5).normal(0, 0.1, width)
    pixels, device = pixels_of(backbone, 3), get_device("cpu", cache)
    features = run_all(device.engine(backbone, taps, "f32"), pixels)
    eyes = looker(backbone, device, "f32", [tap.cut for tap in taps])
    for row, tensors in zip(features, eyes.all(pixels), strict=True):
        found = evidence(weights, -0.2, taps, cuts, tensors)
        assert found.score == pytest.approx(float(weights @ row) - 0.2, rel=1e-3, abs=1e-3)


def test_grad_cam_explains_what_has_no_place(vit: Backbone):
    last = vit.probes[-1]
    taps = [Tap(last.name)]
    assert last.poolings == ("avg",)
    sources = sources_of(vit, taps)
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 1, (2, last.width("avg"))).astype(np.float32)
    head = LinearHead("logistic", weights, np.zeros(2, np.float32))
    maps = grad_cam(vit, head, taps, sources, pixels_of(vit, 2), np.array([0, 1]))
    assert [found.shape for found in maps] == [sources[0].tensors[0].grid] * 2
    assert all((found >= 0).all() for found in maps)
    assert any(found.max() > 0 for found in maps)
    assert not np.array_equal(maps[0], maps[1])


def test_without_captum_it_says_what_to_install(vit: Backbone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    head = LinearHead("logistic", np.zeros((2, 4), np.float32), np.zeros(2, np.float32))
    cut = vit.cuts[0]
    with pytest.raises(MissingExtraError, match=r"regraft\[report\]"):
        grad_cam(vit, head, [Tap(cut.name)], [cut], pixels_of(vit, 1), np.array([0]))


def test_every_depth_names_the_pictures_that_excite_its_channels(resnet: Backbone, cache: Path):
    pixels = pixels_of(resnet, 9)
    pixels[4] = 0
    pixels[4, :32] = 255  # nothing else has such an edge
    cuts = shown_cuts(resnet)
    depths = see(looker(resnet, get_device("cpu", cache), "f32", [c.name for c in cuts]), pixels, 1)
    assert [depth.cut for depth in depths] == [cut.name for cut in cuts]
    named = {row for depth in depths for channel in depth.excited for row in channel.pictures[:1]}
    assert 4 in named
    for depth in depths:
        assert depth.maps.shape[1:] == depth.grid
        for channel in depth.excited:
            assert len(set(channel.pictures)) == len(channel.pictures)
            tops = [found.max() for found in channel.maps]
            assert tops == sorted(tops, reverse=True)


def test_first_filters_are_those_of_the_network(resnet: Backbone):
    filters = first_filters(resnet)
    assert filters is not None
    assert filters.shape[-1] == 3
    weights = next(p for p in resnet.chain().root.parameters() if p.ndim == 4)
    found = {tuple(np.round(one.ravel(), 5)) for one in filters}
    expected = {
        tuple(np.round(one.ravel(), 5)) for one in weights.detach().permute(0, 2, 3, 1).numpy()
    }
    assert found <= expected


def test_a_map_keeps_groups_together_and_is_the_same_each_time():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 10, (3, 20))
    groups = np.repeat(np.arange(3), 30)
    features = (centres[groups] + rng.normal(0, 1, (90, 20))).astype(np.float32)
    places = flat_map(features, seed=4)
    assert places is not None
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(axis=1)] == groups).all()
    assert np.array_equal(places, flat_map(features, seed=4))
    assert (places.min(), places.max()) == (0, 1)


@pytest.mark.parametrize("features", [np.eye(7), np.zeros((20, 3)), np.ones((9, 1))])
def test_there_is_no_map_of_few_or_equal_pictures(features: np.ndarray):
    assert flat_map(features.astype(np.float32), seed=0) is None


def test_a_map_of_two_kinds_of_equal_pictures_is_finite():
    features = np.repeat(np.eye(2, 5, dtype=np.float32), 10, axis=0)
    places = flat_map(features, seed=0)
    assert places is not None
    assert np.isfinite(places).all()


def test_heat_is_orange_where_it_speaks_for_and_violet_where_against():
    grey = np.full((10, 10, 3), 128, np.uint8)
    signed = np.zeros((10, 10))
    signed[:5], signed[5:] = 1, -1
    shown = heat(grey, signed).astype(int)
    assert shown[2, 2, 0] > shown[2, 2, 2] + 50
    assert shown[7, 7, 2] > shown[7, 7, 1] + 30
    assert np.array_equal(heat(grey, np.zeros((10, 10))), grey)


def test_a_picture_becomes_an_address_of_its_own():
    assert data_uri(np.zeros((40, 60, 3), np.uint8), 20).startswith("data:image/webp;base64,")
    assert mosaic(np.random.default_rng(0).normal(0, 1, (5, 3, 3)), 10, 4).shape == (23, 49, 3)


def test_a_trained_networks_evidence_is_that_of_its_own_head(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("REGRAFT_CACHE", str(cache))
    photos = write_classes(tmp_path / "photos", {"ants": 8, "bees": 8})
    regraft.fit(photos, tmp_path / "m", backbone="timm:test_resnet", pretrained=False,
                overrides=Overrides(size=(64, 64)), precision="f32")  # fmt: skip
    model = regraft.load(tmp_path / "m")
    backbone = get_backbone(str(tmp_path / "m"), cache)
    taps = [Tap(t["cut"], t["pooling"]) for t in model.info["strategy"]["taps"]]
    cuts = {cut.name: cut for cut in backbone.cuts}
    paths = sorted(photos.rglob("*.jpg"))[:4]
    pixels = np.stack([model.preprocess.encoded(path.read_bytes()) for path in paths])
    eyes = looker(backbone, get_device("cpu", cache), "f32", [tap.cut for tap in taps])
    scores = [
        [
            evidence(model.head.weight[k], float(model.head.bias[k]), taps, cuts, tensors).score
            for k in range(2)
        ]
        for tensors in eyes.all(pixels)
    ]
    logits = np.log(model.predict_proba(paths))
    assert np.diff(scores) == pytest.approx(np.diff(logits), rel=1e-3, abs=1e-3)
