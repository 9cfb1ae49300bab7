"""What networks there are: in packages, on this disk, and in the zoos."""

from __future__ import annotations

import difflib
import fnmatch
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from regraft.backbones.base import Description
from regraft.backbones.keras.applications import APPLICATIONS
from regraft.backbones.licences import forbids_commercial_use, notice
from regraft.backbones.packages import PACKAGES
from regraft.backbones.registry import get_backbone
from regraft.backbones.spelling import split_spelling
from regraft.backbones.torchvision_shim import declare_missing_operators
from regraft.backbones.weights import cached_hub_repos, cached_url_files
from regraft.backbones.zoos import CATALOGUES, get_zoo
from regraft.errors import MissingExtraError, UserError
from regraft.options import Overrides

EMBEDDED = "embedded"
_LITE = 'pip install "regraft[lite]"'
_INSTALL = {"keras": 'pip install "regraft[keras]"'}
_TIMM_REPO = re.compile(r"timm/([a-z0-9_]+\.[a-z0-9_]+)")
_REGISTERED = re.compile(r"^@register_model\b", re.M)
_DETECTORS = {"torchvision": 1}  # networks of a zoo that are not registered among its classifiers
_CLOSEST = 8


@dataclass(frozen=True, slots=True)
class Embedded:
    """A network whose weights come as a package.

    Parameters
    ----------
    spelling : str
    installed : bool
    install : str or None
        The command that would bring it; None for what is installed.
    """

    spelling: str
    installed: bool
    install: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """A zoo.

    Parameters
    ----------
    zoo : str
    networks : int or None
        How many architectures it has, None where nobody counted.
    installed : bool
    install : str or None
        The command that would bring it; None for what is installed.
    """

    zoo: str
    networks: int | None
    installed: bool
    install: str | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is, in short.

    Parameters
    ----------
    embedded : tuple of Embedded
    on_disk : mapping of str to int
        Weights in the caches of the hubs: how they are spelled, and their bytes.
    sources : tuple of Source
    """

    embedded: tuple[Embedded, ...]
    on_disk: Mapping[str, int]
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """A name of a zoo.

    Parameters
    ----------
    spelling : str
    on_disk : tuple of str
        The full spellings of those of its weights that are on this disk.
    """

    spelling: str
    on_disk: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What fits a pattern.

    Parameters
    ----------
    networks : tuple of Listed
    missing : mapping of str to str
        Zoos that could not be searched, and why.
    """

    networks: tuple[Listed, ...]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A network, described for a person.

    Parameters
    ----------
    description : Description
    pretrained : bool
        Whether it is described with its weights, or as an architecture with random ones.
    missing : UserError, MissingExtraError or None
        Why its weights cannot be had, and how to get them; None where they are here or unwanted.
    """

    description: Description
    pretrained: bool
    missing: UserError | MissingExtraError | None

    @property
    def notice(self) -> str | None:
        """What should be known of the licence; None for random weights and for free ones."""
        found = self.description
        return notice(found.name, found.origin.licence) if self.pretrained else None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found, error = self.description, self.missing
        problems = error.problems if isinstance(error, UserError) else ()
        return {
            **found.to_json(),
            "gflops": None if found.multiply_adds is None else found.multiply_adds / 1e9,
            "pretrained": self.pretrained,
            "licence_notice": self.notice,
            "forbids_commercial_use": self.pretrained
            and forbids_commercial_use(found.origin.licence),
            "missing": error
            and {"message": str(error).partition("\n")[0], "problems": list(problems)},
        }


def overview() -> Overview:
    """Say what there is without opening a framework (but see `weights_on_disk`)."""
    embedded = tuple(
        Embedded(f"{EMBEDDED}:{name}", there, None if there else _LITE)
        for name, package in PACKAGES.items()
        for there in [package.installed()]
    )
    sources = tuple(
        Source(zoo, _count(zoo), there, None if there else _INSTALL.get(zoo, f"pip install {zoo}"))
        for zoo in CATALOGUES
        if zoo != EMBEDDED
        for there in [importlib.util.find_spec(zoo) is not None]
    )
    return Overview(embedded, weights_on_disk(), sources)


def find_networks(pattern: str) -> Found:
    """Find the names that fit a pattern; opens the frameworks of the zoos.

    Parameters
    ----------
    pattern : str
        ``ZOO:GLOB`` or ``GLOB`` (of every zoo), in any case. Where it has no wildcard, names that
        contain it fit; ``ZOO:`` stands for all of a zoo.

    Raises
    ------
    UserError
        If there is no such zoo, or nothing fits.
    MissingExtraError
        If nothing fits, and a zoo could not be searched.
    """
    zoos, glob = _parts(pattern)
    names: list[str] = []
    missing: dict[str, str] = {}
    for zoo in zoos:
        try:
            names += [f"{zoo}:{name}" for name in get_zoo(zoo).names()]
        except MissingExtraError as error:
            missing[zoo] = str(error)
    fitting = [name for name in names if _fits(name.partition(":")[2], glob)]
    if not fitting:
        if missing:
            raise MissingExtraError(f"nothing fits {pattern!r}; " + "; ".join(missing.values()))
        raise _nothing(pattern, glob, names)
    here = {**weights_on_disk(), **{e.spelling: 0 for e in overview().embedded if e.installed}}
    return Found(tuple(Listed(name, _weights_of(name, here)) for name in fitting), missing)


def weights_on_disk() -> dict[str, int]:
    """Find weights in the caches of the hubs, by how they are spelled, with their bytes.

    PyTorch's cache knows files and no names: only where it holds any, torchvision (and timm, for
    what torchvision does not know) are opened to tell what they are.
    """
    found = {
        f"timm:{match[1]}": size
        for repo, size in cached_hub_repos()
        if (match := _TIMM_REPO.fullmatch(repo))
    }
    files = cached_url_files()
    for spellings in (_torchvision_files, _timm_files):
        if files:
            known = spellings()
            found |= {known[file]: size for file, size in files.items() if file in known}
            files = {file: size for file, size in files.items() if file not in known}
    for name, network in APPLICATIONS.items():
        file = _keras_cache() / network.file
        if file.is_file():
            found[f"keras:{name}"] = file.stat().st_size
    return dict(sorted(found.items()))


def describe(
    text: str,
    cache: Path,
    *,
    pretrained: bool,
    seed: int = 0,
    overrides: Overrides,
    say: Callable[[str], None],
) -> Shown:
    """Describe a network; its architecture alone where its weights cannot be had.

    Parameters
    ----------
    text, cache, pretrained, seed, overrides, say
        See `regraft.backbones.registry.get_backbone`.

    Raises
    ------
    UserError, MissingExtraError
        If not even its architecture can be described.
    """

    def described(pretrained: bool) -> Description:
        return get_backbone(
            text, cache, pretrained=pretrained, seed=seed, overrides=overrides, say=say
        ).description

    try:
        return Shown(described(pretrained), pretrained, None)
    except (UserError, MissingExtraError) as error:
        zoo, _, checkpoint = split_spelling(text)
        if not pretrained or zoo not in CATALOGUES or checkpoint is not None:
            raise
        try:
            return Shown(described(False), False, error)
        except (UserError, MissingExtraError):
            raise error from None


def _parts(pattern: str) -> tuple[list[str], str]:
    """Take a pattern apart: the zoos that are meant, and the glob of the names."""
    zoo, colon, glob = pattern.lower().partition(":")
    zoos = [name for name in CATALOGUES if not colon or fnmatch.fnmatchcase(name, zoo)]
    if not zoos:
        legal = ", ".join(f"{name}:" for name in CATALOGUES)
        raise UserError(
            f"pattern must be a name with * or ?, or begin with one of {legal}, got {pattern!r}; "
            "files and bundles are described by `regraft backbones show`"
        )
    glob = glob if colon else zoo
    return zoos, glob if set(glob) & set("*?[") else f"*{glob}*"


def _fits(name: str, glob: str) -> bool:
    return fnmatch.fnmatchcase(name.lower(), glob)


def _nothing(pattern: str, glob: str, names: Iterable[str]) -> UserError:
    wanted = glob.strip("*")
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(name.partition(":")[2].lower(), []).append(name)
    close = difflib.get_close_matches(wanted, folded, _CLOSEST)
    return UserError(
        f"pattern must fit the name of a network, got {pattern!r}; `regraft backbones` lists the "
        "zoos, and a pattern without * finds the names that contain it"
        + ("; close are" if close else ""),
        [name for key in close for name in folded[key]],
    )


def _weights_of(name: str, here: Iterable[str]) -> tuple[str, ...]:
    """Of the weights on this disk, those of a name: timm adds them after a dot."""
    return tuple(full for full in here if full == name or full.startswith((f"{name}.", f"{name}:")))


def _count(zoo: str) -> int | None:
    """Count the architectures of a zoo, in its sources: importing it takes seconds."""
    if zoo == "keras":
        return len(APPLICATIONS)
    spec = importlib.util.find_spec(zoo)
    if spec is None or spec.origin is None:
        return None
    files = Path(spec.origin).parent.glob("models/*.py")
    registered = sum(len(_REGISTERED.findall(file.read_text(encoding="utf-8"))) for file in files)
    return registered + _DETECTORS.get(zoo, 0) if registered else None


def _torchvision_files() -> dict[str, str]:
    """Spell torchvision's weights, by the names of their files."""
    declare_missing_operators()
    from torchvision import models

    return {
        _file_of(member.url): f"torchvision:{name}:{member.name}"
        for name in get_zoo("torchvision").names()
        for member in models.get_model_weights(name)
    }


def _timm_files() -> dict[str, str]:
    """Spell those of timm's weights that do not come from the Hugging Face hub."""
    import timm

    configs: Any = [(name, timm.get_pretrained_cfg(name)) for name in timm.list_pretrained()]
    return {
        _file_of(config.url): f"timm:{name}"
        for name, config in configs
        if config.url and not config.hf_hub_id
    }


def _file_of(url: str) -> str:
    return Path(urlsplit(url).path).name


def _keras_cache() -> Path:
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
