"""Where the frozen part runs: the processor with OpenVINO, or a CUDA device with PyTorch."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Protocol

from regraft.backbones.base import Backbone
from regraft.errors import UserError
from regraft.frozen.cpu import openvino_engine
from regraft.frozen.engine import Engine, OpenVinoEngine, supports_bf16
from regraft.frozen.graph import feature_model
from regraft.frozen.network import converted_network
from regraft.options import DeviceName
from regraft.strategy import Precision, Tap


class Device(Protocol):
    """Makes engines."""

    @property
    def name(self) -> str:
        """Engine, version and instruction set or card: part of every key of the store."""

    @property
    def torch_device(self) -> str:
        """PyTorch's name for it."""

    def supports_bf16(self) -> bool:
        """Whether bfloat16 is faster than float32 here."""

    def engine(self, backbone: Backbone, taps: Sequence[Tap], precision: Precision) -> Engine:
        """Make an engine that gives these taps, side by side."""


@dataclass(frozen=True, slots=True)
class Processor:
    """The CPU, with OpenVINO; converted networks are kept in the cache folder."""

    cache: Path

    @property
    def name(self) -> str:
        """OpenVINO's version and the instruction set."""
        return openvino_engine()

    @property
    def torch_device(self) -> str:
        """PyTorch's name for it."""
        return "cpu"

    def supports_bf16(self) -> bool:
        """Whether the processor has bfloat16 instructions."""
        return supports_bf16()

    def engine(self, backbone: Backbone, taps: Sequence[Tap], precision: Precision) -> Engine:
        """Convert the network if this was never done, and compile it."""
        network = converted_network(backbone, taps, self.cache)
        model = feature_model(network.graph, network.cuts, taps, backbone.preprocess)
        return OpenVinoEngine(model, precision)


@dataclass(frozen=True, slots=True)
class Cuda:
    """A CUDA device, with PyTorch: channels-last, mixed precision."""

    card: str

    @property
    def name(self) -> str:
        """PyTorch's version and the card."""
        return f"torch-{metadata.version('torch')}-{self.card}"

    @property
    def torch_device(self) -> str:
        """PyTorch's name for it."""
        return "cuda"

    def supports_bf16(self) -> bool:
        """Whether the card computes in bfloat16."""
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))

    def engine(self, backbone: Backbone, taps: Sequence[Tap], precision: Precision) -> Engine:
        """Load the network on the card."""
        from regraft.frozen.torch_engine import TorchEngine

        return TorchEngine(backbone, taps, precision, "cuda")


def get_device(name: DeviceName, cache: Path, *, trains: bool = True) -> Device:
    """Return the device of that name; ``"auto"`` is CUDA where there is a card that works.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda"}
        What was asked for.
    cache : Path
        Where converted networks are kept.
    trains : bool
        Whether the network exists in PyTorch, which CUDA needs.

    Raises
    ------
    UserError
        If CUDA is asked for and absent.
    """
    if name == "cuda" and not trains:
        raise UserError(
            "device must be 'auto' or 'cpu' for a network file, got 'cuda': it holds no PyTorch "
            "network, which CUDA needs"
        )
    card = None if name == "cpu" or not trains else _first_card()
    if card is not None and _torch_has_cuda():
        return Cuda(card)
    if name == "cuda":
        raise UserError(
            "device must be 'auto' or 'cpu' on this machine, got 'cuda': there is no CUDA device, "
            "or PyTorch was built without CUDA; check `nvidia-smi` and the version of torch"
        )
    return Processor(cache)


def _first_card() -> str | None:
    """Ask the driver for the card: importing PyTorch only to hear "no" costs over a second."""
    count, device, text = ctypes.c_int(0), ctypes.c_int(0), ctypes.create_string_buffer(256)
    try:
        driver = ctypes.CDLL("libcuda.so.1")  # `find_library` would start a compiler to look for it
        found = (
            driver.cuInit(0) == 0
            and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
            and count.value > 0
            and driver.cuDeviceGet(ctypes.byref(device), 0) == 0
            and driver.cuDeviceGetName(text, len(text), device) == 0
        )
    except (OSError, AttributeError):
        return None
    return text.value.decode(errors="replace") if found else None


def _torch_has_cuda() -> bool:
    """Whether the installed PyTorch is a CUDA build, without importing it."""
    spec = importlib.util.find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    return any(Path(folder, "lib", "libtorch_cuda.so").exists() for folder in folders or ())
