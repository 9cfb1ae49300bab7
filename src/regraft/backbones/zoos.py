"""The zoos: one file each, one line each."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from regraft.backbones.base import FrozenGraph
from regraft.backbones.spelling import BUNDLE, FILE, Request


class Zoo(Protocol):
    """Where networks come from. Opening one imports its own framework and no other."""

    def names(self) -> Sequence[str]:
        """Every name that it knows; may import the framework.

        Raises
        ------
        regraft.errors.MissingExtraError
            If the framework is not installed.
        """

    def open(self, request: Request, say: Callable[[str], None]) -> FrozenGraph:
        """Build a network, with its weights.

        Parameters
        ----------
        request : Request
            What was asked for; its ``zoo`` is this one.
        say : callable
            Hears, in a line, of what takes long (a download).

        Raises
        ------
        regraft.errors.UserError
            If there is no such network, or its weights cannot be had.
        regraft.errors.MissingExtraError
            If a package that it needs is not installed.
        """


# What is typed before the colon, where the code lies, and the packages that decide what it gives.
_ZOOS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "embedded": ("regraft.backbones.embedded:EmbeddedZoo", ("timm", "torch")),
    "timm": ("regraft.backbones.timm_zoo:TimmZoo", ("timm", "torch")),
    "torchvision": ("regraft.backbones.torchvision_zoo:TorchvisionZoo", ("torchvision", "torch")),
    "keras": ("regraft.backbones.keras.zoo:KerasZoo", ("keras", "torch")),
    "file": ("regraft.backbones.network_files.zoo:FileZoo", ("openvino",)),
    "bundle": ("regraft.backbones.bundle_source:BundleZoo", ("timm", "torch", "openvino")),
}
ZOOS = tuple(_ZOOS)
CATALOGUES = tuple(name for name in _ZOOS if name not in (BUNDLE, FILE))
"""Zoos with names of their own, which can be listed."""


def get_zoo(name: str) -> Zoo:
    """Import a zoo's module, and return the zoo."""
    module, _, attribute = _ZOOS[name][0].partition(":")
    zoo: Zoo = getattr(importlib.import_module(module), attribute)()
    return zoo


def packages_of(name: str) -> tuple[str, ...]:
    """Name the packages whose versions decide what a zoo gives."""
    return _ZOOS[name][1]
