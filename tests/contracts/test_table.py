"""The table of networks: nothing of the literature is missing, and all of it is tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from contracts.contract import CHECKS
from contracts.networks import NETWORKS
from regraft.backbones.zoos import CATALOGUES, get_zoo

LITERATURE = """
AlexNet
GoogLeNet
VGG-16
VGG-19
ResNet-50
ResNet-101
ResNet-152
ResNet-50 V2
ResNet-101 V2
ResNet-152 V2
Inception v3
Inception v4
Inception-ResNet v2
Xception
MobileNet v1
MobileNet v2
MobileNet trunk of an SSD detector
DenseNet-121
DenseNet-169
DenseNet-201
NASNet-Large
NASNet-Mobile
EfficientNet B0
EfficientNet B1
EfficientNet B2
EfficientNet B3
EfficientNet B4
EfficientNet B5
EfficientNet B6
EfficientNet B7
ConvNeXt
ViT, tiny
DINOv2
MobileNetV4
EfficientNetV2
EfficientNet-Lite0
EfficientNet-Lite1
EfficientNet-Lite2
""".strip().splitlines()

SPELLINGS = [spelling for n in NETWORKS for spelling in (n.spelling, *n.alternatives)]


def test_every_network_of_the_literature_is_in_the_table_once():
    names = [network.literature for network in NETWORKS]
    assert len(set(names)) == len(names)
    assert set(LITERATURE) <= set(names)
    assert len(set(SPELLINGS)) == len(SPELLINGS)


def test_every_zoo_knows_its_networks():
    known = {f"{zoo}:{name}" for zoo in CATALOGUES for name in get_zoo(zoo).names()}
    assert set(SPELLINGS) <= known
    assert {spelling.partition(":")[0] for spelling in SPELLINGS} == set(CATALOGUES)


def test_the_contract_covers_the_whole_table():
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-m", "slow or not slow", str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    collected = [line for line in done.stdout.splitlines() if "::test_contract[" in line]
    expected = {f"[{s}-{check.__name__}]" for s in SPELLINGS for check in CHECKS}
    assert {line[line.index("[") :] for line in collected} == expected
    assert len(collected) == len(SPELLINGS) * len(CHECKS)
    assert (len(NETWORKS), len(SPELLINGS)) == (44, 96)
