"""Where an audit is wired together: pictures in, what is wrong with them out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from regraft.auditing.auditor import Auditor
from regraft.auditing.cleaned import write_table
from regraft.auditing.findings import Audit
from regraft.data.manifest import read_manifest
from regraft.data.splits import split
from regraft.errors import UserError
from regraft.frozen.devices import get_device
from regraft.frozen.files import cache_dir
from regraft.frozen.plan import default_plan
from regraft.opening import open_backbone
from regraft.options import DeviceName, FitOptions
from regraft.progress import Progress, Silent
from regraft.workshop import open_store, retried

_DEFAULTS = FitOptions()


def audit(
    photos: str | Path,
    *,
    backbone: str = _DEFAULTS.backbone,
    device: DeviceName = _DEFAULTS.device,
    seed: int = _DEFAULTS.seed,
    progress: Progress | None = None,
) -> Audit:
    """Look for what is wrong with a collection of pictures, before anything is trained on it.

    Copies across parts and classes (however resized, compressed, mirrored or slightly cropped),
    labels that are probably wrong, classes that can be told without looking at the subject,
    pictures of one scene, files that cannot be read, pictures that show little. No picture is
    touched.

    Parameters
    ----------
    photos : str or Path
        As for `regraft.fit`; one class is enough.
    backbone, device, seed
        See `regraft.options.FitOptions`.
    progress : Progress, optional
        Hears what is going on.

    Returns
    -------
    regraft.auditing.findings.Audit

    Raises
    ------
    UserError
        If anything that was given cannot be used; the message says what to do.
    """
    options = FitOptions(backbone=backbone, device=device, seed=seed)
    return audit_with(photos, options, progress or Silent())


def audit_with(photos: str | Path, options: FitOptions, progress: Progress) -> Audit:
    """Do what `audit` does, with the network, device and seed of these settings."""
    manifest = read_manifest(photos, min_classes=1)
    cache = cache_dir()
    with open_store(cache) as store:
        network = open_backbone(options, cache, progress)
        plan = default_plan(network.probes)
        runs_on = get_device(options.device, cache, trains=network.description.trains)
        auditor = Auditor(network, plan, store, runs_on, cache, options.seed, progress)
        found = retried(lambda: auditor.audit(manifest), plan)
    return replace(found, table=Path(photos) if manifest.layout == "table" else None)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the table of an audit.

    Parameters
    ----------
    refused : str
        Why a fit refuses it; empty where it does not.
    lost : tuple of str
        Columns of the table that was audited which cannot be written as text.
    """

    refused: str
    lost: tuple[str, ...]


def write_cleaned(path: Path, audit: Audit) -> Written:
    """Write the table of an audit, and ask what a fit would say to it.

    Parameters
    ----------
    path : Path
        The file to write; one that exists is not touched.
    audit : Audit
        What was found.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    lost = write_table(path, audit.cleaned, audit.table)
    return Written(_refusal(path, audit), lost)


def _refusal(path: Path, audit: Audit) -> str:
    try:
        pictures = read_manifest(path).pictures
        named = [str(number).encode() for number in range(len(pictures))]  # no file is there twice
        split(pictures, named, seed=_DEFAULTS.seed, test_fraction=_DEFAULTS.test_fraction)
        kept = {picture.label for picture in pictures}
    except UserError as error:
        return ": ".join([error.message, *error.problems[:1]])
    gone = sorted(label for label, _ in audit.classes if label not in kept)
    return f"no picture is left of {', '.join(map(repr, gone))}" if gone else ""
