"""Networks of Keras Applications, with their ImageNet weights, those of a file, or random ones.

Keras 3 builds the network and reads the weights; `regraft.backbones.keras.graph` turns it into a
PyTorch network that computes the same, so that it is trained and cut like any other. That includes
NASNetMobile, which Keras itself refuses under PyTorch.

Source: F. Chollet et al., Keras, https://keras.io/api/applications.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import io
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from regraft.backbones.base import Origin
from regraft.backbones.keras.applications import APPLICATIONS, Application, Mode
from regraft.backbones.keras.checkpoints import load_keras_weights
from regraft.backbones.keras.graph import trace_keras
from regraft.backbones.preprocess import Preprocess
from regraft.backbones.spelling import Request
from regraft.backbones.torch_graph import TorchGraph
from regraft.backbones.traced import Traced
from regraft.backbones.weights import sha256_of
from regraft.errors import MissingExtraError, UserError

_CLOSEST = 8
_FIXED_SIZE = ("VGG16", "VGG19")  # dense layers on a map
_BACKEND = "KERAS_BACKEND"
_STD = (0.229, 0.224, 0.225)
_SECONDS = 10.0
_MEANS: dict[Mode, tuple[float, float, float]] = {
    "tf": (0.5, 0.5, 0.5),
    "torch": (0.485, 0.456, 0.406),
    "caffe": (123.68 / 255, 116.779 / 255, 103.939 / 255),
    "inside": (0.0, 0.0, 0.0),
}
_STDS: dict[Mode, tuple[float, float, float]] = {
    "tf": (0.5, 0.5, 0.5),
    "torch": _STD,
    "caffe": (1 / 255, 1 / 255, 1 / 255),
    "inside": (1 / 255, 1 / 255, 1 / 255),
}


class KerasZoo:
    """See `regraft.backbones.zoos.Zoo`."""

    def names(self) -> Sequence[str]:
        """Every network of Keras Applications."""
        _check_installed()
        return sorted(APPLICATIONS)

    def open(self, request: Request, say: Callable[[str], None]) -> TorchGraph:
        """Build a network; see `regraft.backbones.zoos.Zoo.open`."""
        application = _application(request.name)
        keras = import_keras()
        size = request.overrides.size or (application.size, application.size)
        known = request.pretrained and request.checkpoint is None
        path = weight_file(keras, request, say) if known else request.checkpoint
        if path is None:
            weights = f"random, seed {request.seed}"
            text = f"keras {keras.__version__} {request.name} {weights}"
            digest = hashlib.sha256(text.encode()).hexdigest()
            traced = trace_keras(build(keras, request, size), top=True)
        else:
            weights = f"Keras Applications, {application.url}" if known else path.name
            traced = _with_weights(keras, request, size, path)
            digest = sha256_of(path)
        if application.module == "efficientnet":
            _standardise_as_trained(traced, known=known)
        return TorchGraph(
            traced=traced,
            name=request.spelling,
            origin=Origin(
                zoo="keras",
                architecture=request.name,
                weights=weights,
                weights_sha256=digest,
                licence=application.licence if known else "unknown",
                trained_on=_task(request),
            ),
            preprocess=preprocess_of(application, size, request),
            sources=() if path is None else (path,),
        )


def import_keras() -> Any:
    """Import Keras 3 on PyTorch, whatever the settings in the home folder say.

    Raises
    ------
    MissingExtraError
        If it is not installed, or an older one is.
    UserError
        If this program has already imported it on something else: it cannot change.
    """
    _check_installed()
    if "keras" not in sys.modules:
        before = os.environ.get(_BACKEND)
        os.environ[_BACKEND] = "torch"
        try:
            importlib.import_module("keras")
        finally:
            if before is None:
                del os.environ[_BACKEND]
            else:
                os.environ[_BACKEND] = before
    keras: Any = importlib.import_module("keras")
    if int(keras.__version__.partition(".")[0]) < 3:
        raise _missing(f"Keras 3, and Keras {keras.__version__} is installed")
    backend = keras.config.backend()
    if backend != "torch":
        raise UserError(
            f"keras: needs Keras on the backend 'torch', and this program has imported it on "
            f"{backend!r}; set {_BACKEND}=torch before the first import of keras"
        )
    return keras


def _check_installed() -> None:
    if importlib.util.find_spec("keras") is None:
        raise _missing("the package keras, which is not installed")


def _missing(what: str) -> MissingExtraError:
    return MissingExtraError(f'keras: needs {what}; run: pip install "regraft[keras]"')


def _application(name: str) -> Application:
    if name not in APPLICATIONS:
        lower = {known.lower(): known for known in APPLICATIONS}
        close = difflib.get_close_matches(name.lower(), lower, _CLOSEST, 0.5)
        raise UserError(
            f"keras: must be followed by the name of one of the {len(APPLICATIONS)} networks of "
            f"Keras Applications, got {name!r}; see `regraft backbones keras:`",
            [f"keras:{lower[other]}" for other in close],
        )
    return APPLICATIONS[name]


def weight_file(keras: Any, request: Request, say: Callable[[str], None]) -> Path:
    """Find the weights in Keras' own cache, or let Keras fetch them into it.

    Keras compares the hash, and fetches a damaged file again; where it knows none, a file that
    does not open counts as damaged.

    Raises
    ------
    UserError
        They are not there and cannot be fetched.
    """
    application = APPLICATIONS[request.name]
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    path = folder / application.file
    if application.digest is None and path.is_file() and not _opens(path):
        say(f"{path} is damaged")
        path.unlink()
    if not path.is_file():
        say(f"fetching {application.file} from {application.url}")
    heard = io.StringIO()  # Keras prints to the standard output
    try:
        with contextlib.redirect_stdout(heard), _answer_within(_SECONDS):
            found: str = keras.utils.get_file(
                application.file,
                origin=application.url,
                cache_subdir="models",
                file_hash=application.digest,
            )
    except Exception as error:  # Keras raises plain exceptions
        damaged = "is damaged on this disk" if "incomplete" in heard.getvalue() else ""
        raise UserError(
            f"{request.spelling} needs the file {application.file}, which "
            f"{damaged or 'is not on this disk'} and cannot be fetched "
            f"({' '.join(str(error).split())[:300]}); what to do:",
            [
                f"where you have network, fetch {application.url} and put it into {folder} "
                f"as {application.file}",
                f"or name a file of your own with the weights: {request.spelling}@FILE",
            ],
        ) from error
    return Path(found)


@contextlib.contextmanager
def _answer_within(seconds: float) -> Iterator[None]:
    """Give up on a silent server: Keras itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _opens(path: Path) -> bool:
    import h5py

    try:
        with h5py.File(path, "r"):
            return True
    except OSError:
        return False


def build(keras: Any, request: Request, size: tuple[int, int], *, top: bool = True) -> Any:
    """Build a network with random weights.

    Raises
    ------
    UserError
        If it cannot have that size.
    """
    options: dict[str, Any] = {
        "input_shape": (*size, 3),
        "include_top": top,
        "weights": None,
    }
    with _settings(keras, request.seed):
        try:
            if request.name == "NASNetMobile":
                return _nasnet_mobile(options)
            return getattr(keras.applications, request.name)(**options)
        except ValueError as error:
            raise UserError(
                f"size must suit keras:{request.name}, got {size[0]}x{size[1]}: "
                f"{' '.join(str(error).split())}"
            ) from error


def _nasnet_mobile(options: dict[str, Any]) -> Any:
    """Build NASNetMobile, which ``keras.applications`` refuses under PyTorch.

    The arguments are those of its own function. What Keras builds from them computes the same as
    on TensorFlow: 3e-7 apart, see ``tests/test_keras_zoo.py``.
    """
    from keras.src.applications.nasnet import NASNet

    return NASNet(
        penultimate_filters=1056,
        num_blocks=4,
        stem_block_filters=32,
        skip_reduction=False,
        filter_multiplier=2,
        default_size=224,
        name="nasnet_mobile",
        **options,
    )


@contextlib.contextmanager
def _settings(keras: Any, seed: int) -> Iterator[None]:
    """Build as Keras does by default, whatever its settings are, and seeded; then restore both.

    Keras draws the seeds of its initialisers from Python's generator.
    """
    order, dtype = keras.config.image_data_format(), keras.config.dtype_policy()
    state = random.getstate()
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    random.seed(seed)
    try:
        with keras.device("cpu"):
            yield
    finally:
        random.setstate(state)
        keras.config.set_image_data_format(order)
        keras.config.set_dtype_policy(dtype)


def _with_weights(keras: Any, request: Request, size: tuple[int, int], path: Path) -> Traced:
    """Build a network and load a file; one without the top gives a network without a head."""
    usual = APPLICATIONS[request.name].size
    if request.name in _FIXED_SIZE and size != (usual, usual):
        raise UserError(
            f"size must be {usual}x{usual} for keras:{request.name} with weights, whose dense "
            f"layers fix it, got {size[0]}x{size[1]}"
        )
    model = build(keras, request, size)
    try:
        load_keras_weights(model, path, top=True)
        return trace_keras(model, top=True)
    except UserError:
        bare = build(keras, request, size, top=False)
        with contextlib.suppress(UserError):
            load_keras_weights(bare, path, top=False)
            return trace_keras(bare, top=False)
        raise


def _standardise_as_trained(traced: Traced, *, known: bool) -> None:
    """Divide once more, as EfficientNet was trained: Keras does so with ImageNet weights only.

    Their file holds the deviations where the variances should be, which also tells whether a file
    of the user's stems from them.
    """
    import torch

    deviation = traced.root.get_submodule("normalization").get_buffer("deviation")
    usual = torch.tensor(_STD)
    if known or torch.allclose(deviation.square(), usual, rtol=1e-3):
        deviation.mul_(usual.sqrt())


def preprocess_of(application: Application, size: tuple[int, int], request: Request) -> Preprocess:
    """Say how pictures are prepared.

    Keras gives mean, deviation and order of the channels, and leaves the cropping to its users.
    The central 87.5 %, resized bilinearly, is how the TensorFlow programs from which most of these
    networks come evaluate them.
    """
    known = Preprocess(
        size=size,
        crop_pct=0.875,
        interpolation="bilinear",
        mean=_MEANS[application.mode],
        std=_STDS[application.mode],
        channels="BGR" if application.mode == "caffe" else "RGB",
    )
    return known.overridden(request.overrides)


def _task(request: Request) -> str:
    if request.checkpoint:
        return "unknown (a file of yours)"
    return "ImageNet-1k" if request.pretrained else "nothing (random weights)"
