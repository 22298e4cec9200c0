"""The TOML file of a run: its values reach the run, and errors name its lines."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from helpers import run_cli, small_model
from mlx.utils import tree_map
from runs import FIELDS, labels

from lucid_mlx import InputError
from lucid_mlx.training import LargeScaleJitter, ResizeAndCrop, read_config
from lucid_mlx.training.optimizer import Optimizer, OptimizerConfig, without_decay
from lucid_mlx.training.settings import Settings
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.validation import FieldError

GOOD = """
dataset_name = "maps"
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


def test_the_values_of_the_file_are_read(config):
    read = read_config(config)
    assert (read.steps, read.batch_size, read.train.names) == (3, 2, "names.txt")
    assert read.augmentation == LargeScaleJitter(32)
    assert read.optimizer == OptimizerConfig(1e-3, milestones=(0.5, 0.75))
    assert read.network.fields == FIELDS
    assert read.sample_size == "32x32"


def test_the_other_augmentation_has_other_keys(config):
    changed(config, '"jitter"\nsize = 32', '"crop"\ncrop_size = [32, 64]\nshortest_edge = [40, 48]')
    read = read_config(config)
    assert read.augmentation == ResizeAndCrop(crop_size=(32, 64), shortest_edge=(40, 48))
    assert read.sample_size == "64x32"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 3", "steps = 3\nbatchsize = 4", "line 4: unknown key 'batchsize'; did you mean 'batch_size'"),
        ("steps = 3", 'steps = "3"', r"line 3: steps must be a whole number, got '3'"),
        ("steps = 3", "steps = 10_000_000_000", r"line 3: steps must be at most 1000000000"),
        ("batch_size = 2", "batch_size = 1025", r"line 4: batch_size must be at most 1024, got 1025"),
        ("size = 32", "size = 100_000", r"line 14: size must be at most 8192, got 100000"),
        ("1e-3", "nan", r"line 17: learning_rate must be a number, got nan"),
        ("1e-3", "1" + "0" * 400, r"line 17: learning_rate must be a number, got 1000"),
        ("steps = 3", "steps = " + "9" * 450, r"line 3: steps must be at most"),
        ("steps = 3", "x = " + "[" * 450, r"nests too deeply|not TOML"),
        ("steps = 3", "x" + ".a" * 200 + " = 3", r"nests too deeply; expected at most 8"),
        ("steps = 3", ".".join("a" * 5000) + " = 1", r"run.toml has keys of very many parts"),
        ("steps = 3", "#" * 400 + "\n" + ("#" * 400 + "\n") * 400, r"run.toml has \d+ bytes; expected a TOML"),
        ("steps = 3", "steps = 0", r"line 3: steps must be at least 1, got 0"),
        ("steps = 3", "", r"run.toml: the key 'steps' is missing in the top level"),
        ("steps = 3", "steps = 3 4", r"not TOML: .*line 3"),
        ('annotations = "labels"', "", r"line 7: the key 'annotations' is missing in \[train\]"),
        ("learning_rate = 1e-3", "learning_rat = 1e-3", r"line 17: .* did you mean 'learning_rate'"),
        ("learning_rate = 1e-3", "learning_rate = 0", r"line 17: learning_rate must be above 0"),
        ("[0.5, 0.75]", "[0.75, 0.5]", r"line 18: milestones must be rising"),
        ("[0.5, 0.75]", '["a"]', r"line 18: milestones must be a list of numbers"),
        ("learning_rate = 1e-3", 'schedule = "linear"', r"line 17: schedule must be one of step, poly, cosine"),
        ('"jitter"', '"mosaic"', r"line 13: kind must be one of jitter, crop"),
        ('"jitter"', '["mosaic"]', r"line 13: kind must be one of jitter, crop"),
        ("size = 32", "size = 32\nlongest_edge = 3", r"line 15: unknown key 'longest_edge'"),
        ("[optimizer]", "[optimiser]", r"line 16: unknown key 'optimiser'; did you mean 'optimizer'"),
        ("steps = 3", "steps = 3\nreports = 4", r"line 4: reports must be a table: write \[reports\]"),
    ],
)  # fmt: skip
def test_errors_name_the_line(config, old, new, message):
    with pytest.raises(InputError, match=message):
        read_config(changed(config, old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # Two fields that contradict each other, and one that contradicts the default of another.
        ("size = 32\n\n", "min_scale = 2.0\nmax_scale = 0.5\n", "lines 14 and 15: min_scale must not be above"),
        ("size = 32\n\n", "max_scale = 0.5\nmin_scale = 2.0\n", "lines 14 and 15: min_scale must not be above"),
        ("size = 32\n\n", "min_scale = 3.0\n", "line 14: min_scale must not be above max_scale, got 3.0 and 2.0"),
        ("size = 32\n\n", "max_scale = 0.05\n", "line 14: min_scale must not be above max_scale, got 0.1 and 0.05"),
        # Values out of range; the words of the message are keys of other lines.
        ("size = 32\n\n", "max_scale = 1\nmin_scale = 0\n", "line 15: min_scale must be above 0, got 0"),
        ('"labels"', '"labels"\nlimit = 0', "line 10: limit must be at least 1, got 0"),
        ("1e-3", "1e-3\nema_decay = 1.0", "line 18: ema_decay must be below 1"),
        # Nested tables, whose keys other tables have too.
        ("[network.fields]", "[network]\nsize = 3\n[network.fields]", "line 21: size must be a string or None, got 3"),
        ("[network.fields]", "[network]\nweight = 1\n[network.fields]", "line 21: unknown key 'weight'; did you mean"),
        ("[network.fields]", "[ reports ]\n log=0\n[network.fields]", "line 21: log must be at least 1, got 0"),
        ("steps = 3", "steps = 3\nreports.log = 0", "line 4: log must be at least 1, got 0"),
        ("steps = 3", "steps = 3\nreports = { log = 0 }", "line 4: log must be at least 1, got 0"),
        # A key that lacks a table.
        ("[network.fields]", "[reports]\nlog = 1\nevaluate = 5\n[network.fields]", "line 22: evaluate needs"),
    ],
)  # fmt: skip
def test_errors_name_the_lines_of_the_fields(config, old, new, message):
    with pytest.raises(InputError) as raised:
        read_config(changed(config, old, new))
    assert f"run.toml, {message}" in str(raised.value)


@dataclass(frozen=True)
class Table:
    first: int
    second: int = 0

    def __post_init__(self) -> None:
        raise (
            InputError("the first words of this are no names of fields") if self.second == 0 else FieldError("", "none")
        )


@pytest.mark.parametrize("second", [0, 1])
def test_an_error_without_a_field_of_the_file_names_the_line_of_the_table(tmp_path, second):
    (tmp_path / "a.toml").write_text(f"[table]\nthe = 3\n\n[other]\nfirst = 1\nsecond = {second}\n")
    settings = Settings(tmp_path / "a.toml")
    with pytest.raises(InputError, match=r"a\.toml, line 4: "):
        settings.build(Table, settings.table["other"], "other")
    with pytest.raises(InputError, match=r"a\.toml: "):
        settings.build(Table, settings.table["other"])


def test_a_field_error_survives_the_way_to_another_process():
    error = pickle.loads(pickle.dumps(FieldError("too small", "size", "scale")))
    assert (str(error), error.fields) == ("too small", ("size", "scale"))


def test_the_command_trains_stops_resumes_and_says_where(config, tmp_path):
    result = run_cli("train", config, "--output", "out", "--steps", "2")
    assert "2 of 3 steps so far -> out" in result.stderr
    assert "from random weights" in result.stderr
    result = run_cli("train", config, "-o", "out", "--resume")
    assert "goes on after step 2" in result.stderr
    assert "3 of 3 steps -> out" in result.stderr
    assert "all 3 steps are done already; to go on, raise steps in" in run_cli("train", "-o", "out", "--resume").stderr
    run_cli("segment", "images/0.png", "--weights", "out", "-o", "seen.png")
    assert (tmp_path / "seen.png").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('names = "names.txt"', "", "give class names"),
        ('images = "images"', 'images = "nowhere"', "nowhere"),
        ("num_queries = 6", "num_querie = 6", "num_querie"),
        ("feature_size = 32", "feature_size = 33", "feature_size=33"),
        ("[network.fields]", '[network]\nweights = "nothing"\n[network.fields]', "nothing does not exist"),
    ],
)
def test_the_command_reports_errors_and_writes_nothing(config, tmp_path, old, new, message):
    assert message in run_cli("train", changed(config, old, new), "-o", "out", code=2).output
    assert not (tmp_path / "out").exists()


def test_help_shows_examples():
    assert "lucid-mlx train my.toml" in run_cli("train", "--help").output


def test_the_learning_rate_is_that_of_detectron2():
    steps = OptimizerConfig(milestones=(0.9, 0.96))
    assert [steps.factor(n, 100) for n in (0, 89, 90, 95, 96)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    poly = OptimizerConfig(schedule="poly", warmup_steps=10)
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
    no_decay = without_decay(model)
    for name, array in after.items():
        kept = 1.0 if name in no_decay else 1.0 - 1e-2 * 0.1 * (0.5 if name.startswith("backbone.") else 1.0)
        assert np.allclose(array, before[name] * kept, rtol=1e-6, atol=0), name


def _zeros(model):
    return tree_map(lambda x: x * 0, model.trainable_parameters())


def test_a_dataset_without_a_name_has_that_of_the_file(tmp_path):
    (tmp_path / "mine.toml").write_text(GOOD.replace('dataset_name = "maps"\n', ""))
    assert read_config(tmp_path / "mine.toml").dataset_name == "mine"


@pytest.mark.parametrize(
    "path", [None, 3, b"run.toml", "a\0.toml", "\ud800.toml", "~nobody-of-that-name/a.toml", "x" * 5000]
)
def test_what_is_no_path_is_reported(path):
    with pytest.raises(InputError, match="path must be the path of a file"):
        read_config(path)
    with pytest.raises(InputError, match="is a pipe or a device, not a file; expected a TOML file"):
        read_config("/dev/null")


@pytest.mark.parametrize("build", [OptimizerConfig, LargeScaleJitter, ResizeAndCrop])
def test_values_of_wrong_types_are_told_in_python_too(build):
    for name in build.__dataclass_fields__:
        for value in (10**400, float("nan"), [[]], object(), "\ud800"):
            with pytest.raises(FieldError, match=f"{name} must be"):
                build(**{name: value})
