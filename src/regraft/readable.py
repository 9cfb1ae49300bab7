"""Whether enough of a collection can be read, and which of it may decide something."""

from __future__ import annotations

from regraft.data.records import Manifest
from regraft.errors import UserError
from regraft.frozen.extract import Extraction

_MOST_UNREADABLE = 0.5
_MOST_LISTED = 20


def not_test(manifest: Manifest) -> list[int]:
    """Positions of the pictures that may decide something: where there are parts, train."""
    pictures = manifest.pictures
    return [i for i, picture in enumerate(pictures) if picture.role in (None, "train")]


def check_readable(manifest: Manifest, extraction: Extraction, strict: bool) -> None:
    """Refuse a collection of which too little can be read."""
    unread, count = extraction.skipped, len(manifest.pictures)
    listed = [f"{s.path}: {s.reason}" for s in (*manifest.skipped, *unread)]
    if listed and strict:
        raise UserError(
            f"{len(listed)} files cannot be used, and strict was asked for; mend or remove them, "
            "or leave strict out",
            listed,
        )
    listed = [f"{s.path}: {s.reason}" for s in unread[:_MOST_LISTED]]
    if len(unread) > _MOST_LISTED:
        listed.append(f"... and {len(unread) - _MOST_LISTED} more")
    if len(unread) > _MOST_UNREADABLE * count:
        raise UserError(
            f"at least half of the files must be readable pictures, got {count - len(unread)} "
            f"of {count}; is this the right folder?",
            listed,
        )
    pairs = zip(manifest.pictures, extraction.digests, strict=True)
    left = {picture.label for picture, digest in pairs if digest is not None}
    lost = [label for label in manifest.classes if label not in left]
    if lost:
        raise UserError(
            f"every class needs pictures that can be read, got none for "
            f"{', '.join(map(repr, lost[:_MOST_LISTED]))}; mend the files or take the class out",
            listed,
        )
