"""What the licence of some weights means for who uses them, as far as regraft can know.

Not legal advice: one sentence that tells a person when there is something to read. Where the text
of a licence was not known for certain to forbid commercial use, the sentence does not say so.
"""

from __future__ import annotations

import re

_UNSTATED = frozenset({"", "none", "unknown", "other"})
# Free for every use; at most the authors are to be named.
_PERMISSIVE = frozenset(
    {
        "0bsd",
        "apache-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc0-1.0",
        "isc",
        "mit",
        "unlicense",
    }
)
# Their texts grant a use for research that is not commercial, and no other.
_NON_COMMERCIAL = frozenset(
    {
        "apple-amlr",
        "fair-noncommercial-research-license",
        "https://github.com/facebookresearch/swag/blob/main/license",  # torchvision's: CC BY-NC 4.0
        "seer-license",
    }
)
_CC_NON_COMMERCIAL = re.compile(r"cc-by-nc(-|$)")


def forbids_commercial_use(licence: str | None) -> bool:
    """Whether the text of a licence plainly forbids commercial use.

    Parameters
    ----------
    licence : str or None
        As zoos write it: an SPDX identifier, a zoo's own name or an address, in any case.

    Returns
    -------
    bool
        False also for licences that regraft does not know, and where none is stated.

    Examples
    --------
    >>> forbids_commercial_use("CC-BY-NC-4.0"), forbids_commercial_use("apache-2.0")
    (True, False)
    """
    key = _key(licence)
    return key in _NON_COMMERCIAL or _CC_NON_COMMERCIAL.match(key) is not None


def notice(name: str, licence: str | None) -> str | None:
    """Say what a person should know of a licence before using the weights.

    Parameters
    ----------
    name : str
        The network, as the user spells it.
    licence : str or None
        See `forbids_commercial_use`.

    Returns
    -------
    str or None
        One sentence; None where the licence is a known one that allows every use.

    Examples
    --------
    >>> notice("timm:vit_small_patch16_dinov3", "dinov3-license")
    'timm:vit_small_patch16_dinov3: the licence of its weights, dinov3-license, has terms of its \
own; read them before use'
    """
    key = _key(licence)
    if forbids_commercial_use(licence):
        return f"{name}: the licence of its weights, {licence}, forbids commercial use"
    if key in _UNSTATED:
        return f"{name}: no licence is stated for its weights; ask their publisher what is allowed"
    if key in _PERMISSIVE:
        return None
    return (
        f"{name}: the licence of its weights, {licence}, has terms of its own; read them before use"
    )


def _key(licence: str | None) -> str:
    return (licence or "").strip().lower()
