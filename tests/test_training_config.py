"""A run's TOML file: what it says is what runs, and what is wrong is told by its line."""

import numpy as np
import pytest
from helpers import run_cli, small_model
from mlx.utils import tree_map
from runs import FIELDS, labels

from lucid_mlx import InputError
from lucid_mlx.training import LargeScaleJitter, ScaleAndCrop, read_config
from lucid_mlx.training.optimizer import Optimizer, OptimizerConfig, without_decay
from lucid_mlx.utils.parameters import named_parameters

GOOD = """
name = "maps"
steps = 3
batch_size = 2
workers = 0

[train]
images = "images"
annotations = "labels"
names = "names.txt"

[augmentation]
kind = "jitter"
size = 32

[optimizer]
learning_rate = 1e-3
milestones = [0.5, 0.75]

[network.fields]
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels(tmp_path)
    backbone = "\n".join(f"{key} = {value!r}" for key, value in FIELDS["backbone_config"].items())
    fields = "\n".join(f"{key} = {value!r}" for key, value in FIELDS.items() if key != "backbone_config")
    path = tmp_path / "run.toml"
    path.write_text(f"{GOOD}{fields}\n[network.fields.backbone_config]\n{backbone}\n")
    return path


def changed(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def test_a_file_says_what_runs(config):
    read = read_config(config)
    assert (read.steps, read.batch_size, read.train.names) == (3, 2, "names.txt")
    assert read.augmentation == LargeScaleJitter(32)
    assert read.optimizer == OptimizerConfig(1e-3, milestones=(0.5, 0.75))
    assert read.network.fields == FIELDS
    assert read.sample_size == "32x32"


def test_the_other_augmentation_has_other_settings(config):
    changed(config, 'kind = "jitter"\nsize = 32', 'kind = "crop"\ncrop = [32, 64]\nshortest = [40, 48]')
    read = read_config(config)
    assert read.augmentation == ScaleAndCrop(crop=(32, 64), shortest=(40, 48))
    assert read.sample_size == "64x32"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("steps = 3", "steps = 3\nbatchsize = 4", "line 4: there is no setting 'batchsize'; did you mean 'batch_size'"),
        ("steps = 3", 'steps = "3"', r"line 3: steps must be a whole number, got '3'"),
        ("steps = 3", "steps = 0", r"line 3: steps must be at least 1, got 0"),
        ("steps = 3", "", r"the setting 'steps' is missing"),
        ("steps = 3", "steps = 3 4", r"no TOML: .*line 3"),
        ('annotations = "labels"', "", r"the setting 'annotations' is missing; it belongs to \[train\]"),
        ("learning_rate = 1e-3", "learning_rat = 1e-3", r"line 17: .* did you mean 'learning_rate'"),
        ("learning_rate = 1e-3", "learning_rate = -1", r"line 17: learning_rate must be above 0"),
        ("[0.5, 0.75]", "[0.75, 0.5]", r"line 18: milestones are rising"),
        ("[0.5, 0.75]", '["a"]', r"line 18: milestones must be a list of numbers"),
        ("learning_rate = 1e-3", 'schedule = "linear"', r"line 17: schedule must be one of step, poly, cosine"),
        ('kind = "jitter"', 'kind = "mosaic"', r"line 13: kind must be one of jitter, crop, got 'mosaic'"),
        ("size = 32", "size = 32\nlongest = 3", r"line 15: there is no setting 'longest'"),
        ('[optimizer]', 'optimizer = 3\n[other]', r"line 16: optimizer must be a table|there is no setting"),
        ("steps = 3", "steps = 3\nreports = 4", r"line 4: reports must be a table: write it as \[reports\]"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_line(config, old, new, told):
    with pytest.raises(InputError, match=told):
        read_config(changed(config, old, new))


def test_the_command_trains_stops_resumes_and_says_where(config, tmp_path):
    result = run_cli("train", config, "--output", "out", "--steps", "2")
    assert "2 of 3 steps so far -> out" in result.stderr
    assert "from random weights" in result.stderr
    result = run_cli("train", config, "-o", "out", "--resume")
    assert "resumed at step 2" in result.stderr
    assert "3 of 3 steps -> out" in result.stderr
    run_cli("segment", "images/0.png", "--weights", "out", "-o", "seen.png")
    assert (tmp_path / "seen.png").exists()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('names = "names.txt"', "", "name their classes"),
        ('images = "images"', 'images = "nowhere"', "nowhere"),
        ("num_queries = 6", "num_querie = 6", "num_querie"),
        ("feature_size = 32", "feature_size = 33", "feature_size=33"),
        ("[network.fields]", '[network]\nweights = "nothing"\n[network.fields]', "nothing does not exist"),
    ],
)
def test_the_command_tells_what_is_wrong_and_writes_nothing(config, tmp_path, old, new, told):
    assert told in run_cli("train", changed(config, old, new), "-o", "out", code=2).output
    assert not (tmp_path / "out").exists()


def test_help_shows_examples():
    assert "lucid-mlx train examples/train_demo.toml" in run_cli("train", "--help").output


def test_the_learning_rate_is_that_of_detectron2():
    step = OptimizerConfig(milestones=(0.9, 0.96))
    assert [step.factor(n, 100) for n in (0, 89, 90, 95, 96)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    poly = OptimizerConfig(schedule="poly", warm_up=10)
    # WarmupPolyLR: (0.001 * (1 - 4 / 10) + 4 / 10) * (1 - 4 / 100) ** 0.9; (1 - 0.5) ** 0.9
    assert [poly.factor(n, 100) for n in (0, 4, 50)] == pytest.approx([0.001, 0.3861491, 0.5358867], rel=1e-6)
    cosine = OptimizerConfig(schedule="cosine")
    assert [cosine.factor(n, 100) for n in (0, 25, 50, 100)] == pytest.approx([1, 0.8535534, 0.5, 0], abs=1e-7)


def test_norms_embeddings_and_bias_tables_do_not_decay():
    names = without_decay(small_model())
    assert {
        "transformer_decoder.query_features",
        "transformer_decoder.query_positions",
        "transformer_decoder.level_embedding",
        "backbone.stages.0.blocks.0.attention.relative_position_bias_table",
        "backbone.stages.0.blocks.0.norm1.weight",
        "backbone.norms.3.bias",
        "pixel_decoder.output.norm.weight",
        "transformer_decoder.layers.0.cross_attention_norm.bias",
    } <= names
    # As in the original, where the pixel decoder's level embedding and all biases are plain parameters.
    assert not names & {
        "pixel_decoder.level_embedding",
        "transformer_decoder.class_head.bias",
        "backbone.stages.0.blocks.0.linear1.weight",
    }
    assert all("norm" in name or "embedding" in name or "query" in name or "table" in name for name in names)


def test_each_group_has_its_learning_rate_and_decay():
    model = small_model()
    optimizer = Optimizer(model, OptimizerConfig(1e-2, backbone_multiplier=0.5, weight_decay=0.1), 10)
    before = named_parameters(model)
    optimizer.update(_zeros(model), 0)
    after = named_parameters(model)
    still = without_decay(model)
    for name, array in after.items():
        kept = 1.0 if name in still else 1.0 - 1e-2 * 0.1 * (0.5 if name.startswith("backbone.") else 1.0)
        assert np.allclose(array, before[name] * kept, rtol=1e-6, atol=0), name


def _zeros(model):
    return tree_map(lambda x: x * 0, model.trainable_parameters())


def test_a_dataset_without_a_name_has_the_file_s(tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD.replace('name = "maps"\n', ""))
    assert read_config(tmp_path / "mine.toml").name == "mine"
