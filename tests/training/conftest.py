"""A lesson for each kind of network, its activations kept for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch

from regraft.frozen.store import FeatureStore
from training.lessons import NETWORKS, Lesson, opened


@pytest.fixture(scope="package", autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package", autouse=True)
def _float32() -> Iterator[None]:
    """Networks this small are as fast in either arithmetic, and chance would choose."""
    with mock.patch("regraft.train.speed.has_bf16", return_value=False):
        yield


def _lesson(name: str, folder: Path) -> Iterator[Lesson]:
    with FeatureStore(folder) as store:
        yield Lesson(opened(name, folder), store, folder)


@pytest.fixture(scope="package", params=NETWORKS)
def lesson(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    yield from _lesson(request.param, tmp_path_factory.mktemp("lesson"))


@pytest.fixture(scope="package")
def convolutional(tmp_path_factory: pytest.TempPathFactory):
    yield from _lesson(NETWORKS[0], tmp_path_factory.mktemp("convolutional"))


@pytest.fixture(scope="package")
def transformer(tmp_path_factory: pytest.TempPathFactory):
    yield from _lesson(NETWORKS[2], tmp_path_factory.mktemp("transformer"))
