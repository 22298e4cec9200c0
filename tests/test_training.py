"""A run learns, can be resumed, and leaves no incomplete files, however it ends."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from labeled import NAMES
from runs import FIELDS, small_run, train

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.training import Trainer, trainer
from lucid_mlx.training.config import NetworkConfig, ReportsConfig
from lucid_mlx.training.optimizer import OptimizerConfig
from lucid_mlx.training.state import write_arrays
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import write_checkpoint

STATE = "training/state.safetensors"


def lines(output):
    return [json.loads(line) for line in (output / "training/metrics.jsonl").read_text().splitlines()]


def test_the_loss_falls_and_the_folder_is_a_model(tmp_path):
    config = small_run(tmp_path, steps=24, optimizer=OptimizerConfig(1e-2, 1.0, max_grad_norm=1.0, schedule="poly"))
    run = train(config, tmp_path / "out")
    logged = lines(tmp_path / "out")
    assert [line["step"] for line in logged] == [*range(1, 25)]
    assert np.mean([x["loss"] for x in logged[-3:]]) < 0.8 * np.mean([x["loss"] for x in logged[:3]])
    assert logged[0]["learning_rate"] == 1e-2
    segmenter = lucid_mlx.Segmenter(tmp_path / "out", dtype="float32")
    assert (segmenter.task, tuple(segmenter.labels.values())) == ("semantic", NAMES)
    assert segmenter.image_config.size == (32, 32)
    loaded, own = named_parameters(segmenter.model), named_parameters(run.model)
    assert all(mx.array_equal(loaded[name], own[name]) for name in own)
    assert (tmp_path / "out/training/curves.png").read_bytes().startswith(b"\x89PNG")
    assert [x.name for x in (tmp_path / "out/training/predictions").iterdir()].count("0000004-0.png") == 1


def test_the_saved_weights_are_the_average(tmp_path):
    run = train(small_run(tmp_path, optimizer=OptimizerConfig(1e-3, 1.0, ema_decay=0.5)), tmp_path / "out", 2)
    loaded, own = named_parameters(lucid_mlx.load(tmp_path / "out")), named_parameters(run.model)
    assert run.ema is not None
    assert all(mx.array_equal(loaded[name], run.ema.arrays[name]) for name in own)
    assert not mx.array_equal(*(x["transformer_decoder.class_head.weight"] for x in (loaded, own)))


@pytest.mark.parametrize(
    "changes",
    [
        {"fields": {"dropout": 0.1, "backbone_config": {**FIELDS["backbone_config"], "drop_path_rate": 0.2}}},
        {"gradient_accumulation_steps": 2, "optimizer": OptimizerConfig(1e-3, schedule="cosine", warmup_steps=3)},
        {"dtype": "bfloat16", "network": NetworkConfig(freeze_backbone=True, fields=FIELDS)},
    ],
    ids=["dropout", "gradient accumulation", "half precision"],
)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, changes):
    config = small_run(tmp_path, **changes)
    train(config, tmp_path / "whole")
    train(config, tmp_path / "resumed", 1)
    train(config, tmp_path / "resumed", 3, resume=True)
    run = train(config, tmp_path / "resumed", resume=True)
    assert run.progress.step == 4
    for name in (STATE, "model.safetensors"):
        (whole, metadata), (resumed, other_metadata) = (
            mx.load(str(tmp_path / folder / name), return_metadata=True) for folder in ("whole", "resumed")
        )
        assert metadata == other_metadata
        assert whole.keys() == resumed.keys()
        assert all(mx.array_equal(whole[key], resumed[key]) for key in whole)
    measured = ("images_per_second", "memory")
    logged = [
        [{key: value for key, value in line.items() if key not in measured} for line in lines(tmp_path / folder)]
        for folder in ("whole", "resumed")
    ]
    assert logged[0] == logged[1]


def test_workers_change_no_bit(tmp_path):
    config = small_run(tmp_path)
    for count in (0, 2):
        train(replace(config, workers=count), tmp_path / str(count))
    without, with_workers = (mx.load(str(tmp_path / str(count) / STATE)) for count in (0, 2))
    assert without.keys() == with_workers.keys()
    assert all(mx.array_equal(without[key], with_workers[key]) for key in without)


def test_lines_of_steps_after_the_saved_state_are_removed(tmp_path):
    config = small_run(tmp_path, reports=ReportsConfig(log=1, save=100))
    train(config, tmp_path / "out", 2)
    with (tmp_path / "out/training/metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "loss": 7}\n{"step": 4, "lo')
    train(config, tmp_path / "out", resume=True)
    assert [line["step"] for line in lines(tmp_path / "out")] == [1, 2, 3, 4]
    assert lines(tmp_path / "out")[2]["loss"] != 7


# Trains two steps, begins to write the state of the third, and is killed.
KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import lucid_mlx
import mlx.core as mx
from runs import small_run, train
folder = Path(sys.argv[2])
config = small_run(folder)
run = train(config, folder / "out", 2)
save = mx.save_safetensors
def killed(path, arrays, metadata):
    save(path, dict(list(arrays.items())[:3]), metadata)
    os.kill(os.getpid(), signal.SIGKILL)
mx.save_safetensors = killed
run.fit(3)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_the_last_state(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, Path(__file__).parent, tmp_path], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    training = tmp_path / "out/training"
    assert len(list(training.glob(".lucid-mlx-*"))) == 1
    config = small_run(tmp_path / "again")
    config = replace(config, train=small_run(tmp_path / "same").train)
    run = Trainer(config, tmp_path / "out", resume=True)
    assert run.progress.step == 2
    run.fit(3)
    assert not list(training.glob(".lucid-mlx-*"))
    assert lucid_mlx.load(tmp_path / "out").parameter_size


def test_a_full_disk_leaves_the_last_state(tmp_path, monkeypatch):
    run = train(small_run(tmp_path), tmp_path / "out", 2)
    before = (tmp_path / "out" / STATE).read_bytes()
    save = mx.save_safetensors

    def truncated(path, arrays, metadata):
        save(path, arrays, metadata)
        os.truncate(path, 1000)

    monkeypatch.setattr(mx, "save_safetensors", truncated)
    with pytest.raises(InputError, match="disk full"):
        run.fit()
    assert (tmp_path / "out" / STATE).read_bytes() == before


def test_a_loss_that_is_not_finite_stops_with_the_images_and_a_state(tmp_path, monkeypatch):
    config = small_run(tmp_path, reports=ReportsConfig(log=1, save=100))
    real = trainer.loss_and_gradients
    calls = []

    def broken(*arguments, **options):
        losses, gradients = real(*arguments, **options)
        calls.append(losses)
        return (losses if len(calls) == 1 else {name: x * float("nan") for name, x in losses.items()}), gradients

    monkeypatch.setattr(trainer, "loss_and_gradients", broken)
    run = Trainer(config, tmp_path / "out")
    with pytest.raises(InputError, match=r"step 2 has a loss of nan .* images: .*/\d.png, .*/\d.png"):
        run.fit()
    arrays, metadata = mx.load(str(tmp_path / "out" / STATE), return_metadata=True)
    assert metadata["step"] == "1"
    assert all(mx.isfinite(x).all() for x in arrays.values())


def test_ctrl_c_saves(tmp_path):
    messages, handler = [], signal.getsignal(signal.SIGINT)
    run = Trainer(small_run(tmp_path, reports=ReportsConfig(save=100)), tmp_path / "out", log=messages.append)
    real = run.step

    def step(batches):
        os.kill(os.getpid(), signal.SIGINT)
        return real(batches)

    run.step = step
    assert run.fit() is False
    assert mx.load(str(tmp_path / "out" / STATE), return_metadata=True)[1]["step"] == "1"
    assert "stopped at step 1" in messages[-1]
    assert signal.getsignal(signal.SIGINT) is handler


def checkpoint(tmp_path, names):
    """A checkpoint of the model with other class names."""
    run = Trainer(small_run(tmp_path / "first"), tmp_path / "first/out")
    run.model.config.id2label = dict(enumerate(names))
    return write_checkpoint(tmp_path / "weights", run.model.config.to_dict(), named_parameters(run.model), {}, {})


def test_other_classes_start_with_a_new_class_head_and_nothing_else(tmp_path):
    weights, messages = checkpoint(tmp_path, ("a", "b", "c")), []
    config = small_run(tmp_path / "second", seed=1, network=NetworkConfig(str(weights)))
    run = Trainer(config, tmp_path / "out", log=messages.append)
    assert "the class head starts from random weights" in messages[-1]
    before, now = named_parameters(lucid_mlx.load(weights)), named_parameters(run.model)
    changed = {name for name in now if not mx.array_equal(now[name], before[name])}
    assert changed == {"transformer_decoder.class_head.weight"}
    assert run.model.config.id2label == dict(enumerate(NAMES))


def test_the_same_classes_keep_their_head(tmp_path):
    weights, messages = checkpoint(tmp_path, NAMES), []
    config = small_run(tmp_path / "second", seed=1, network=NetworkConfig(str(weights)))
    run = Trainer(config, tmp_path / "out", log=messages.append)
    assert messages[-1] == f"starts from {weights}"
    before, now = named_parameters(lucid_mlx.load(weights)), named_parameters(run.model)
    assert all(mx.array_equal(now[name], before[name]) for name in now)


def test_a_config_that_the_weights_do_not_fit_is_an_error(tmp_path):
    weights = checkpoint(tmp_path, NAMES)
    config = small_run(tmp_path / "second", network=NetworkConfig(str(weights), fields={"num_queries": 7}))
    with pytest.raises(InputError, match=r"does not fit \[network.fields\]: .*query_features"):
        Trainer(config, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="output must be the path"):
        Trainer(config, 3)


def test_a_frozen_backbone_stays(tmp_path):
    config = small_run(tmp_path, network=NetworkConfig(freeze_backbone=True, fields=FIELDS))
    run = Trainer(config, tmp_path / "out")
    before = {name: mx.array(x) for name, x in named_parameters(run.model).items()}
    assert not run.model.backbone.training
    run.fit(2)
    changed = {name.split(".")[0] for name, x in named_parameters(run.model).items() if (x != before[name]).any()}
    assert changed == {"pixel_decoder", "transformer_decoder"}


def test_gradient_checkpointing_is_switched_on(tmp_path):
    config = small_run(tmp_path)
    run = train(replace(config, network=replace(config.network, gradient_checkpointing=True)), tmp_path / "out", 1)
    assert all(hasattr(layer, "is_checkpointed") for layer in run.model.transformer_decoder.layers)
    assert lines(tmp_path / "out")[0]["loss"] > 0


def test_images_without_masks_can_be_trained_on(tmp_path):
    config = small_run(tmp_path)
    run = Trainer(config, tmp_path / "out")
    with closing(run.loader.batches()) as batches:
        batch = next(batches)
    empty = batch._replace(masks=[x[:0] for x in batch.masks], class_ids=[x[:0] for x in batch.class_ids])
    losses, grad_norm = run.step(iter([empty]))
    assert losses["loss_mask"] == 0.0
    assert grad_norm > 0.0


def test_a_run_is_not_overwritten_and_not_resumed_as_another(tmp_path):
    config = small_run(tmp_path)
    train(config, tmp_path / "out", 1)
    with pytest.raises(InputError, match="--resume"):
        Trainer(config, tmp_path / "out")
    with pytest.raises(InputError, match="ema_decay"):
        Trainer(replace(config, optimizer=OptimizerConfig()), tmp_path / "out", resume=True)
    frozen = replace(config, network=replace(config.network, freeze_backbone=True))
    with pytest.raises(InputError, match="frozen"):
        Trainer(frozen, tmp_path / "out", resume=True)
    with pytest.raises(InputError, match="does not exist; expected the state of a run; without --resume"):
        Trainer(config, tmp_path / "none", resume=True)
    progress = {"step": "1", "epoch": "0", "sample_in_epoch": "0"}
    write_arrays(tmp_path / "out" / STATE, {"model.x": mx.zeros(3)}, progress)
    with pytest.raises(InputError, match="another configuration"):
        Trainer(config, tmp_path / "out", resume=True)


def test_a_folder_is_for_one_process_at_a_time(tmp_path):
    config = small_run(tmp_path)
    run = Trainer(config, tmp_path / "out")
    with run.folder.locked(), pytest.raises(InputError, match="another process is training"):
        Trainer(config, tmp_path / "out", resume=True).fit(1)
    assert run.fit(1) is False


def test_a_damaged_image_is_reported_before_anything_is_written(tmp_path):
    config = replace(small_run(tmp_path), check=True)
    (tmp_path / "images/1.png").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"1 problem\n.*1\.png"):
        Trainer(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_evaluation_is_a_line_of_the_metrics(tmp_path):
    config = small_run(tmp_path, reports=ReportsConfig(log=4, evaluate=2))
    run = train(config, tmp_path / "out", 2)
    last, line = lines(tmp_path / "out")
    assert last["step"] == line["step"] == 2  # the last step is logged, whatever its number
    assert last["loss"] > 0
    assert 0 <= line["evaluation"]["mIoU"] <= 100
    assert run.model.training
    assert run.ema is not None
    assert not mx.array_equal(
        run.model.transformer_decoder.query_features, run.ema.arrays["transformer_decoder.query_features"]
    )
