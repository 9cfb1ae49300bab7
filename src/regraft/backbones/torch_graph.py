"""An opened PyTorch network of any zoo: described, cut, and converted for the inference engine."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from regraft.backbones.base import Description, Origin
from regraft.backbones.chain import Chain
from regraft.backbones.convert import write_openvino
from regraft.backbones.cuts import Cut
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.traced import Traced
from regraft.errors import RegraftError, UserError


@dataclass(frozen=True, eq=False)
class TorchGraph:
    """A network that runs frozen and can be trained; see `regraft.backbones.base`.

    Parameters
    ----------
    traced : Traced
        The network, in evaluation mode and with its weights.
    name : str
        How the user spells it, in full.
    origin : Origin
        Zoo, architecture, weights and licence.
    preprocess : Preprocess
        The matching preprocessing.
    sources : tuple of Path
        The files that its weights were read from.
    """

    traced: Traced
    name: str
    origin: Origin
    preprocess: Preprocess
    sources: tuple[Path, ...] = ()

    @cached_property
    def chain(self) -> Chain:
        """The network in stages."""
        with size_must_suit(self.name, self.preprocess.size):
            return Chain(self.traced, self.preprocess.size)

    @cached_property
    def description(self) -> Description:
        """What it is."""
        return Description(
            name=self.name,
            origin=self.origin,
            preprocess=self.preprocess,
            cuts=self.chain.cuts,
            probes=self.chain.probes,
            parameters=sum(p.numel() for p in self.traced.root.parameters()),
            multiply_adds=self._multiply_adds(),
            trains=True,
        )

    def _multiply_adds(self) -> int:
        """Count as the papers do: a multiplication with its addition is one."""
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:  # the counter knows products of matrices, but not the fused kinds of attention
            with (
                torch.no_grad(),
                torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
                FlopCounterMode(display=False) as counter,
            ):
                self.chain.network(torch.zeros(1, 3, *self.preprocess.size))
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        return int(counter.get_total_flops()) // 2

    def copied(self) -> TorchGraph:
        """Return it with weights of its own; see `regraft.backbones.base.TrainableGraph`."""
        return replace(self, traced=replace(self.traced, root=copy.deepcopy(self.traced.root)))

    def write(self, folder: Path, cuts: Sequence[Cut]) -> None:
        """Write the network without its head; see `FrozenGraph.write`."""
        from safetensors.torch import save_file

        with size_must_suit(self.name, self.preprocess.size):
            write_openvino(
                self.chain.trunk([cut.name for cut in cuts]),
                input_size=self.preprocess.size,
                output_names=[name for cut in cuts for name in cut.output_names()],
                target=folder / "frozen.xml",
            )
        save_file(self.chain.weights(), folder / "backbone.safetensors")


@contextlib.contextmanager
def size_must_suit(name: str, size: tuple[int, int]) -> Iterator[None]:
    """Say it plainly where a framework stops because its network cannot take a size.

    Parameters
    ----------
    name : str
        The network, as the user spells it.
    size : tuple of int
        Height and width in pixels.

    Raises
    ------
    UserError
        With the framework's own words.
    """
    try:
        yield
    except (RegraftError, OSError):
        raise
    except Exception as error:  # frameworks stop in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"size must be one that {name} can take, got {size[0]}x{size[1]} ({reason}); "
            "leave it out for the network's own"
        ) from error
