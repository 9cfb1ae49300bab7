"""The embedded network: right weights, right preprocessing, cuts where they say they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from regraft.backbones.base import Preprocess, backbone_key
from regraft.backbones.embedded import EfficientNetLite0
from regraft.backbones.registry import get_backbone
from regraft.errors import RegraftError, UserError
from regraft.options import DEFAULT_BACKBONE

torch = pytest.importorskip("torch")

DATA = Path(os.environ.get("REGRAFT_DATA", Path(__file__).parents[2] / "shared" / "data"))
PALACE, BELL_COTE, DAISY = 698, 442, 985  # ImageNet classes


def normalised(pixels: np.ndarray, preprocess: Preprocess) -> torch.Tensor:
    scaled = (pixels / 255.0 - np.array(preprocess.mean)) / np.array(preprocess.std)
    return torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return EfficientNetLite0().network()


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """scikit-learn's two photos, a Chinese palace and a flower, prepared: (2, 224, 224, 3)."""
    preprocess = EfficientNetLite0().preprocess
    return np.stack([preprocess.rgb(image) for image in load_sample_images().images])


def test_golden_real_photos_get_their_imagenet_classes(network, photos):
    with torch.no_grad():
        scores = network(normalised(photos, EfficientNetLite0.preprocess))
    top = scores.topk(2, dim=1).indices.tolist()
    assert top[0] == [PALACE, BELL_COTE]
    assert top[1][0] == DAISY


def test_the_usual_imagenet_mean_and_std_would_be_wrong(network, photos):
    usual = Preprocess((224, 224), 0.875, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        right = network(normalised(photos, EfficientNetLite0.preprocess)).softmax(1)
        wrong = network(normalised(photos, usual)).softmax(1)
    assert wrong[0, PALACE] < right[0, PALACE]
    assert wrong[1, DAISY] < right[1, DAISY] / 2


@pytest.mark.skipif(not (DATA / "imagenet_sample").is_dir(), reason="needs the real pictures")
def test_golden_imagenet_sample_reaches_the_accuracy_of_its_publisher(network):
    """500 training pictures, one per second class: a wrong mean, channel order or crop shows."""
    preprocess = EfficientNetLite0.preprocess
    files = sorted((DATA / "imagenet_sample").glob("*.jpg"))
    right = []
    with torch.no_grad():
        for start in range(0, len(files), 50):
            batch = files[start : start + 50]
            pixels = np.stack([preprocess.encoded(path.read_bytes()) for path in batch])
            x = normalised(pixels, preprocess).to(memory_format=torch.channels_last)
            classes = network(x).argmax(1).tolist()
            right += [int(p.name[:3]) == k for p, k in zip(batch, classes, strict=True)]
    assert len(right) == 500
    assert np.mean(right) >= 0.84


def test_cuts_are_the_modules_whose_output_they_are(network, photos):
    backbone = EfficientNetLite0()
    seen: dict[str, torch.Tensor] = {}
    modules = dict(network.named_modules())
    handles = [
        modules[cut.name].register_forward_hook(
            lambda _module, _inputs, output, name=cut.name: seen.update({name: output})
        )
        for cut in backbone.cuts
    ]
    with torch.no_grad():
        x = normalised(photos, backbone.preprocess)
        network(x)
        maps = backbone.trunk()(x)
    for handle in handles:
        handle.remove()
    assert [cut.name for cut in backbone.cuts] == list(seen)
    for cut, output in zip(backbone.cuts, maps, strict=True):
        assert output.shape[1] == cut.channels
        torch.testing.assert_close(output, seen[cut.name], rtol=0, atol=0)


def test_head_on_the_last_cut_is_the_whole_network(network, photos):
    with torch.no_grad():
        x = normalised(photos, EfficientNetLite0.preprocess)
        features = EfficientNetLite0().trunk()(x)[-1].mean(dim=(2, 3))
        torch.testing.assert_close(network.classifier(features), network(x))


def test_trunk_is_frozen_and_still():
    trunk = EfficientNetLite0().trunk()
    assert not trunk.training
    assert not any(module.training for module in trunk.modules())
    assert not any(parameter.requires_grad for parameter in trunk.parameters())


def test_preprocess_agrees_with_timms_own_transform():
    timm_data = pytest.importorskip("timm.data")
    from PIL import Image

    backbone = EfficientNetLite0()
    transform = timm_data.create_transform(
        input_size=(3, 224, 224),
        interpolation="bicubic",
        crop_pct=0.875,
        mean=backbone.preprocess.mean,
        std=backbone.preprocess.std,
    )
    for image in load_sample_images().images:
        reference = transform(Image.fromarray(image))
        ours = normalised(backbone.preprocess.rgb(image)[None], backbone.preprocess)[0]
        assert float((ours - reference).abs().mean()) < 0.01  # of a range of 2


def test_preprocess_round_trip_and_rules():
    preprocess = EfficientNetLite0.preprocess
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess
    for field, value in [
        ("crop_pct", 0.0),
        ("crop_pct", 1.5),
        ("interpolation", "nearest"),
        ("std", (0.5, 0.0, 0.5)),
        ("size", (0, 224)),
        ("mean", (0.5, 0.5)),
    ]:
        with pytest.raises((ValueError, TypeError)):
            Preprocess.from_dict({**preprocess.to_dict(), field: value})


def test_other_weights_are_refused(monkeypatch, tmp_path):
    other = tmp_path / "weights.pth"
    other.write_bytes(b"not the weights")
    monkeypatch.setattr("regraft.backbones.embedded.weights_path", lambda: other)
    with pytest.raises(RegraftError, match="must have SHA-256"):
        EfficientNetLite0().network()


def test_registry():
    assert get_backbone(DEFAULT_BACKBONE).name == DEFAULT_BACKBONE
    with pytest.raises(UserError, match=r"backbone must be one of 'embedded:efficientnet_lite0'"):
        get_backbone("efficientnet_lite0")


def test_key_changes_with_the_preprocessing():
    class Other(EfficientNetLite0):
        preprocess = Preprocess((192, 192), 0.875, "bicubic", (0.5,) * 3, (0.5,) * 3)

    assert backbone_key(Other()) != backbone_key(EfficientNetLite0())
