"""The face that scikit-learn knows: a classifier and a transformer of pictures, and the heads.

Pictures are given as a sequence of paths, PIL images or arrays, or as one uint8 array of shape
(N, H, W, 3). Their features go through the store, so a cross-validation or a search computes each
picture once. What is fitted is plain data: it can be copied, pickled and sent to other processes.
"""

from regraft.estimator.features import FrozenFeatures
from regraft.estimator.heads import HeadClassifier
from regraft.estimator.transfer import TransferClassifier

__all__ = ["FrozenFeatures", "HeadClassifier", "TransferClassifier"]
