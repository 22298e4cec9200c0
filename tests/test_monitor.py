"""Evaluations in a run: the best weights are kept, and a run that gets no better stops."""

import json
import warnings
from dataclasses import replace

import mlx.core as mx
import pytest
from runs import small_run, train

import lucid_mlx
import lucid_mlx.evaluation
from lucid_mlx.evaluation import Evaluation
from lucid_mlx.training import Trainer
from lucid_mlx.training.config import ReportsConfig
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.validation import FieldError


@pytest.fixture
def scores(monkeypatch):
    """What each evaluation finds, in turn."""
    values = []

    def evaluate(segmenter, dataset, *, batch_size):
        return Evaluation("semantic", 4, {"mIoU": values.pop(0)}, {})

    monkeypatch.setattr(lucid_mlx.evaluation, "evaluate", evaluate)
    return values


def reports(**changes):
    return ReportsConfig(log=1, save=100, pictures=0, evaluate=1, **changes)


def test_the_best_weights_are_a_model_beside_the_last(tmp_path, scores):
    scores += [10.0, 30.0, 20.0, 25.0]
    config = small_run(tmp_path, reports=reports())
    run = Trainer(config, tmp_path / "out")
    run.fit(2)
    after_two = {name: mx.array(x) for name, x in run.ema.arrays.items()}
    assert run.fit()
    best = named_parameters(lucid_mlx.load(tmp_path / "out/best"))
    assert all(mx.array_equal(best[name], after_two[name]) for name in after_two)
    last = named_parameters(lucid_mlx.load(tmp_path / "out"))
    assert not all(mx.array_equal(last[name], best[name]) for name in best)


def test_a_run_that_goes_on_knows_the_best_so_far(tmp_path, scores):
    scores += [30.0, 20.0, 40.0, 35.0]
    config = small_run(tmp_path, reports=reports())
    train(config, tmp_path / "out", 1)
    first = mx.load(str(tmp_path / "out/best/model.safetensors"))
    train(config, tmp_path / "out", 2, resume=True)
    second = mx.load(str(tmp_path / "out/best/model.safetensors"))
    assert all(mx.array_equal(second[name], first[name]) for name in first)
    train(config, tmp_path / "out", 3, resume=True)
    third = mx.load(str(tmp_path / "out/best/model.safetensors"))
    assert not all(mx.array_equal(third[name], first[name]) for name in first)


def test_nothing_is_kept_if_nobody_wants_it_or_nothing_was_measured(tmp_path, scores):
    config = small_run(tmp_path, reports=reports())
    scores += [10.0] * 4
    train(replace(config, reports=reports(keep_best=False)), tmp_path / "unwanted")
    assert not (tmp_path / "unwanted/best").exists()
    scores += [None] * 4
    train(config, tmp_path / "unknown")
    assert not (tmp_path / "unknown/best").exists()


def test_a_run_that_gets_no_better_stops_and_is_not_finished(tmp_path, scores):
    scores += [10.0, 30.0, 20.0, 30.0, 50.0, 50.0]
    told = []
    run = Trainer(small_run(tmp_path, steps=9, reports=reports(patience=2)), tmp_path / "out", log=told.append)
    assert run.fit() is False
    assert run.stopped_by is None
    assert run.progress.step == 5  # the step after the evaluation that decides
    assert (
        f"the last 2 evaluations have no better mIoU than 30.00, whose weights are in {tmp_path / 'out/best'}" in told
    )
    assert "stopped at step 5" in told[-1]
    lines = [json.loads(line) for line in (tmp_path / "out/training/metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if "evaluation" in x] == [1, 2, 3, 4]


def test_patience_needs_evaluations():
    with pytest.raises(FieldError, match="patience counts evaluations: set evaluate"):
        ReportsConfig(patience=3)


def test_batches_without_objects_are_told_once(tmp_path, scores):
    from lucid_mlx.training.monitor import Monitor

    run = Trainer(small_run(tmp_path), tmp_path / "out")
    monitor = Monitor(run.config, run.folder, None, print, None, 0)
    with pytest.warns(UserWarning, match="15 of 20 batches had no object"):
        monitor.warn_of_empty_batches(15, 20, False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.warn_of_empty_batches(16, 21, True)
        Monitor(run.config, run.folder, None, print, None, 0).warn_of_empty_batches(10, 20, True)
