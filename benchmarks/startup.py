"""What a user waits for before anything is computed: import, help, the first answer.

Each is a whole process, interpreter start included, the files in the page cache; the cases take
turns. The model is made of crops of the two photographs that come with scikit-learn.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from common import REGRAFT, Figure, Options, Report, main, median, run_fit, run_process

TARGETS = {"import regraft": 0.2, "regraft --help": 0.5, "regraft predict, one photo": 0.8}


def make_photos(folder: Path, count: int) -> Path:
    """Cut photo-sized pieces from two photographs: a folder a photograph."""
    import sklearn.datasets

    images = Path(sklearn.datasets.__file__).parent / "images"
    for name in ("china", "flower"):
        (folder / name).mkdir(parents=True)
        photo = Image.open(images / f"{name}.jpg")
        for number in range(count):
            left, top = 13 * number % 140, 5 * number % 52
            piece = photo.crop((left, top, left + 500, top + 375))
            piece.save(folder / name / f"{number}.jpg", quality=90)
    return folder


def measure(options: Options) -> Report:
    rounds = 2 if options.quick else 11
    seconds: dict[str, list[float]] = {name: [] for name in ("python -c pass", *TARGETS)}
    with options.scratch() as scratch:
        photos = make_photos(scratch / "photos", 12)
        model = scratch / "model"
        run_fit(photos, model, scratch / "cache")
        commands: dict[str, list[str | Path]] = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "import regraft": [sys.executable, "-c", "import regraft"],
            "regraft --help": [REGRAFT, "--help"],
            "regraft predict, one photo": [REGRAFT, "predict", model, photos / "flower" / "0.jpg"],
        }
        for turn in range(rounds):
            for name, command in commands.items():
                finished = run_process(command, REGRAFT_CACHE=scratch / "cache")
                if turn:  # the first one fills the page cache
                    seconds[name].append(finished.seconds)
    figures = [
        Figure(f"{name} (median of {rounds - 1})", median(times), "s", TARGETS.get(name))
        for name, times in seconds.items()
    ]
    return Report(figures, raw={"seconds": seconds})


if __name__ == "__main__":
    main("startup", measure)
