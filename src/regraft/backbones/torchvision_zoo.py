"""Networks of torchvision, with its weights, those of a file, or random ones.

Source: https://docs.pytorch.org/vision/stable/models.html.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.backbones.base import Origin
from regraft.backbones.blocks import trace_blocks
from regraft.backbones.checkpoints import load_into, read_checkpoint
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.spelling import Request
from regraft.backbones.torch_graph import TorchGraph
from regraft.backbones.torchvision_shim import declare_missing_operators
from regraft.backbones.weights import sha256_of, url_file
from regraft.errors import UserError

if TYPE_CHECKING:
    import torch

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CLOSEST = 8

# Detectors whose trunk is a classifier's, and how they prepare pictures.
_DETECTORS: Mapping[str, Preprocess] = {
    "ssdlite320_mobilenet_v3_large": Preprocess(
        (320, 320), None, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    ),
}
# Networks ported from TensorFlow: what torchvision's builders set when they load the weights.
# (Their own initialisation takes many seconds; PyTorch's serves random weights as well.)
_PORTED: Mapping[str, Mapping[str, bool]] = {
    name: {"transform_input": True, "init_weights": False} for name in ("googlenet", "inception_v3")
}
_TOKENS = ("vit_",)


class TorchvisionZoo:
    """See `regraft.backbones.zoos.Zoo`."""

    def names(self) -> Sequence[str]:
        """Every classifier, and the detectors whose trunk can be used."""
        models = _import_models()
        return sorted([*models.list_models(module=models), *_DETECTORS])

    def open(self, request: Request, say: Callable[[str], None]) -> TorchGraph:
        """Build a network; see `regraft.backbones.zoos.Zoo.open`."""
        models = _import_models()
        name, colon, asked = request.name.partition(":")
        if colon and not asked:
            raise UserError(f"torchvision:{name}: must be followed by weights, or lose its colon")
        if name not in self.names():
            close = difflib.get_close_matches(name.lower(), self.names(), _CLOSEST, 0.4)
            raise UserError(
                f"torchvision: must be followed by the name of one of its networks, got {name!r}; "
                "see `regraft backbones torchvision:`",
                [f"torchvision:{other}" for other in close],
            )
        chosen = _weights(models, name, asked)
        whole = _random_network(models, name, request.seed)
        known = request.pretrained and request.checkpoint is None
        sources: tuple[Path, ...] = ()
        if known:
            path = url_file(chosen.url, spelling=request.spelling, say=say)
            weights = f"torchvision's {chosen}"
        elif request.checkpoint is not None:
            path = request.checkpoint
            weights = path.name
        head = _head(whole) if name not in _DETECTORS else ()
        if known or request.checkpoint is not None:
            load_into(whole, read_checkpoint(path), path=path, head=() if known else head)
            sources, digest = (path,), sha256_of(path)
        else:
            import torchvision

            weights = f"random, seed {request.seed}"
            text = f"torchvision {torchvision.__version__} {name} {weights}"
            digest = hashlib.sha256(text.encode()).hexdigest()
        trunk = _trunk(whole) if name in _DETECTORS else whole
        return TorchGraph(
            traced=trace_blocks(
                trunk.requires_grad_(False).eval(),
                classifier=head,
                prefix=int(name.startswith(_TOKENS)),
            ),
            name=f"torchvision:{name}:{chosen.name}" if known else request.spelling,
            origin=Origin(
                zoo="torchvision",
                architecture=name,
                weights=weights,
                weights_sha256=digest,
                licence=_licence(chosen) if known else "unknown",
                trained_on=_task(name, known, request),
            ),
            preprocess=_preprocess(name, chosen, request),
            sources=sources,
        )


def _import_models() -> Any:
    declare_missing_operators()
    import torchvision.models

    return torchvision.models


def _weights(models: Any, name: str, asked: str) -> Any:
    """Return the member of torchvision's enumeration of weights."""
    legal = models.get_model_weights(name)
    if asked and asked not in legal.__members__:
        raise UserError(
            f"the weights of torchvision:{name} must be one of those listed, got {asked!r}",
            [f"torchvision:{name}:{member}" for member in legal.__members__],
        )
    return legal[asked] if asked else legal["DEFAULT"]


def _random_network(models: Any, name: str, seed: int) -> Any:
    import torch

    options: dict[str, Any] = dict(_PORTED.get(name, {}))
    if name in _DETECTORS:
        options["weights_backbone"] = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.get_model(name, weights=None, **options)


def _trunk(detector: Any) -> torch.nn.Module:
    """Take the part of a detector that was a classifier's."""
    import torch

    return torch.nn.Sequential(OrderedDict(features=detector.backbone.features))


def _head(network: torch.nn.Module) -> tuple[str, ...]:
    """Return the path of the last layer that scores classes, the side branches' apart."""
    import torch

    layers = [
        path
        for path, module in network.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and not path.startswith("aux")
        if not path.startswith("AuxLogits")
    ]
    return (layers[-1],)


def _preprocess(name: str, weights: Any, request: Request) -> Preprocess:
    if name in _DETECTORS:
        return _DETECTORS[name].overridden(request.overrides)
    preset = weights.transforms()
    (crop,), (resize,) = preset.crop_size, preset.resize_size
    known = Preprocess(
        size=(crop, crop),
        crop_pct=crop / resize,
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
    return known.overridden(request.overrides)


def _licence(weights: Any) -> str:
    """Return the licence: torchvision's own, but for weights that it took over from SWAG."""
    return "cc-by-nc-4.0" if "SWAG" in weights.name else "bsd-3-clause"


def _task(name: str, known: bool, request: Request) -> str:
    if not known:
        return "unknown (a file of yours)" if request.checkpoint else "nothing (random weights)"
    return "COCO, as the trunk of a detector" if name in _DETECTORS else "ImageNet-1k"
