"""A model that regraft trained, as the source of another one.

Its network is built by the zoo that it came from, with the weights of the bundle; of a network
file, the bundle carries a copy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from regraft.backbones.ancestry import ancestors_of
from regraft.backbones.base import Description, FrozenGraph, Origin
from regraft.backbones.checkpoints import load_into, read_checkpoint
from regraft.backbones.convert import save_graph
from regraft.backbones.cuts import Cut, cuts_from_json
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.recorded import recorded_preprocess
from regraft.backbones.spelling import FILE, Overrides, Request
from regraft.backbones.torch_graph import TorchGraph
from regraft.bundle.format import CONFIG, MODEL, NETWORK, NETWORK_WEIGHTS, BundleFiles, open_bundle
from regraft.errors import UserError
from regraft.quiet import import_openvino

_BUILDERS = {"embedded": "timm"}


def builder_of(zoo: str) -> str:
    """Return the zoo that builds an architecture, by the one that the weights came from."""
    return _BUILDERS.get(zoo, zoo)


class BundleZoo:
    """See `regraft.backbones.zoos.Zoo`."""

    def names(self) -> Sequence[str]:
        """None: bundles are named by where they lie."""
        return ()

    def open(self, request: Request, say: Callable[[str], None]) -> FrozenGraph:
        """Build the network of a bundle; see `regraft.backbones.zoos.Zoo.open`."""
        files = open_bundle(request.name)
        source = files.settings.child("backbone")
        preprocess = _preprocess(files, request.overrides)
        if source.text("zoo") == FILE:
            return _network_file(request, files, preprocess)
        return _trainable(request, files, preprocess, say)


def _trainable(
    request: Request, files: BundleFiles, preprocess: Preprocess, say: Callable[[str], None]
) -> TorchGraph:
    """Let the zoo build the architecture, and give it the weights of the bundle."""
    from regraft.backbones.zoos import get_zoo  # that table knows this module

    source = files.settings.child("backbone")
    zoo = builder_of(source.text("zoo"))
    files.verify([MODEL])
    path = files.file(MODEL)
    by_timm = zoo == "timm"  # which also fits weights to another size of pictures
    bare = Request(
        zoo,
        source.text("architecture"),
        checkpoint=path if by_timm else None,
        pretrained=False,
        overrides=Overrides(size=preprocess.size),
    )
    opened = get_zoo(zoo).open(bare, say)
    if not isinstance(opened, TorchGraph):
        raise UserError(f"{files.path}: {bare.spelling} is no network that can take weights")
    if not by_timm:
        head = opened.traced.classifier
        side = [n for n in opened.chain.dropped() if not n.startswith(tuple(head) or "\0")]
        load_into(opened.traced.root, read_checkpoint(path), path=path, head=[*head, *side])
    return replace(
        opened,
        name=request.spelling,
        origin=_origin(files, opened.origin),
        preprocess=preprocess,
        sources=(path, files.path / CONFIG),
    )


@dataclass(frozen=True, slots=True, eq=False)
class CopiedGraph:
    """The copy of a network file that a bundle carries; see `regraft.backbones.base.FrozenGraph`.

    Parameters
    ----------
    description : Description
        What it is.
    graph : Path
        The network without its head, with the cuts of the description as outputs.
    sources : tuple of Path
        The files of the bundle that decide it.
    """

    description: Description
    graph: Path
    sources: tuple[Path, ...]

    def write(self, folder: Path, cuts: Sequence[Cut]) -> None:
        """Write the network with some of its outputs; see `FrozenGraph.write`."""
        openvino = import_openvino()
        model = openvino.Core().read_model(self.graph)
        results = {name: r for r in model.get_results() for name in r.output(0).get_names()}
        wanted = [results[name] for cut in cuts for name in cut.output_names()]
        save_graph(openvino.Model(wanted, model.get_parameters()), folder / "frozen.xml")


def _network_file(request: Request, files: BundleFiles, preprocess: Preprocess) -> CopiedGraph:
    if preprocess.size != _preprocess(files, Overrides()).size:
        raise UserError(f"size cannot be changed for {files.path}, which carries a network file")
    files.verify([NETWORK, NETWORK_WEIGHTS])
    record = files.config["regraft"]["backbone"]
    try:
        cuts = cuts_from_json(record["cuts"])
        parameters, multiply_adds = int(record["parameters"]), record["multiply_adds"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{files.path / CONFIG}: backbone is not usable: {error!r}") from error
    description = Description(
        name=request.spelling,
        origin=_origin(files, None),
        preprocess=preprocess,
        cuts=cuts,
        probes=tuple(cut.name for cut in cuts),
        parameters=parameters,
        multiply_adds=multiply_adds,
        trains=False,
    )
    graph = files.file(NETWORK)
    sources = (graph, files.file(NETWORK_WEIGHTS), files.path / CONFIG)
    return CopiedGraph(description, graph, sources)


def _origin(files: BundleFiles, built: Origin | None) -> Origin:
    settings = files.settings
    source = settings.child("backbone")
    names = [MODEL] if MODEL in files.sums else [NETWORK, NETWORK_WEIGHTS]
    sums = " ".join(files.sums[name] for name in names)
    ancestors, task = ancestors_of(files), source.text("trained_on")
    if ancestors[-1].changed_the_network:
        task = f"{ancestors[-1].task}, before that {task}"
    return Origin(
        zoo=source.text("zoo"),
        architecture=source.text("architecture"),
        weights=f"bundle {files.path.name}",
        weights_sha256=hashlib.sha256(sums.encode()).hexdigest() if len(names) > 1 else sums,
        licence=source.text("licence"),
        trained_on=task,
        timm_classifier=built.timm_classifier if built else None,
        timm_image_size=built.timm_image_size if built else None,
        ancestors=ancestors,
    )


def _preprocess(files: BundleFiles, over: Overrides) -> Preprocess:
    found = recorded_preprocess(files.settings.child("preprocess"), files.path)
    return found.overridden(over)
