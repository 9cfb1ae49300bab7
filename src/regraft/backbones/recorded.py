"""The preprocessing that a bundle records, read back."""

from __future__ import annotations

from pathlib import Path

from regraft.backbones.preprocess import Preprocess
from regraft.bundle.fields import Fields
from regraft.bundle.format import CONFIG
from regraft.errors import UserError


def recorded_preprocess(fields: Fields, path: Path) -> Preprocess:
    """Read the preprocessing that a bundle records.

    Raises
    ------
    UserError
        If a field is missing or breaks its rule.
    """
    values = {
        "size": fields.integers("size"),
        "crop_pct": fields.number("crop_pct") if fields.is_set("crop_pct") else None,
        "interpolation": fields.text("interpolation"),
        "mean": fields.numbers("mean"),
        "std": fields.numbers("std"),
        "channels": fields.text("channels"),
    }
    try:
        return Preprocess.from_dict(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: preprocess in {CONFIG} is not usable: {error}") from error
