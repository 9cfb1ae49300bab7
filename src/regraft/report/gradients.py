"""Where a network looked, where its head reads what has no place: Grad-CAM, through captum.

The class token of a transformer is the last word on the picture and stands nowhere in it. How much
the score would change with the tokens that lead to it tells where it came from (R. Selvaraju et
al., ICCV 2017). Unlike `regraft.report.evidence` it is an approximation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from regraft.backbones.base import Backbone
from regraft.backbones.cuts import Cut
from regraft.errors import MissingExtraError
from regraft.heads.linear import LinearHead
from regraft.strategy import Tap

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]


def sources_of(backbone: Backbone, taps: Sequence[Tap]) -> tuple[Cut, ...]:
    """Return the maps before everything that the head reads, the deepest first."""
    names = [cut.name for cut in backbone.cuts]
    first = min(names.index(tap.cut) for tap in taps)
    before = [
        cut
        for cut in backbone.cuts[:first]
        if len(cut.tensors) == 1 and cut.tensors[0].grid and cut.tensors[0].places > 1
    ]
    return tuple(reversed(before))


def grad_cam(
    backbone: Backbone,
    head: LinearHead,
    taps: Sequence[Tap],
    sources: Sequence[Cut],
    pixels: NDArray[np.uint8],
    columns: NDArray[np.intp],
) -> list[Array]:
    """Explain the scores of one class each.

    At the deepest of the maps on which the scores depend: after its last block a transformer reads
    its class token alone, and the other tokens have no say any more.

    Parameters
    ----------
    backbone : Backbone
        The network; it has to be one of PyTorch.
    head : LinearHead
        What reads it.
    taps : sequence of Tap
        What the head reads.
    sources : sequence of Cut
        Where the maps may be taken; see `sources_of`.
    pixels : ndarray of shape (n, H, W, 3), uint8
        Prepared pictures.
    columns : ndarray of shape (n,), int
        The class of each that is explained.

    Returns
    -------
    list of ndarray of shape (h, w), float64
        At least 0; larger where it speaks for the class. Empty where the scores depend on no map.

    Raises
    ------
    MissingExtraError
        If captum is not installed.
    """
    try:
        import captum.attr  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "captum is needed to show where this network looked: pip install 'regraft[report]'"
        ) from error
    for source in sources:
        found = _attributed(backbone, _explained(backbone, head, taps, source), pixels, columns)
        if any(shown.any() for shown in found):
            return [np.maximum(shown, 0) for shown in found]
    return []


def _attributed(
    backbone: Backbone, network: Any, pixels: NDArray[np.uint8], columns: NDArray[np.intp]
) -> list[Array]:
    import torch
    from captum.attr import LayerGradCam

    from regraft.train.network import Reader

    prepare = Reader((), backbone.preprocess)
    explain = LayerGradCam(network, network.maps)
    found = []
    for picture, column in zip(pixels, columns, strict=True):
        (prepared,) = prepare.tensors(picture.reshape(1, -1))
        with torch.enable_grad():
            asked = prepared.detach().requires_grad_(True)
            shown = explain.attribute(asked, int(column))
        found.append(shown[0, 0].detach().double().numpy())
    return found


def _explained(backbone: Backbone, head: LinearHead, taps: Sequence[Tap], source: Cut) -> Any:
    """From pixels to scores, with the tokens of a cut laid out as a map on the way."""
    import torch

    from regraft.backbones.pooling import Pool

    chain = backbone.chain()
    named = {cut.name: cut for cut in backbone.cuts}
    reads = tuple(dict.fromkeys(tap.cut for tap in taps))
    spec = source.tensors[0]
    height, width = spec.grid or (1, 1)

    class Explained(torch.nn.Module):
        """The network and its head."""

        def __init__(self) -> None:
            super().__init__()
            self.before = chain.prefix(source.name).eval()
            self.maps = torch.nn.Identity()
            self.after = chain.between(source.name, *reads).eval()
            self.pools = torch.nn.ModuleList(Pool(named[tap.cut], tap.pooling) for tap in taps)
            self.head = torch.nn.Linear(head.weight.shape[1], len(head.bias))
            self.head.load_state_dict(
                {"weight": torch.from_numpy(head.weight), "bias": torch.from_numpy(head.bias)}
            )

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            (tokens,) = self.before(pixels)
            flat = self.after(self._through_map(tokens))
            found, start = {}, 0
            for name in reads:
                count = len(named[name].tensors)
                found[name] = flat[start : start + count]
                start += count
            pooled = [pool(found[tap.cut]) for pool, tap in zip(self.pools, taps, strict=True)]
            scores: torch.Tensor = self.head(torch.cat(pooled, dim=1))
            return scores

        def _through_map(self, tokens: torch.Tensor) -> torch.Tensor:
            if spec.layout == "NCHW":
                found: torch.Tensor = self.maps(tokens)
                return found
            if spec.layout == "NHWC":
                shown: torch.Tensor = self.maps(tokens.movedim(-1, 1))
                return shown.movedim(1, -1)
            first, rest = tokens[:, : spec.prefix], tokens[:, spec.prefix :]
            shaped = rest.transpose(1, 2).reshape(len(rest), -1, height, width)
            again = self.maps(shaped).flatten(2).transpose(1, 2)
            return torch.cat([first, again], dim=1)

    return Explained().requires_grad_(False)
