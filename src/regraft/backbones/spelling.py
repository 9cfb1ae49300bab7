"""What a user types to name a network, and what that asks for.

``ZOO:NAME`` or ``ZOO:NAME@FILE`` (the architecture, with the weights of a file), or the path of a
bundle. ``file:PATH`` is a network file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regraft.errors import UserError
from regraft.options import Overrides

__all__ = ["BUNDLE", "FILE", "Overrides", "Request", "split_spelling", "user_path"]

BUNDLE = "bundle"
FILE = "file"

_NO_OVERRIDES = Overrides()


@dataclass(frozen=True, slots=True)
class Request:
    """A network that somebody asked for.

    Parameters
    ----------
    zoo : str
        Where it comes from: ``"timm"``; ``"file"`` for network files, ``"bundle"`` for bundles.
    name : str
        The zoo's own name of the network (and of its weights), or a path.
    checkpoint : Path, optional
        A file with weights that take the place of the zoo's.
    pretrained : bool
        False: the architecture alone, with random weights.
    seed : int
        Decides the random weights.
    overrides : Overrides
        What the user says of the input.
    """

    zoo: str
    name: str
    checkpoint: Path | None = None
    pretrained: bool = True
    seed: int = 0
    overrides: Overrides = _NO_OVERRIDES

    @property
    def spelling(self) -> str:
        """How the user spells it."""
        if self.zoo == BUNDLE:
            return self.name
        at = f"@{self.checkpoint}" if self.checkpoint else ""
        return f"{self.zoo}:{self.name}{at}"


def user_path(text: str) -> Path:
    """Return the path that a user typed, ``~`` resolved.

    Raises
    ------
    UserError
        If it begins with the home folder of somebody who is not here.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{text} begins with a home folder that does not exist") from error


def split_spelling(text: str) -> tuple[str | None, str, Path | None]:
    """Take apart what the user typed.

    Parameters
    ----------
    text : str
        ``[ZOO:]NAME[@FILE]``.

    Returns
    -------
    zoo : str or None
        None for a bare name.
    name : str
    checkpoint : Path or None

    Raises
    ------
    UserError
        If a part is empty.
    """
    zoo, colon, rest = text.partition(":")
    if not colon or "/" in zoo:
        zoo, rest = "", text
    if zoo == FILE:
        if not rest:
            raise UserError("backbone 'file:' must name a network file, such as file:model.onnx")
        return zoo, rest, None
    name, at, file = rest.partition("@")
    if not name or (at and not file) or (colon and not zoo and rest is not text):
        raise UserError(
            f"backbone must be spelled ZOO:NAME or ZOO:NAME@FILE, got {text!r}; "
            "`regraft backbones` lists what there is"
        )
    return zoo or None, name, user_path(file) if at else None
