"""Shared by all tests: a cache folder of the tests' own, with the embedded network converted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from regraft.files import locked

_CONVERT = """
from regraft.backbones.registry import get_backbone
from regraft.frozen.files import cache_dir
from regraft.frozen.network import converted_network
from regraft.options import DEFAULT_BACKBONE
converted_network(get_backbone(DEFAULT_BACKBONE, cache_dir()), (), cache_dir())
"""

# Several workers share the cores. OpenMP's threads wait by spinning: with more of them than cores
# a training takes two to three times as long. Before any test imports torch, and for every process
# that a test starts.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    _CORES = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(_CORES, 1)))


def pytest_configure() -> None:
    """Let Ctrl-C reach the tests of it also where a shell started them in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the converted network, made once and shared by all workers."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "regraft-cache"
    with locked(shared / "regraft-cache.lock", create=True):
        environment = {**os.environ, "REGRAFT_CACHE": str(folder)}
        subprocess.run([sys.executable, "-c", _CONVERT], env=environment, check=True)
    return folder
