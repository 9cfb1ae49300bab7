"""From the settings of a fit to the opened description of its network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from regraft.backbones.base import Backbone
from regraft.backbones.cuts import Cut
from regraft.backbones.registry import get_backbone
from regraft.errors import UserError
from regraft.frozen.plan import PassPlan, default_plan
from regraft.options import FitOptions, Overrides
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
        pretrained=options.pretrained and options.strategy != "scratch",
        seed=options.seed,
        overrides=options.overrides,
        say=(progress or Silent()).say,
    )


def open_untrained(options: FitOptions, backbone: Backbone, cache: Path) -> Backbone:
    """Return the architecture of a network with random weights.

    Parameters
    ----------
    options : FitOptions
        Name the network, perhaps with the weights of a file, or a model that regraft trained.
    backbone : Backbone
        The network, of which the architecture and the preprocessing are taken.
    cache : Path
        Where descriptions are kept.
    """
    from regraft.backbones.bundle_source import builder_of  # which imports torch

    origin, name = backbone.origin, options.backbone.partition("@")[0]
    if origin.ancestors:
        name = f"{builder_of(origin.zoo)}:{origin.architecture}"
    found = get_backbone(
        name,
        cache,
        pretrained=False,
        seed=options.seed,
        overrides=Overrides(size=backbone.preprocess.size),
    )
    alike = replace(found.description, preprocess=backbone.preprocess)
    return replace(found, description=alike)


def probes_up_to(backbone: Backbone, depth: str | None) -> tuple[Cut, ...]:
    """Return the cuts that a head may read: those worth probing, up to and with a depth.

    Raises
    ------
    UserError
        If the network has no such cut.
    """
    if depth is None:
        return backbone.probes
    names = [cut.name for cut in backbone.cuts]
    if depth not in names:
        raise UserError(
            f"depth must be a cut of {backbone.name}, got {depth!r}; see `regraft backbones show "
            f"{backbone.name}`",
            [cut.name for cut in backbone.probes],
        )
    wanted = {cut.name for cut in backbone.probes} | {depth}
    return tuple(cut for cut in backbone.cuts[: names.index(depth) + 1] if cut.name in wanted)


def plan_up_to(backbone: Backbone, depth: str | None) -> PassPlan:
    """Take what a head may read up to and with a depth, and what tells copies apart.

    That is of the whole network however much of it is kept: which pictures show the same, and so
    which are tested, does not depend on the depth.

    Raises
    ------
    UserError
        If the network has no such cut.
    """
    whole, own = default_plan(backbone.probes), default_plan(probes_up_to(backbone, depth))
    judge = whole.cut_of(whole.late)
    beyond = () if judge.cut in [plan.cut for plan in own.cuts] else (judge,)
    return PassPlan((*own.cuts, *beyond), len(own.cuts), whole.late)
