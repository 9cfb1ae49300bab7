"""From a PyTorch network to an OpenVINO graph, without the converter that calls home.

`openvino.convert_model` reports to a telemetry server unless a file in the home folder says no,
and takes 2.5 s for the embedded network; its PyTorch front end, used here directly, does neither
(1 s). What the converter does besides, folding normalisation into weights and constants into one,
is done here too: it halves the time to open the graph. Weights stay float32 on disk: OpenVINO
would halve them by default. PyTorch calls `torch.jit.trace` deprecated, and its successor
`torch.export` works too, but takes 6.8 s instead of 0.5 s; see
``docs/decisions/0002-torch-to-openvino.md``.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regraft.quiet import import_openvino

if TYPE_CHECKING:
    import torch


def write_openvino(
    network: torch.nn.Module,
    *,
    input_size: tuple[int, int],
    output_names: Sequence[str],
    target: Path,
) -> None:
    """Trace a network with several outputs and save it as OpenVINO IR.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; maps float32 (N, 3, H, W) to a tuple of tensors.
    input_size : tuple of int
        Height and width to trace at; padding that depends on the size is fixed by it.
    output_names : sequence of str
        A name for each output.
    target : Path
        The ``.xml`` file; the ``.bin`` goes beside it.
    """
    import torch

    import_openvino()
    from openvino._offline_transformations import apply_moc_transformations
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    height, width = input_size
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        # Networks check sizes in Python; they are those of `input_size` for good.
        warnings.filterwarnings("ignore", message="(?s).*might cause the trace to be incorrect")
        example = torch.zeros(1, 3, height, width)
        traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        decoder = TorchScriptPythonDecoder(traced)  # must outlive the conversion
        front_end = FrontEndManager().load_by_framework("pytorch")
        model = front_end.convert(front_end.load(decoder))
    model.reshape([-1, 3, height, width])
    apply_moc_transformations(model, cf=True)
    for output, name in zip(model.outputs, output_names, strict=True):
        output.get_tensor().set_names({name})
    save_graph(model, target)


def save_graph(model: Any, target: Path) -> None:
    """Write an OpenVINO model with its weights in float32.

    Parameters
    ----------
    model : openvino.Model
        The model.
    target : Path
        The ``.xml`` file; the ``.bin`` goes beside it.

    Raises
    ------
    OSError
        It cannot be written. OpenVINO does not say why.
    """
    try:
        import_openvino().save_model(model, target, compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(
            errno.EIO, f"OpenVINO cannot save {target.name}, is the disk full?"
        ) from error
