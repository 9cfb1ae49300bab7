"""Transfer learning for pictures.

Point it at a folder of labelled pictures and get the best classifier that those pictures and a
pre-trained network can give, with the evidence::

    import regraft

    result = regraft.fit("photos", "model")
    print(result.evaluation.accuracy)
    regraft.load("model").predict(["new.jpg"])

The names are looked up when they are used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regraft.advice.advice import Advice
    from regraft.app import FitResult, advise, fit
    from regraft.app_audit import audit
    from regraft.app_use import evaluate
    from regraft.auditing.findings import Audit
    from regraft.bundle.model import Model, load
    from regraft.bundle.predictions import Predictions
    from regraft.errors import MissingExtraError, RegraftError, UserError
    from regraft.estimator import FrozenFeatures, HeadClassifier, TransferClassifier
    from regraft.options import Overrides

__all__ = [
    "Advice",
    "Audit",
    "FitResult",
    "FrozenFeatures",
    "HeadClassifier",
    "MissingExtraError",
    "Model",
    "Overrides",
    "Predictions",
    "RegraftError",
    "TransferClassifier",
    "UserError",
    "advise",
    "audit",
    "evaluate",
    "fit",
    "load",
]

_HOMES = {
    "Audit": "auditing.findings",
    "Advice": "advice.advice",
    "FitResult": "app",
    "FrozenFeatures": "estimator",
    "HeadClassifier": "estimator",
    "MissingExtraError": "errors",
    "Model": "bundle.model",
    "Overrides": "options",
    "Predictions": "bundle.predictions",
    "RegraftError": "errors",
    "TransferClassifier": "estimator",
    "UserError": "errors",
    "advise": "app",
    "audit": "app_audit",
    "evaluate": "app_use",
    "fit": "app",
    "load": "bundle.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
