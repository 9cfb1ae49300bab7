"""The part of a network that trains, in PyTorch: from the rows at a boundary to scores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from regraft.backbones.base import Backbone, TrainableGraph
from regraft.backbones.cuts import Cut, TensorSpec
from regraft.backbones.pooling import Pool
from regraft.backbones.preprocess import Preprocess
from regraft.errors import UserError
from regraft.frozen.rows import Rows, decoded
from regraft.heads.linear import LinearHead
from regraft.strategy import Phase, Tap
from regraft.train.lora import PREFIX, add_adapters, merge_adapters
from regraft.train.reading import Reading, plain_reading

# Normalisations that keep statistics of the pictures that they have seen.
_WITH_STATISTICS = torch.nn.modules.batchnorm._NormBase
_NORMS = (
    _WITH_STATISTICS,
    torch.nn.LayerNorm,
    torch.nn.GroupNorm,
    torch.nn.RMSNorm,
)
# Their backward pass in PyTorch 2.13 reads out of bounds where a channels-last input needs no
# gradient, which is what a frozen part hands over.
_ROWS_FIRST = torch.nn.GroupNorm


def boundary_before(backbone: Backbone, train_from: str | None) -> Cut | None:
    """Return the last cut before the module that trains first; None where all trains.

    A module trains as a whole: where it can be cut inside (``blocks.5.0``, ``blocks.5.1`` and so
    on of ``blocks.5``), the boundary lies before the first of its parts.

    Raises
    ------
    UserError
        If there is no such cut, or it lies behind what the head reads.
    """
    if train_from is None:
        return None
    names = [cut.name for cut in backbone.cuts]
    last = names.index(backbone.probes[-1].name)
    if train_from not in names[: last + 1]:
        raise UserError(
            f"train_from must be a cut of {backbone.name}, got {train_from!r}; see "
            f"`regraft backbones show {backbone.name}`",
            [cut.name for cut in backbone.probes],
        )
    inside = f"{train_from}."
    place = next(n for n, name in enumerate(names) if name == train_from or name.startswith(inside))
    return backbone.cuts[place - 1] if place else None


class Trainee:
    """A network with a new head and weights of its own.

    Parameters
    ----------
    backbone : Backbone
        The source network; it stays as it is.
    head : LinearHead
        Where the head begins.
    device : str
        Where it is trained, in PyTorch's name.
    reading : Reading, optional
        What the head reads, none of it before the layers that train; the average of the last cut
        worth probing where nothing is said.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: LinearHead,
        device: str = "cpu",
        reading: Reading | None = None,
    ) -> None:
        self.backbone = backbone
        self.device = device
        self.graph: TrainableGraph = backbone.trainable().copied()
        last = backbone.probes[-1]
        self.reading = reading or plain_reading((Tap(last.name),), last.width("avg"))
        wanted = {tap.cut for tap in self.reading.taps}
        self.cuts = tuple(cut for cut in backbone.cuts if cut.name in wanted)
        self.head = Head(head, self.reading)
        self.move(device)

    def move(self, device: str) -> None:
        """Move all weights."""
        self.graph.chain.move(device)
        self.head.to(device)

    def part(self, phase: Phase) -> Part:
        """Return what trains in a phase; it shares its weights with the whole.

        Raises
        ------
        UserError
            If adapters are to train and there are no layers for them.
        MissingExtraError
            If they are to train and `peft` is not installed.
        """
        boundary = boundary_before(self.backbone, phase.train_from)
        chain = self.graph.chain
        trunk = self._trunk(boundary)
        if phase.what == "lora":
            add_adapters(chain.root, trunk, phase.rank)
            trunk = self._trunk(boundary)
        last = self.cuts[-1].name
        stages = chain.stages[: [stage.name for stage in chain.stages].index(last) + 1]
        depth_of = {
            id(parameter): depth / len(stages)
            for depth, stage in enumerate(reversed(stages), 1)
            for parameter in stage.module.parameters()
        }
        reader = Reader(boundary.tensors if boundary else (), self.backbone.preprocess)
        pools = Pools(self.cuts, self.reading.taps)
        return Part(trunk, pools, self.head, reader, phase, depth_of)

    def _trunk(self, boundary: Cut | None) -> torch.nn.Module:
        chain, names = self.graph.chain, [cut.name for cut in self.cuts]
        return chain.trunk(names) if boundary is None else chain.between(boundary.name, *names)

    def finish(self, temperature: float) -> None:
        """Make an ordinary network of it: on the processor, without adapters or gradients.

        Parameters
        ----------
        temperature : float
            Divides the scores: weights and bias of the head.
        """
        with torch.no_grad():
            self.head.weight.div_(temperature)
            self.head.bias.div_(temperature)
        root = self.graph.chain.root
        merge_adapters(root)
        self.move("cpu")
        for module in (root, self.head):
            module.requires_grad_(False).eval()
            for tensor in (*module.parameters(), *module.buffers()):
                tensor.data = tensor.data.contiguous()


class Head(torch.nn.Linear):
    """A linear layer on scaled features.

    Parameters
    ----------
    head : LinearHead
        Where it begins.
    reading : Reading
        How features are scaled.
    """

    centre: torch.Tensor
    factor: torch.Tensor

    def __init__(self, head: LinearHead, reading: Reading) -> None:
        n_classes, width = head.weight.shape
        super().__init__(width, n_classes)
        self._penalty = reading.penalty
        scaling = reading.scaling
        self.register_buffer("centre", torch.from_numpy(scaling.centre).float(), persistent=False)
        self.register_buffer("factor", torch.from_numpy(scaling.factor).float(), persistent=False)
        weight, bias = reading.scaled(head)
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(weight))
            self.bias.copy_(torch.from_numpy(bias))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Map raw features (N, D) to scores (N, n_classes), in float32 whatever else is."""
        kind = vectors.device.type
        casts = torch.amp.is_autocast_available(kind)
        with torch.autocast(kind, enabled=False) if casts else contextlib.nullcontext():
            return super().forward((vectors - self.centre) * self.factor)

    def penalises(self, parameter: torch.Tensor) -> bool:
        """Whether a weight has a penalty of its own, which an optimiser's decay would add to."""
        return parameter is self.weight and self._penalty > 0

    def penalty(self) -> torch.Tensor:
        """Return what its weights add to the mean loss of a picture."""
        return 0.5 * self._penalty * self.weight.square().sum()


class Pools(torch.nn.Module):
    """From the tensors of several cuts to what a head reads.

    Parameters
    ----------
    cuts : sequence of Cut
        What the tensors are of.
    taps : sequence of Tap
        What is read, in order.
    """

    def __init__(self, cuts: Sequence[Cut], taps: Sequence[Tap]) -> None:
        super().__init__()
        self.specs = [spec for cut in cuts for spec in cut.tensors]
        first, self._places = 0, []
        places = {}
        for cut in cuts:
            places[cut.name] = (cut, slice(first, first + len(cut.tensors)))
            first += len(cut.tensors)
        self._pools = torch.nn.ModuleList()
        for tap in taps:
            cut, place = places[tap.cut]
            self._pools.append(Pool(cut, tap.pooling))
            self._places.append(place)

    def forward(self, tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Map the tensors to vectors (N, D), float32."""
        exact = tuple(x.float() for x in tensors)
        pairs = zip(self._pools, self._places, strict=True)
        return torch.cat([pool(exact[place]) for pool, place in pairs], dim=1)


class Part(torch.nn.Module):
    """What trains: blocks, pooling and head.

    Only weights that a phase trains need a gradient; normalisations with statistics stay in
    evaluation mode where the phase says so.
    """

    def __init__(
        self,
        trunk: torch.nn.Module,
        pools: Pools,
        head: Head,
        reader: Reader,
        phase: Phase,
        depth_of: dict[int, float],
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.pools = pools
        self.head = head
        self._reader = reader
        self._phase = phase
        self._depth_of = depth_of
        self._rows_first = any(isinstance(m, _ROWS_FIRST) for m in trunk.modules())
        trained = _trained_names(self, phase)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in trained)
        if not self._rows_first:
            for parameter in self.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    @property
    def batch(self) -> int:
        """Pictures in a step."""
        return self._phase.batch

    @property
    def epochs(self) -> int:
        """Passes over the pictures, at most."""
        return self._phase.epochs

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.head.weight.device

    def train(self, mode: bool = True) -> Part:
        """Switch modes; what is to stay still does."""
        super().train(mode)
        if mode and self._phase.still_norms:
            for module in self.trunk.modules():
                if isinstance(module, _WITH_STATISTICS):
                    module.eval()
        return self

    def tensors(self, rows: Rows) -> tuple[torch.Tensor, ...]:
        """Turn rows into the tensors of the boundary."""
        found = tuple(x.to(self.device) for x in self._reader.tensors(rows))
        return tuple(x.contiguous() for x in found) if self._rows_first else found

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Map the tensors of the boundary to scores (N, n_classes), float32."""
        maps = self.trunk(*tensors)
        if not self._rows_first:
            for x, spec in zip(maps, self.pools.specs, strict=True):
                if x.requires_grad and spec.layout == "NCHW":
                    x.register_hook(_channels_last)
        scores: torch.Tensor = self.head(self.pools(maps))
        return scores

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the weights that train as groups of an optimiser, by depth; the head first."""
        phase = self._phase
        found: dict[tuple[float, bool], list[torch.Tensor]] = {}
        for parameter in self.parameters():
            if parameter.requires_grad:
                depth = self._depth_of.get(id(parameter), 0)
                decays = parameter.ndim > 1 and not self.head.penalises(parameter)
                found.setdefault((depth, decays), []).append(parameter)
        return [
            {
                "params": parameters,
                "peak": rate * phase.depth_decay**depth,
                "weight_decay": phase.weight_decay if decays else 0.0,
            }
            for (depth, decays), parameters in sorted(found.items(), key=lambda item: item[0])
        ]


@dataclass(frozen=True, slots=True)
class Reader:
    """From the bytes of rows to tensors.

    Parameters
    ----------
    specs : tuple of TensorSpec
        The tensors of the cut; none where the rows are pixels.
    preprocess : Preprocess
        Normalises pixels.
    """

    specs: tuple[TensorSpec, ...]
    preprocess: Preprocess

    def tensors(self, rows: Rows) -> tuple[torch.Tensor, ...]:
        """Decode rows, uint8 (n, row_bytes), to float32 tensors."""
        if not self.specs:
            return (self._pixels(rows),)
        return tuple(self._maps(rows))

    def _maps(self, rows: Rows) -> Iterator[torch.Tensor]:
        for spec, values in zip(self.specs, decoded(rows, self.specs), strict=True):
            flat = torch.from_numpy(values)
            if spec.layout == "NCHW":
                channels, height, width = spec.shape
                yield flat.view(-1, height, width, channels).permute(0, 3, 1, 2)
            else:
                yield flat.view(-1, *spec.shape)

    def _pixels(self, rows: Rows) -> torch.Tensor:
        preprocess = self.preprocess
        height, width = preprocess.size
        x = torch.from_numpy(np.ascontiguousarray(rows)).view(-1, height, width, 3)
        mean, std = (torch.tensor(values) for values in (preprocess.mean, preprocess.std))
        scaled = (x - 255 * mean) / (255 * std)
        ordered = scaled if preprocess.channels == "RGB" else scaled.flip(-1)
        return ordered.permute(0, 3, 1, 2)


def _channels_last(gradient: torch.Tensor) -> torch.Tensor:
    """Lay out the gradient of an average, one value all over a map, as all other gradients are."""
    return gradient.contiguous(memory_format=torch.channels_last)


def _is_norm(module: torch.nn.Module) -> bool:
    """Whether it normalises; zoos have classes of their own for that."""
    return isinstance(module, _NORMS) or type(module).__name__.endswith(("Norm", "Norm2d"))


def _trained_names(part: Part, phase: Phase) -> set[str]:
    names = {name for name, _ in part.named_parameters()}
    if phase.what == "all":
        return names
    if phase.what == "lora":
        return {n for n in names if n.startswith("head.") or f".{PREFIX}" in n}
    norms = [name for name, module in part.named_modules() if _is_norm(module)]
    prefixes: Sequence[str] = [f"{name}." for name in (*norms, "head")]
    return {n for n in names if n.endswith("bias") or n.startswith(tuple(prefixes))}
