"""Let torchvision's Python part import next to a CPU-only PyTorch.

torchvision's wheels are linked against the CUDA build of PyTorch. Beside a CPU build its compiled
operators do not load, and ``import torchvision`` (hence timm) stops at ``operator
torchvision::nms does not exist``. Declaring the missing schemas is enough for the Python part,
which is all that a zoo of classifiers needs.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@cache
def declare_missing_operators() -> Any:
    """Declare the schemas that torchvision's import looks up, where they are absent.

    Returns
    -------
    torch.library.Library or None
        The handle that keeps the declarations alive (None if nothing was missing).
    """
    import torch

    if _compiled_operators_load():
        return None
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS.values():
        library.define(schema)  # type: ignore[no-untyped-call]
    return library


def _compiled_operators_load() -> bool:
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True
    for location in spec.submodule_search_locations:
        for binary in Path(location).glob("_C*.so"):
            try:
                torch.ops.load_library(str(binary))  # type: ignore[no-untyped-call]
            except OSError:
                continue
    return hasattr(torch.ops.torchvision, "nms")
