"""Pictures of other sizes and colours, and networks built for other sizes of picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from contracts.contract import (
    stage_by_stage_is_the_whole,
    tensors_have_the_announced_shapes,
    the_engine_agrees_with_pytorch,
)
from contracts.networks import Network
from contracts.subjects import Subject, one_thread, opened
from pictures import texture
from regraft.data.images import to_rgb
from regraft.errors import UserError


@pytest.fixture(autouse=True)
def _one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize(
    ("spelling", "size"),
    [
        ("timm:resnet18", (97, 131)),
        ("timm:efficientnet_b0", (160, 160)),
        ("timm:densenet121", (131, 97)),
        ("timm:vit_tiny_patch16_224", (160, 192)),
        ("timm:swin_tiny_patch4_window7_224", (97, 131)),
        pytest.param("timm:convnext_tiny", (97, 131), marks=pytest.mark.slow),
        ("torchvision:squeezenet1_1", (97, 131)),
        pytest.param("torchvision:swin_t", (97, 131), marks=pytest.mark.slow),
        pytest.param("torchvision:inception_v3", (97, 131), marks=pytest.mark.slow),
        ("torchvision:ssdlite320_mobilenet_v3_large", (97, 131)),
        pytest.param("keras:NASNetMobile", (97, 131), marks=pytest.mark.slow),
        ("keras:MobileNet", (97, 131)),
        ("embedded:efficientnet_lite0", (160, 160)),
    ],
)
def test_other_sizes_work_to_the_end(spelling, size, tmp_path):
    backbone = opened(spelling, tmp_path, size=size)
    assert backbone.preprocess.size == size
    subject = Subject(Network(spelling, spelling, size=size), spelling, backbone, tmp_path)
    stage_by_stage_is_the_whole(subject)
    tensors_have_the_announced_shapes(subject)
    the_engine_agrees_with_pytorch(subject)


@pytest.mark.parametrize(
    ("spelling", "size"),
    [
        ("torchvision:vit_b_16", (160, 160)),  # torchvision builds it for one size
        ("torchvision:maxvit_t", (160, 160)),
        ("torchvision:alexnet", (32, 32)),  # nothing is left after the last pooling
        ("timm:inception_v4", (32, 32)),
        ("timm:vit_tiny_patch16_224", (5, 5)),  # smaller than a patch
        ("timm:twins_svt_small", (97, 131)),  # must be a multiple of the patch
        ("timm:levit_128s", (97, 131)),
        ("keras:InceptionV3", (32, 32)),
    ],
)
def test_sizes_that_a_network_cannot_take_are_errors_of_the_user(spelling, size, tmp_path):
    with pytest.raises(UserError, match=rf"^size must .*{spelling}.* got {size[0]}x{size[1]}"):
        opened(spelling, tmp_path, size=size)


@pytest.mark.parametrize("spelling", ["timm:resnet18", "torchvision:squeezenet1_1"])
def test_pictures_of_every_size_and_colour_are_prepared_alike(spelling, tmp_path):
    backbone = opened(spelling, tmp_path, size=(64, 96))
    chain, preprocess = backbone.chain(), backbone.preprocess
    for height, width in ((300, 20), (7, 500), (1, 1), (64, 96)):
        grey = texture("grey", 0, size=500)[:height, :width, 0]
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "PNG")
        prepared = [
            preprocess.rgb(to_rgb(grey)),
            preprocess.rgb(to_rgb(grey[:, :, None])),
            preprocess.rgb(to_rgb(Image.fromarray(grey))),
            preprocess.encoded(file.getvalue()),
        ]
        for pixels in prepared:
            assert pixels.shape == (64, 96, 3)
            assert pixels.dtype == np.uint8
            assert np.array_equal(pixels, prepared[0])
        assert np.array_equal(prepared[0][..., 0], prepared[0][..., 2])
        with torch.no_grad():
            scores = chain.network(torch.from_numpy(preprocess.normalised(np.stack(prepared))))
        assert scores.isfinite().all()
