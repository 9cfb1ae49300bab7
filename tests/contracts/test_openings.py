"""Opening networks: their layouts, their random weights, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.networks import NETWORKS, Network
from contracts.subjects import noise, one_thread, opened
from contracts.training import Partly, digest, take_step
from regraft.backbones.cuts import TensorSpec

FAST_TIMM = [n for n in NETWORKS if n.spelling.startswith("timm:") and not n.slow]
WITHOUT_FEATURE_INFO = {"timm:twins_svt_small"}
FILES = Path(__file__).parents[1] / "networks"


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize(
    ("spelling", "size", "cut", "tensors"),
    [
        ("timm:resnet18", None, "layer3", [TensorSpec("NCHW", (256, 14, 14))]),
        ("timm:resnet18", (96, 160), "layer3", [TensorSpec("NCHW", (256, 6, 10))]),
        # as many channels as rows and columns
        ("timm:resnet18", (256, 256), "layer1", [TensorSpec("NCHW", (64, 64, 64))]),
        (
            "timm:swin_tiny_patch4_window7_224",
            None,
            "layers.1",
            [TensorSpec("NHWC", (28, 28, 192))],
        ),
        ("torchvision:swin_t", None, "features.3", [TensorSpec("NHWC", (28, 28, 192))]),
        ("torchvision:swin_t", (97, 131), "features.3", [TensorSpec("NHWC", (12, 16, 192))]),
        ("timm:vit_tiny_patch16_224", None, "patch_embed", [TensorSpec("NLC", (196, 192))]),
        ("timm:vit_tiny_patch16_224", None, "blocks.5", [TensorSpec("NLC", (197, 192), 1)]),
        ("timm:vit_tiny_patch16_224", (160, 192), "blocks.5", [TensorSpec("NLC", (121, 192), 1)]),
        (
            "timm:vit_small_patch14_reg4_dinov2",
            (224, 224),
            "blocks.5",
            [TensorSpec("NLC", (261, 384), 5)],
        ),
        (
            "timm:deit_tiny_distilled_patch16_224",
            None,
            "pre_logits",
            [TensorSpec("NC", (192,)), TensorSpec("NC", (192,))],
        ),
        (
            "keras:NASNetMobile",
            None,
            "normal_concat_5",
            [TensorSpec("NCHW", (528, 14, 14)), TensorSpec("NCHW", (352, 14, 14))],
        ),
        ("keras:ResNet50V2", None, "conv4_block5_out", [TensorSpec("NCHW", (1024, 14, 14))]),
    ],
)
def test_layouts_that_are_known(spelling, size, cut, tensors, tmp_path):
    cuts = {c.name: c for c in opened(spelling, tmp_path, size=size).cuts}
    assert cuts[cut].tensors == tuple(tensors)


@pytest.mark.parametrize("network", FAST_TIMM, ids=lambda network: network.spelling)
def test_channels_and_grids_are_those_that_timm_knows(network: Network, tmp_path):
    backbone = opened(network.spelling, tmp_path, size=network.size)
    cuts = {cut.name: cut for cut in backbone.cuts}
    height = backbone.preprocess.size[0]
    seen = 0
    for known in getattr(backbone.opener().traced.root, "feature_info", []):
        if known["module"] in cuts:
            spec = cuts[known["module"]].tensors[0]
            assert spec.channels == known["num_chs"]
            # Inception and Xception leave borders out, and lose a place
            assert abs(spec.grid[0] - height / known["reduction"]) < 3
            seen += 1
    assert bool(seen) == (network.spelling not in WITHOUT_FEATURE_INFO)


def test_without_freezing_a_step_moves_weights_and_statistics(tmp_path):
    """What the contract's check of frozen parts would find."""
    chain = opened("timm:resnet18", tmp_path, size=(64, 64)).chain()
    model = Partly(chain, chain.cuts[4], frozen=False).train()
    buffers = [buffer.clone() for buffer in model.start.buffers()]
    before, x = digest(model.start), noise(4, (64, 64))
    take_step(model, x)
    assert digest(model.start) != before
    moved = [not torch.equal(*pair) for pair in zip(buffers, model.start.buffers(), strict=True)]
    assert all(moved)


def test_batch_normalisation_without_gradients_still_moves_unless_frozen(tmp_path):
    """Freezing the weights alone is not enough."""
    chain = opened("timm:resnet18", tmp_path, size=(64, 64)).chain()
    model = Partly(chain, chain.cuts[4], frozen=False).train()
    model.start.requires_grad_(False)
    before = digest(model.start)
    take_step(model, noise(4, (64, 64)))
    assert digest(model.start) != before


def test_dropout_in_a_frozen_part_is_off(tmp_path):
    chain = opened("torchvision:alexnet", tmp_path, size=(96, 96)).chain()
    x, last = noise(2, (96, 96)), chain.cuts[-1]
    frozen = Partly(chain, last, frozen=True).train()
    assert torch.equal(frozen.start(x)[0], frozen.start(x)[0])
    loose = Partly(chain, last, frozen=False).train()
    assert not torch.equal(loose.start(x)[0], loose.start(x)[0])


@pytest.mark.parametrize(
    "spelling",
    [
        "embedded:efficientnet_lite0",
        "keras:MobileNet",
        "timm:mobilenetv4_conv_small",
        "torchvision:squeezenet1_1",
    ],
)
def test_the_seed_decides_the_random_weights(spelling, tmp_path):
    def weights(seed: int) -> tuple[str, str]:
        torch.manual_seed(np.random.SeedSequence().entropy % 2**32)
        backbone = opened(spelling, tmp_path, seed=seed, size=(64, 64))
        return digest(backbone.opener().traced.root), backbone.origin.weights_sha256

    assert weights(0) == weights(0)
    assert weights(0)[0] != weights(1)[0]
    assert weights(0)[1] != weights(1)[1]


def test_opening_a_network_leaves_the_random_numbers_of_the_program_alone(tmp_path):
    torch.manual_seed(3)
    expected = torch.rand(2)
    for spelling in ("timm:mobilenetv4_conv_small", "keras:MobileNet", "torchvision:squeezenet1_1"):
        torch.manual_seed(3)
        opened(spelling, tmp_path, size=(64, 64))
        assert torch.equal(torch.rand(2), expected), spelling


@pytest.mark.parametrize(
    ("spelling", "foreign"),
    [
        ("embedded:efficientnet_lite0", {"keras", "tensorflow"}),
        ("timm:mobilenetv4_conv_small", {"keras", "tensorflow"}),
        ("torchvision:squeezenet1_1", {"timm", "keras", "tensorflow"}),
        ("keras:MobileNet", {"timm", "torchvision", "tensorflow"}),
        (f"file:{FILES / 'stated.onnx'}", {"torch", "timm", "torchvision", "keras", "tensorflow"}),
    ],
)
def test_opening_a_network_imports_its_own_zoo_only(spelling, foreign, tmp_path):
    code = f"""
        import sys
        from pathlib import Path
        from regraft.backbones.registry import get_backbone
        spelling = {spelling!r}
        get_backbone(spelling, Path({str(tmp_path)!r}), pretrained=spelling.startswith("file:"))
        print(" ".join({{name.partition(".")[0] for name in sys.modules}}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "regraft" in loaded
    assert not loaded & foreign
