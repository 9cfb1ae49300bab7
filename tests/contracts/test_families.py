"""One small network of every family that timm has: all of timm can be opened and cut."""

from __future__ import annotations

import importlib

import pytest

from contracts.contract import (
    cuts_are_named_after_modules,
    stage_by_stage_is_the_whole,
    stages_partition_the_weights,
    tensors_have_the_announced_shapes,
)
from contracts.networks import Network
from contracts.subjects import Subject, fresh_folder, one_thread, opened
from regraft.backbones.zoos import get_zoo

# The one with the least weights times pixels of each of timm's modules.
SMALLEST = (
    "beit_base_patch16_224",
    "cait_xxs24_224",
    "coat_tiny",
    "convit_tiny",
    "convmixer_768_32",
    "cpubone_nano",
    "crossvit_tiny_240",
    "cs3darknet_focus_s",
    "csatv2",
    "cspnext_tiny",
    "davit_tiny",
    "deepseek_vit_412m",
    "deit_tiny_patch16_224",
    "densenet121",
    "dla46x_c",
    "dpn48b",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvim_m1",
    "efficientvit_b0",
    "efficientvit_m0",
    "ese_vovnet19b_slim_dw",
    "eva02_tiny_patch14_224",
    "fasternet_t0",
    "fastvit_t8",
    "focalnet_tiny_srf",
    "gcvit_xxtiny",
    "gemma4_vit_167m",
    "ghostnet_050",
    "gmlp_ti16_224",
    "halonet_h1",
    "hardcorenas_b",
    "hgnetv2_b0",
    "hiera_tiny_224",
    "hieradet_small",
    "hrnet_w18_small",
    "iformer_t",
    "inception_next_atto",
    "inception_resnet_v2",
    "inception_v3",
    "inception_v4",
    "lcnetv2_small",
    "legacy_seresnet18",
    "legacy_xception",
    "levit_128s",
    "lowformer_b0",
    "mobilenetv3_small_050",
    "mobilenetv5_base",
    "mobilevit_xxs",
    "mvitv2_tiny",
    "naflexvit_base_patch16_parfac_gap",
    "nasnetalarge",
    "nest_tiny",
    "nextvit_small",
    "pit_ti_224",
    "pnasnet5large",
    "poolformerv2_s12",
    "pvt_v2_b0",
    "qwen3_vit_88m",
    "rdnet_tiny",
    "regnetx_002",
    "repghostnet_050",
    "repvit_m1",
    "res2next50",
    "resnest14d",
    "resnetv2_18",
    "rexnet_100",
    "samvit_base_patch16_224",
    "selecsls42",
    "sequencer2d_s",
    "shvit_s1",
    "skresnet18",
    "starnet_s050",
    "swiftformer_xs",
    "swin_tiny_patch4_window7_224",
    "swinv2_cr_tiny_224",
    "swinv2_tiny_window16_256",
    "test_byobnet",
    "test_coatnet",
    "test_convnext",
    "test_efficientnet",
    "test_mambaout",
    "test_nfnet",
    "test_resnet",
    "test_vit",
    "test_vit_relpos",
    "tiny_vit_5m_224",
    "tnt_s_legacy_patch16_224",
    "tresnet_m",
    "twins_svt_small",
    "vgg11",
    "visformer_tiny",
    "vit_tiny_r_s16_p8_224",
    "vitamin_small_224",
    "volo_d1_224",
    "xception41p",
    "xcit_nano_12_p8_224",
)
# These cannot be traced, hand on the size of the map as a number beside it, or (EfficientViM) let
# the head read more than two tensors from far back.
FEW = frozenset(
    {
        "coat_tiny",
        "deepseek_vit_412m",
        "efficientvim_m1",
        "gemma4_vit_167m",
        "hiera_tiny_224",
        "mvitv2_tiny",
        "qwen3_vit_88m",
        "tnt_s_legacy_patch16_224",
        "twins_svt_small",
    }
)
_MOST_OF_FEW = 3
# Made for 546 x 546 and 768 x 768 pixels, where these three took 800 of the 1,092 s of all 98.
LARGE = frozenset({"deepseek_vit_412m", "gemma4_vit_167m", "qwen3_vit_88m"})


@pytest.mark.slow
def test_every_family_of_timm_is_listed():
    get_zoo("timm").names()
    modules = importlib.import_module("timm.models._registry")._model_to_module
    assert {modules[name] for name in SMALLEST} == set(modules.values())
    assert (len(SMALLEST), len(FEW)) == (98, 9)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_a_network_of_every_family_can_be_cut(name, tmp_path_factory):
    with one_thread(), fresh_folder(tmp_path_factory) as cache:
        spelling = f"timm:{name}"
        size = (224, 224) if name in LARGE else None
        network, backbone = Network(name, spelling, size=size), opened(spelling, cache, size=size)
        subject = Subject(network, spelling, backbone, cache)
        assert (len(subject.chain.cuts) <= _MOST_OF_FEW) == (name in FEW)
        cuts_are_named_after_modules(subject)
        stages_partition_the_weights(subject)
        stage_by_stage_is_the_whole(subject)
        tensors_have_the_announced_shapes(subject)
