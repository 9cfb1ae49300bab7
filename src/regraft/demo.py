"""Pictures for trying regraft out: real handwritten digits that scikit-learn ships."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from regraft.errors import UserError
from regraft.frozen.files import publish_dir

_ADVICE: Final = "give --out a folder on a disk with room that can be written to"


def write_digits(folder: Path) -> Path:
    """Write scikit-learn's 1,797 handwritten digits (8 x 8 pixels) as a folder per class.

    Parameters
    ----------
    folder : Path
        Is made; where it is there already, it is left as it is.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"out must be a folder or not exist yet, but {folder} is a file")
    digits = load_digits()

    def build(target: Path) -> None:
        for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            place = target / str(label)
            place.mkdir(exist_ok=True)
            grey = (pixels * (255 / 16)).round().astype("uint8")
            Image.fromarray(grey).save(place / f"{number:04d}.png")

    publish_dir(build, folder, _ADVICE)
    return folder
