"""Networks under test: opened once, with random weights, for all checks."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch

from contracts.networks import Network
from regraft.backbones.base import Backbone
from regraft.backbones.chain import Chain
from regraft.backbones.registry import get_backbone
from regraft.options import Overrides

PICTURES = 3  # not 2, with which regraft itself looks at shapes
_SMALL = 0.7e9  # multiply-adds

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Subject:
    """A network under test."""

    network: Network
    spelling: str
    backbone: Backbone
    cache: Path

    @cached_property
    def chain(self) -> Chain:
        return self.backbone.chain()

    @property
    def root(self) -> torch.nn.Module:
        """The network as its zoo built it."""
        return self.backbone.opener().traced.root

    @cached_property
    def x(self) -> torch.Tensor:
        return noise(PICTURES, self.backbone.preprocess.size)

    @cached_property
    def whole(self) -> torch.Tensor:
        """What the whole network gives."""
        with torch.no_grad():
            return self.chain.network(self.x)

    @cached_property
    def staged(self) -> tuple[list[Tensors], torch.Tensor]:
        """What flows through every cut, and what comes out, stage by stage."""
        found: list[Tensors] = []
        flowing: Tensors = (self.x,)
        with torch.no_grad():
            for stage in self.chain.stages[:-1]:
                flowing = stage.module(*flowing)
                found.append(flowing)
            return found, self.chain.stages[-1].module(*flowing)

    def some_cuts(self) -> list[int]:
        """Every cut of a small network; the ends, the middle and two more of a large one."""
        count = len(self.chain.cuts)
        if self.backbone.description.multiply_adds < _SMALL:
            return list(range(count))
        return sorted({0, count // 4, count // 2, 3 * count // 4, count - 1})


def noise(count: int, size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def opened(
    spelling: str, cache: Path, *, seed: int = 0, size: tuple[int, int] | None = None
) -> Backbone:
    overrides = Overrides(size=size)
    return get_backbone(spelling, cache, pretrained=False, seed=seed, overrides=overrides)


def subject_fixture(networks: Sequence[Network]) -> Any:
    """Make the fixture that opens these networks, and what else offers them, one after another."""

    @pytest.fixture(scope="module", params=[*_params(networks)])
    def subject(request: Any, tmp_path_factory: Any) -> Iterator[Subject]:
        network, spelling = request.param
        with one_thread(), fresh_folder(tmp_path_factory) as cache:
            yield Subject(network, spelling, opened(spelling, cache, size=network.size), cache)
        give_memory_back()

    return subject


def _params(networks: Sequence[Network]) -> Iterator[object]:
    for network in networks:
        for spelling in (network.spelling, *network.alternatives):
            slow = network.slow or spelling != network.spelling
            marks = [pytest.mark.slow] if slow else []
            yield pytest.param((network, spelling), id=spelling, marks=marks)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def fresh_folder(factory: Any) -> Iterator[Path]:
    """Make a folder that is gone as soon as it is not needed: converted networks are large."""
    folder = factory.mktemp("networks")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def give_memory_back() -> None:
    """Free the network before the next one: Python and the C library would keep gigabytes."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


Check = Callable[[Subject], None]
