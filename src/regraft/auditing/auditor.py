"""From a list of pictures to what is wrong with them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from regraft.alike.copies import find_copies, scaled_features
from regraft.alike.looks import look_at
from regraft.auditing.bursts import burst_findings, find_bursts
from regraft.auditing.cleaned import cleaned
from regraft.auditing.collection import Collection
from regraft.auditing.copies import copy_findings, divided_groups
from regraft.auditing.findings import Audit, Finding
from regraft.auditing.labels import wrong_labels
from regraft.auditing.quality import imbalance, poor_pictures, unreadable
from regraft.auditing.shortcuts import shortcuts
from regraft.backbones.base import Backbone
from regraft.data.records import Manifest, Skipped
from regraft.data.splits import units_of
from regraft.errors import UserError
from regraft.frozen.devices import Device
from regraft.frozen.extract import FrozenPass
from regraft.frozen.plan import PassPlan
from regraft.frozen.sources import FileSource
from regraft.frozen.store import FeatureStore
from regraft.frozen.table import StoredFeatures
from regraft.progress import Progress


@dataclass(frozen=True, slots=True)
class Auditor:
    """What an audit works with.

    Parameters
    ----------
    backbone : Backbone
        The network whose features are used.
    plan : PassPlan
        What the frozen pass takes from it.
    store : FeatureStore
        Where features are kept.
    device : Device
        What the network runs on.
    cache : Path
        Where converted networks are kept.
    seed : int
        Decides folds.
    progress : Progress
        Hears what is going on.
    """

    backbone: Backbone
    plan: PassPlan
    store: FeatureStore
    device: Device
    cache: Path
    seed: int
    progress: Progress

    def audit(self, manifest: Manifest) -> Audit:
        """Look for everything.

        Raises
        ------
        UserError
            If no picture can be read.
        regraft.frozen.store.StoreMiss
            If rows vanished from the store meanwhile; running it again mends that.
        """
        began = time.perf_counter()
        collection, table, skipped = self._collected(manifest)
        labels, note = wrong_labels(collection, table, self.seed, self.progress)
        findings: list[Finding] = [
            *copy_findings(collection),
            *divided_groups(collection),
            *labels,
            *shortcuts(collection, self.seed),
            *burst_findings(collection),
            *imbalance(collection),
            *unreadable(skipped),
            *poor_pictures(collection, min(self.backbone.preprocess.size)),
        ]
        lost = set(manifest.classes) - set(collection.classes)
        notes = [note, *(f"no picture of {label!r} can be read" for label in sorted(lost))]
        counts = np.bincount(collection.y, minlength=len(collection.classes)).tolist()
        return Audit(
            findings=tuple(findings),
            n_pictures=len(collection.pictures),
            classes=tuple(zip(collection.classes, counts, strict=True)),
            backbone=self.backbone.name,
            cleaned=cleaned(collection, findings),
            notes=(*manifest.notes, *filter(None, notes)),
            seconds=time.perf_counter() - began,
        )

    def _collected(self, manifest: Manifest) -> tuple[Collection, StoredFeatures, list[Skipped]]:
        """Run the frozen pass, look at the pictures, and find copies and bursts."""
        sources = [FileSource(picture.path, picture.name) for picture in manifest.pictures]
        frozen = FrozenPass(self.backbone, self.plan, self.store, self.device, None, self.progress)
        extraction = frozen.run(sources)
        looks = look_at([picture.path for picture in manifest.pictures], self.progress)
        pairs = zip(extraction.digests, looks, strict=True)
        rows = [i for i, (digest, look) in enumerate(pairs) if digest and look]
        skipped = [*manifest.skipped, *extraction.skipped]
        skipped += [
            Skipped(manifest.pictures[i].name, "it changed or went away meanwhile")
            for i, (digest, look) in enumerate(zip(extraction.digests, looks, strict=True))
            if digest and not look
        ]
        if not rows:
            listed = [f"{entry.path}: {entry.reason}" for entry in skipped[:20]]
            raise UserError("at least one picture must be readable, and none is", listed)
        digests = tuple(digest for i in rows if (digest := extraction.digests[i]))
        table = StoredFeatures(self.store, self.plan, extraction.spaces, digests, self.cache)
        everyone = np.arange(len(rows), dtype=np.intp)
        scaled = scaled_features(table.read([self.plan.late], everyone))
        seen = tuple(look for i in rows if (look := looks[i]))
        self.progress.start("looking for copies", 0)
        near = find_copies(np.stack([look.thumbnail for look in seen]), scaled)
        self.progress.finish()
        collection = Collection(
            pictures=tuple(manifest.pictures[i] for i in rows),
            digests=digests,
            looks=seen,
            copies=_whole(digests, near),
            bursts=find_bursts(seen, scaled),
        )
        return collection, table, skipped


def _whole(
    digests: tuple[bytes, ...], near: tuple[tuple[int, ...], ...]
) -> tuple[tuple[int, ...], ...]:
    """Put pictures of the same bytes, and those that nearly show the same, into groups."""
    units = units_of([None] * len(digests), digests, near)
    order = np.argsort(units, kind="stable")
    _, first = np.unique(units[order], return_index=True)
    groups = (tuple(map(int, part)) for part in np.split(order, first[1:]))
    return tuple(group for group in groups if len(group) > 1)
