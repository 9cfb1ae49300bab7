"""What is printed while the head is chosen and trained, and about how it was chosen."""

from __future__ import annotations

import time
from typing import Any

import pytest

from regraft import terminal

CHOSEN: dict[str, Any] = {
    "method": "cross-validation",
    "n": 1200,
    "n_classes": 1000,
    "folds": 5,
    "of_folds": 5,
    "log_loss": 0.5,
    "accuracy": 0.9,
}


@pytest.mark.parametrize(
    ("changed", "beginning"),
    [
        ({}, "cross-validation on 1,200 pictures: "),
        ({"folds": 2}, "cross-validation, 2 of 5 folds, on 1,200 pictures: "),
        ({"n_classes": 32}, "cross-validation on 1,200 pictures of 32 of 1,000 classes: "),
        ({"method": "validation", "folds": 1, "of_folds": 1}, "validation on 1,200 pictures: "),
    ],
)
def test_how_it_was_chosen(changed: dict[str, Any], beginning: str) -> None:
    text = terminal._selection({**CHOSEN, **changed}, 1000)
    assert text == f"{beginning}log loss 0.500, accuracy 90.0% (optimistic: it chose)"


def test_too_few_pictures_to_choose() -> None:
    assert "too few pictures" in terminal._selection({**CHOSEN, "accuracy": None}, 1000)


def test_a_task_that_lasts_is_named_though_nothing_advances(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "_PLAIN_EVERY_SECONDS", 0.01)
    progress = terminal.PlainProgress()
    progress.start("training the head", 0)
    progress._timer.join(30)
    assert capsys.readouterr().err == "training the head\n"
    progress.finish()


def test_a_task_that_is_soon_over_is_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    progress = terminal.PlainProgress()
    progress.start("reading features", 0)
    first = progress._timer
    progress.start("training the head", 0)
    progress.finish()
    for timer in (first, progress._timer):
        timer.join(30)  # cancelled, or it would end only after five seconds and speak
    assert capsys.readouterr().err == ""


def test_steps_without_a_total_have_a_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = terminal.PlainProgress()
    progress.start("training the head", 0)
    now += 8
    progress.advance(4)
    assert capsys.readouterr().err == "training the head: 4 steps, 0.50/s\n"
    progress.finish()


def test_a_spinner_counts_steps_with_their_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = terminal.TerminalProgress()
    for total, text in ((0, "4 steps, 2/s"), (10, "2/s")):
        progress.start("training the head", total)
        now += 2
        progress.advance(4)
        assert progress._bars is not None
        assert progress._bars.tasks[0].fields["rate"] == text
    progress.finish()
