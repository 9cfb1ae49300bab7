"""From the name that a user types to a backbone: one line a network."""

from __future__ import annotations

from collections.abc import Callable

from regraft.backbones.base import Backbone
from regraft.backbones.embedded import EfficientNetLite0
from regraft.errors import UserError
from regraft.options import DEFAULT_BACKBONE

_BACKBONES: dict[str, Callable[[], Backbone]] = {
    DEFAULT_BACKBONE: EfficientNetLite0,
}


def get_backbone(name: str) -> Backbone:
    """Return the backbone of that name.

    Raises
    ------
    UserError
        If the name is not registered; the legal spellings are listed.
    """
    try:
        return _BACKBONES[name]()
    except KeyError:
        raise UserError(
            f"backbone must be one of {', '.join(map(repr, sorted(_BACKBONES)))}, got {name!r}"
        ) from None
