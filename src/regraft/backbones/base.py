"""What a source network is to the rest of regraft.

A network is *described* by plain values (`Description`), which are kept on disk, so that nobody
opens a deep-learning framework to ask what a network is called or where it can be cut. Opened, it
is one of two small types: every source is a `FrozenGraph`, and those of a framework that trains
are a `TrainableGraph` too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from regraft.backbones.ancestry import Ancestor, ancestors_from_json
from regraft.backbones.cuts import Cut, cuts_from_json, cuts_to_json
from regraft.backbones.preprocess import Preprocess
from regraft.errors import UserError

if TYPE_CHECKING:
    from regraft.backbones.chain import Chain


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a network comes from.

    Parameters
    ----------
    zoo, architecture : str
        For example ``"embedded"`` and timm's ``"tf_efficientnet_lite0"``.
    weights : str
        Where the weights come from, for people: a file, a page of a hub, or ``"random, seed 0"``.
    weights_sha256 : str
        Hash of the file that the weights were read from, or of what decides random ones.
    licence : str
        SPDX identifier of the licence of the weights where there is one, ``"unknown"`` else.
    trained_on : str
        The source task.
    timm_classifier : str or None
        Where `architecture` is one of timm's: the module that is its head.
    timm_image_size : tuple of int or None
        Height and width that timm must be told to build the architecture for, where its weights
        depend on them.
    ancestors : tuple of Ancestor
        Of a model that regraft trained: what it descends from, oldest first, and last itself.
    """

    zoo: str
    architecture: str
    weights: str
    weights_sha256: str
    licence: str
    trained_on: str
    timm_classifier: str | None = None
    timm_image_size: tuple[int, int] | None = None
    ancestors: tuple[Ancestor, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a network without opening it.

    Parameters
    ----------
    name : str
        How the user spells it, in full: ``"timm:resnet50.a1_in1k"``.
    origin : Origin
        Zoo, architecture, weights and licence.
    preprocess : Preprocess
        The matching preprocessing.
    cuts : tuple of Cut
        Every cut, from input to head.
    probes : tuple of str
        Names of the few cuts (at most twelve) that are worth probing, from input to head; the
        last one, averaged over space, is what the network's own head reads.
    parameters : int
        Number of weights, head included.
    multiply_adds : int or None
        Multiplications with additions for one picture; None where nobody counted.
    trains : bool
        Whether the source also gives a network that can be trained.
    """

    name: str
    origin: Origin
    preprocess: Preprocess
    cuts: tuple[Cut, ...]
    probes: tuple[str, ...]
    parameters: int
    multiply_adds: int | None
    trains: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **{key: getattr(self, key) for key in ("name", "parameters", "multiply_adds")},
            "origin": asdict(self.origin),
            "preprocess": self.preprocess.to_dict(),
            "cuts": cuts_to_json(self.cuts),
            "probes": list(self.probes),
            "trains": self.trains,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Description:
        """Read back what `to_json` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing or of another type.
        """
        return cls(
            name=values["name"],
            origin=_origin_from_json(values["origin"]),
            preprocess=Preprocess.from_dict(values["preprocess"]),
            cuts=cuts_from_json(values["cuts"]),
            probes=tuple(values["probes"]),
            parameters=int(values["parameters"]),
            multiply_adds=values["multiply_adds"],
            trains=bool(values["trains"]),
        )


def _origin_from_json(values: Mapping[str, Any]) -> Origin:
    size = values.get("timm_image_size")
    return Origin(
        **{
            **values,
            "timm_image_size": (int(size[0]), int(size[1])) if size else None,
            "ancestors": ancestors_from_json(values.get("ancestors", ())),
        }
    )


class FrozenGraph(Protocol):
    """An opened network, of any source: it runs, and stays as it is."""

    @property
    def description(self) -> Description:
        """What it is."""

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files that decide it: while they stay the same, so does the description."""

    def write(self, folder: Path, cuts: Sequence[Cut]) -> None:
        """Write the network without its head into an empty folder.

        ``frozen.xml`` and ``frozen.bin`` hold an OpenVINO graph from one NCHW float32 input
        (already normalised, in the network's own order of channels) to one output for each
        tensor of each cut, in order, named as `Cut.output_names` says. Sources that train also
        write ``backbone.safetensors``: the weights in the names of the source.
        """


@runtime_checkable
class TrainableGraph(FrozenGraph, Protocol):
    """An opened network of a source that trains."""

    @property
    def chain(self) -> Chain:
        """The network in PyTorch, in stages."""

    def copied(self) -> TrainableGraph:
        """Return the same network with weights of its own, which may be trained."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A described network, and the way to open it.

    Parameters
    ----------
    description : Description
        What it is.
    opener : callable
        Opens it; costs seconds the first time and nothing later.
    """

    description: Description
    opener: Callable[[], FrozenGraph] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """How the user spells it, zoo first."""
        return self.description.name

    @property
    def origin(self) -> Origin:
        """Zoo, architecture, weights and licence."""
        return self.description.origin

    @property
    def preprocess(self) -> Preprocess:
        """The matching preprocessing."""
        return self.description.preprocess

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Every cut, from input to head."""
        return self.description.cuts

    @property
    def probes(self) -> tuple[Cut, ...]:
        """The few cuts that are worth probing."""
        named = {cut.name: cut for cut in self.cuts}
        return tuple(named[name] for name in self.description.probes)

    def write(self, folder: Path, cuts: Sequence[Cut]) -> None:
        """Write the network without its head; see `FrozenGraph.write`."""
        self.opener().write(folder, cuts)

    def chain(self) -> Chain:
        """Open the network in PyTorch, in stages.

        Raises
        ------
        UserError
            If the source only runs.
        """
        return self.trainable().chain

    def trainable(self) -> TrainableGraph:
        """Open the network, to be trained; see `chain`."""
        opened = self.opener()
        if not isinstance(opened, TrainableGraph):
            raise UserError(
                f"{self.name} only runs frozen: a network file holds no PyTorch network; what "
                "can train is the same architecture from embedded:, timm:, torchvision: or keras:, "
                "with weights of its own after an @"
            )
        return opened


def backbone_key(backbone: Backbone, cuts: Sequence[Cut]) -> str:
    """Name everything that decides what a backbone computes at some cuts, as a hex SHA-256."""
    origin = backbone.origin
    parts = {
        "weights": [origin.zoo, origin.architecture, origin.weights_sha256],
        "preprocess": backbone.preprocess.to_dict(),
        "cuts": cuts_to_json(cuts),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
