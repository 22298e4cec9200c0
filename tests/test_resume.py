"""A run goes on from what its folder holds: from anywhere, with or without its TOML file, and never as another run."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import run_cli
from runs import labels, small_run, train

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.training import LargeScaleJitter, Trainer, read_config
from lucid_mlx.training.config import NetworkConfig, ReportsConfig
from lucid_mlx.training.monitor import Monitor
from lucid_mlx.training.optimizer import OptimizerConfig
from lucid_mlx.training.resume import config_of_run, keep_config, resumed_config
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.weights import write_checkpoint

TOML = """
steps = 2
batch_size = 2
workers = 0
[train]
images = "images"
annotations = "labels"
names = "names.txt"
[augmentation]
size = 32
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with labeled images, a TOML file and small weights; it is the current one."""
    monkeypatch.chdir(tmp_path)
    labels(tmp_path)
    first = Trainer(small_run(tmp_path / "first"), tmp_path / "first/out").model
    write_checkpoint(tmp_path / "small", first.config.to_dict(), named_parameters(first), {}, {})
    (tmp_path / "b.toml").write_text(TOML)
    return tmp_path


def begin(*options, code=0):
    return run_cli("train", "b.toml", "-o", "k1", "--weights", "small", *options, code=code).stderr


def go_on(*options, code=0):
    return run_cli("train", *options, "-o", "k1", "--resume", code=code).stderr


def test_the_readme_s_own_resume(folder):
    assert "starts from small" in begin("--steps", "1")
    shutil.rmtree("small")  # the network is in the folder
    told = go_on("b.toml")
    assert "goes on after step 1\n" in told
    assert "2 of 2 steps -> k1" in told
    assert lucid_mlx.load("k1").config.num_labels == 3


def test_the_configuration_may_be_left_out_also_from_another_folder(folder, monkeypatch):
    begin("--steps", "1")
    (folder / "b.toml").unlink()
    (folder / "elsewhere").mkdir()
    shutil.move("k1", "elsewhere/k2")
    monkeypatch.chdir(folder / "elsewhere")
    assert "2 of 2 steps -> k2" in run_cli("train", "-o", "k2", "--resume").stderr


def test_what_has_changed_is_told_and_kept(folder):
    begin()
    (folder / "b.toml").write_text(
        TOML.replace("steps = 2", "steps = 3").replace("size = 32", "size = 64") + "[optimizer]\nlearning_rate = 1e-5\n"
    )
    told = go_on("b.toml")
    assert "changed since: " in told
    for change in ("steps 2 -> 3", "augmentation.size 32 -> 64", "optimizer.learning_rate 0.0001 -> 1e-05"):
        assert change in told
    assert lucid_mlx.Segmenter("k1").image_config.size == (64, 64)
    assert config_of_run(folder / "k1/training").steps == 3
    assert config_of_run(folder / "k1/training").network.weights == "small"


def test_photos_that_were_moved_need_the_new_paths(folder):
    begin("--steps", "1")
    shutil.move("images", "moved")
    assert "name a TOML file with the new paths: lucid-mlx train CONFIG" in go_on(code=2)
    (folder / "b.toml").write_text(TOML.replace('"images"', '"moved"'))
    assert f"train.images '{folder}/images' -> '{folder}/moved'" in go_on("b.toml")


def test_a_finished_run_says_so(folder):
    begin()
    before = (folder / "k1/training/state.safetensors").read_bytes()
    assert "all 2 steps are done already; to go on, raise steps in b.toml and run this again" in go_on("b.toml")
    assert "raise steps in k1/training/config.json" in go_on()
    assert "raise --steps" in go_on("b.toml", "--steps", "1")
    assert (folder / "k1/training/state.safetensors").read_bytes() == before


def test_the_network_cannot_change(folder):
    begin("--steps", "1")
    assert "goes on with its own network, so [network] weights cannot become 'demo', it was 'small'" in go_on(
        "b.toml", "--weights", "demo", code=2
    )
    (folder / "b.toml").write_text(TOML + "[network.fields]\ndropout = 0.5\n")
    assert "[network] fields cannot become {'dropout': 0.5}, it was not set" in go_on("b.toml", code=2)
    (folder / "b.toml").write_text(TOML)
    (folder / "names.txt").write_text("other\nnames\nhere")
    assert "has other classes: " in go_on("b.toml", code=2)


def test_a_first_run_names_what_is_missing(folder):
    for options in (["b.toml"], ["b.toml", "--resume"], ["--resume"], []):
        told = run_cli("train", *options, "-o", "none", code=2).stderr
        assert any(word in told for word in ("--weights demo", "leave out --resume", "without --resume", "CONFIG"))
        assert not (folder / "none").exists()


def test_every_key_is_kept(tmp_path):
    config = small_run(
        tmp_path,
        augmentation=LargeScaleJitter(32, 0.8, 1.2),
        optimizer=OptimizerConfig(milestones=(0.5, 0.75), ema_decay=0.9),
        network=NetworkConfig(str(tmp_path), freeze_backbone=True, fields={"backbone_config": {"depths": (1, 2)}}),
    )
    keep_config(tmp_path, config)
    kept = config_of_run(tmp_path)
    assert kept == replace(config, network=replace(config.network, fields={"backbone_config": {"depths": [1, 2]}}))
    assert resumed_config(tmp_path, config)[1] == []
    assert read_config(tmp_path / "config.json") == kept


def test_relative_paths_are_kept_as_absolute_ones(tmp_path, monkeypatch):
    config = small_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    relative = replace(config, train=replace(config.train, images="images", annotations=config.train.annotations))
    keep_config(tmp_path, relative)
    assert Path(config_of_run(tmp_path).train.images) == tmp_path / "images"


def test_a_run_that_kept_no_configuration_goes_on_with_one(tmp_path):
    config = small_run(tmp_path)
    train(config, tmp_path / "out", 1)
    (tmp_path / "out/training/config.json").unlink()
    assert train(config, tmp_path / "out", resume=True).progress.step == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_exit_code_says_so(number, folder, monkeypatch):
    real = Trainer.step

    def step(self, batches):
        os.kill(os.getpid(), number)
        return real(self, batches)

    monkeypatch.setattr(Trainer, "step", step)
    told = begin(code=128 + number)
    assert told.count("stopping after this step") == 1
    assert "stopped at step 1; the state is saved; this continues: lucid-mlx train --output k1 --resume" in told
    monkeypatch.setattr(Trainer, "step", real)
    assert "2 of 2 steps" in go_on()


def test_a_second_signal_stops_at_once(folder, monkeypatch):
    def step(self, batches):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("not reached")

    monkeypatch.setattr(Trainer, "step", step)
    told = begin(code=130)
    assert "stopped at once; --resume goes on after step 0, whose state is saved" in told


def test_an_evaluation_does_not_hold_up_a_signal(tmp_path, monkeypatch):
    messages = []
    config = small_run(tmp_path, reports=ReportsConfig(log=1, save=100, evaluate=1))
    run = Trainer(config, tmp_path / "out", log=messages.append)

    def evaluate(monitor, step, segmenter):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not reached")

    monkeypatch.setattr(Monitor, "validate", evaluate)
    assert run.fit() is False
    assert run.stopped_by == signal.SIGTERM
    assert "stopped at step 1" in messages[-1]
    assert Trainer(config, tmp_path / "out", resume=True).progress.step == 1


def test_a_file_of_a_run_is_read_like_any_configuration(tmp_path):
    keep_config(tmp_path, small_run(tmp_path))
    table = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**table, "stepz": 3}))
    with pytest.raises(InputError, match=r"config.json: unknown key 'stepz'; did you mean 'steps'"):
        config_of_run(tmp_path)
