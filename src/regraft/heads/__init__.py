"""Classifiers on feature vectors; whatever its kind, a trained one is a `LinearHead`."""

from regraft.heads.fitting import DEFAULT_STRENGTH, STRENGTHS, fit_linear
from regraft.heads.linear import LinearHead, softmax

__all__ = ["DEFAULT_STRENGTH", "STRENGTHS", "LinearHead", "fit_linear", "softmax"]
