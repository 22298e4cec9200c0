"""What a run tells people: what it will do, how it goes, what it draws, and that there is nothing to learn."""

import sys
import types
from dataclasses import replace

import pytest
from runs import small_run, train

from lucid_mlx import InputError
from lucid_mlx.training import Trainer
from lucid_mlx.training.config import ReportsConfig
from lucid_mlx.training.report import plot_metrics
from lucid_mlx.utils.pace import Pace, duration


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def steps(pace, clock, seconds, count=1):
    due = []
    for _ in range(count):
        clock.now += seconds
        pace.finish_step()
        due.append(pace.line_is_due())
    return due


def test_a_line_comes_early_then_every_minute_and_at_the_end():
    clock = Clock()
    pace = Pace(50, 0, 2, clock)
    due = steps(pace, clock, 10, 50)
    assert [number for number, is_due in enumerate(due, 1) if is_due] == [3, *range(9, 50, 6), 50]


def test_a_short_run_has_a_line_at_the_end():
    clock = Clock()
    assert steps(Pace(2, 0, 2, clock), clock, 1, 2) == [False, True]


def test_the_time_left_leaves_out_the_first_step_and_evaluations():
    clock = Clock()
    pace = Pace(103, 0, 4, clock)
    steps(pace, clock, 100)  # compiles
    assert pace.time_left() == ""
    steps(pace, clock, 2, 2)
    with pace.pause():
        clock.now += 1000
    assert pace.time_left() == "3 min"
    assert pace.images_per_second() == pytest.approx(12 / 104)
    steps(pace, clock, 2, 5)
    assert pace.images_per_second() == pytest.approx(2)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (5400, "1 h 30 min"), (90000, "25 h 0 min")]
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


def test_without_a_terminal_lines_tell_of_the_run(tmp_path):
    messages = []
    config = small_run(tmp_path, reports=ReportsConfig(log=20, evaluate=2))
    Trainer(config, tmp_path / "out", log=messages.append).fit()
    assert (
        messages[0]
        == "4 images with labels for semantic segmentation, 3 classes; 4 images to validate, 4 of them also trained on"
    )
    assert messages[1].startswith("4 steps of 2 images of 32x32 pixels, which is 2.0 times each image; 0.")
    lines = [text for text in messages if text.startswith(("step ", "evaluation "))]
    assert [text.split(":")[0] for text in lines] == [
        "step 2 of 4", "evaluation after step 2", "step 3 of 4", "step 4 of 4", "evaluation after step 4"
    ]  # fmt: skip
    for part in ("loss ", "learning rate 0.001", " images/s", " GB"):
        assert all(part in text for text in lines if text.startswith("step "))
    assert lines[0].endswith(" left")
    assert "mIoU" in lines[1]


def test_validation_that_cannot_be_evaluated_is_told_before_the_first_step(tmp_path):
    config = small_run(tmp_path, reports=ReportsConfig(evaluate=2))
    (tmp_path / "others.txt").write_text("sky\nsea\nbuoy\n")
    others = replace(config, validation=replace(config.train, names=str(tmp_path / "others.txt")))
    with pytest.raises(InputError, match=r"\[validation\]: the model does not know 1 of the 3 classes .*: buoy"):
        Trainer(others, tmp_path / "out")
    unnamed = replace(config, validation=replace(config.train, names=None))
    with pytest.raises(InputError, match=r"\[validation\]: .* is a folder of label maps; give class names"):
        Trainer(unnamed, tmp_path / "out")


@pytest.mark.parametrize(("count", "marker"), [(1, "o"), (3, "o"), (200, None)])
def test_few_points_of_a_curve_are_marked(count, marker, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    real = Axes.plot

    def plot(self, *values, **options):
        drawn.append(options)
        return real(self, *values, **options)

    monkeypatch.setattr(Axes, "plot", plot)
    lines = [{"step": step, "loss": 1.0, "learning_rate": 0.1} for step in range(count)]
    plot_metrics(lines, tmp_path / "curves.png")
    assert {options["marker"] for options in drawn} == {marker}


def test_there_are_curves_before_the_run_ends(tmp_path):
    run = Trainer(small_run(tmp_path, reports=ReportsConfig(log=1, save=1)), tmp_path / "out")
    seen = []
    real = run.step

    def step(batches):
        seen.append((tmp_path / "out/training/curves.png").exists())
        return real(batches)

    run.step = step
    run.fit(2)
    assert seen == [False, True]


def test_batches_without_objects_are_told_once(tmp_path):
    run = Trainer(small_run(tmp_path), tmp_path / "out")
    real = run.loader.batches

    def empty(*arguments):
        for batch in real(*arguments):
            yield batch._replace(masks=[x[:0] for x in batch.masks], class_ids=[x[:0] for x in batch.class_ids])

    run.loader.batches = empty
    with pytest.warns(UserWarning, match="4 of 4 batches had no object to learn from") as told:
        run.fit()
    assert len(told) == 1


def test_tensorboard_gets_the_same_metrics(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            self.first = (folder, purge_step)

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def flush(self):
            pass

        def close(self):
            written.append(self.first)

    config = small_run(tmp_path, reports=ReportsConfig(log=2, evaluate=4, tensorboard=True))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"needs the library tensorboardX.*lucid-mlx\[tensorboard\]"):
        Trainer(config, tmp_path / "out")
    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = SummaryWriter
    module.__spec__ = types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    train(config, tmp_path / "out")
    assert {("loss", 2), ("loss", 4), ("learning_rate", 4), ("mIoU", 4)} <= set(written)
    assert written[-1] == (str(tmp_path / "out/training/tensorboard"), 1)
    assert replace(config.reports, tensorboard=False) == ReportsConfig(log=2, evaluate=4)
