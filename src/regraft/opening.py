"""From the settings of a fit to the opened description of its network."""

from __future__ import annotations

from pathlib import Path

from regraft.backbones.base import Backbone
from regraft.backbones.registry import get_backbone
from regraft.options import FitOptions
from regraft.progress import Progress, Silent


def open_backbone(options: FitOptions, cache: Path, progress: Progress | None = None) -> Backbone:
    """Return the network that the settings name; see `regraft.backbones.registry.get_backbone`.

    Parameters
    ----------
    options : FitOptions
        Its name, whether its weights are wanted, and what is to be changed.
    cache : Path
        Where descriptions are kept.
    progress : Progress, optional
        Hears of its licence, and of downloads.
    """
    return get_backbone(
        options.backbone,
        cache,
        pretrained=options.pretrained,
        seed=options.seed,
        overrides=options.overrides,
        say=(progress or Silent()).say,
    )
