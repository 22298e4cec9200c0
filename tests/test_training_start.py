"""What a run starts from: a pretrained backbone, or a model of the caller's; and a look at it before it begins."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from helpers import run_cli, small_model
from runs import FIELDS, small_run
from test_backbone_files import BASIC, CASES, classifier, written

import lucid_mlx
from lucid_mlx import ImageConfig, InputError
from lucid_mlx.training import Trainer
from lucid_mlx.training.config import NetworkConfig
from lucid_mlx.training.dry_run import dry_run
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.validation import FieldError

HEADS = {name: value for name, value in FIELDS.items() if name != "backbone_config"}


@pytest.fixture
def swin(tmp_path):
    """A folder with a Swin of Hugging Face, and its arrays by our names."""
    arrays, wanted = classifier("hugging face's swin, saved")
    (tmp_path / "swin").mkdir()
    written(arrays, tmp_path / "swin/model.safetensors")
    return tmp_path / "swin", wanted


@pytest.fixture
def base(tmp_path):
    """A run without a network of its own."""
    return small_run(tmp_path, network=NetworkConfig())


def from_backbone(base, backbone, **changes):
    return replace(base, network=NetworkConfig(backbone_weights=str(backbone), fields={**HEADS, **changes}))


def backbone_arrays(model):
    return {name: np.array(x) for name, x in named_parameters(model).items() if name.startswith("backbone.")}


def test_a_run_starts_from_a_backbone_of_its_own_shape_and_resumes_without_the_file(swin, base, tmp_path):
    folder, wanted = swin
    told = []
    run = Trainer(from_backbone(base, folder), tmp_path / "out", log=told.append)
    assert run.model.config.backbone_config["embed_dim"] == 8
    got = backbone_arrays(run.model)
    assert all(np.array_equal(got[name], array) for name, array in wanted.items())
    assert any(f"starts from the backbone of {folder}" in line for line in told)
    run.fit(1)
    (folder / "model.safetensors").unlink()
    resumed = Trainer(from_backbone(base, folder), tmp_path / "out", resume=True)
    assert resumed.progress.step == 1
    assert lucid_mlx.load(tmp_path / "out").provenance.metadata["source"] == f"the backbone of {folder}"


def test_the_normalization_follows_the_backbone_and_a_guess_is_told(swin, base, tmp_path):
    folder, _ = swin
    told = []
    run = Trainer(from_backbone(base, folder), tmp_path / "guessed", log=told.append)
    assert run.image_config.mean == ImageConfig.mean
    assert any("does not say how images are normalized" in line for line in told)
    normalization = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": 224}
    (folder / "preprocessor_config.json").write_text(json.dumps(normalization))
    told.clear()
    run = Trainer(from_backbone(base, folder), tmp_path / "told", log=told.append)
    assert (run.image_config.mean, run.image_config.std, run.image_config.size) == ((0.5,) * 3, (0.25,) * 3, (32, 32))
    assert not any("normalized" in line for line in told)
    assert lucid_mlx.Segmenter(tmp_path / "told", dtype="float32").image_config.std == (0.25,) * 3


@pytest.mark.parametrize("name", ["torchvision, basic", "detectron2, basic", "timm's swin"])
def test_a_run_starts_from_each_kind_of_file(name, base, tmp_path):
    arrays, wanted = classifier(name)
    path = written(arrays, tmp_path / "x.safetensors")
    run = Trainer(from_backbone(base, path, backbone_config=CASES[name][0]), tmp_path / "out")
    got = backbone_arrays(run.model)
    assert all(np.array_equal(got[name], array) for name, array in wanted.items())


@pytest.mark.parametrize(
    ("backbone_config", "message"),
    [
        (BASIC, "holds Hugging Face's Swin, but backbone_config describes a 'resnet'"),
        ({**FIELDS["backbone_config"], "embed_dim": 16}, r"of another shape: .*expected \[16, 4, 4"),
    ],
)
def test_a_backbone_of_another_shape_is_refused(swin, backbone_config, message, base, tmp_path):
    with pytest.raises(InputError, match=message):
        Trainer(from_backbone(base, swin[0], backbone_config=backbone_config), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_and_backbone_weights_exclude_each_other():
    with pytest.raises(FieldError, match="leave out backbone_weights or weights"):
        NetworkConfig(weights="demo", backbone_weights="swin.pth")


def toml(folder, config):
    train = config.train
    path = folder / "run.toml"
    fields = "\n".join(f"{name} = {value!r}" for name, value in HEADS.items())
    path.write_text(
        f'steps = 2\nbatch_size = 2\nworkers = 0\n[train]\nimages = "{train.images}"\nannotations = '
        f'"{train.annotations}"\nnames = "{train.names}"\n[augmentation]\nsize = 32\n[network.fields]\n{fields}\n'
    )
    return path


def test_the_command_line_names_the_backbone(swin, base, tmp_path):
    config = toml(tmp_path, base)
    result = run_cli("train", config, "-o", tmp_path / "out", "--backbone-weights", swin[0])
    assert "starts from the backbone of" in result.output
    both = run_cli(
        "train", config, "-o", tmp_path / "other", "--backbone-weights", swin[0], "--weights", "demo", code=2
    )
    assert "leave out --backbone-weights" in both.output
    none = run_cli("train", config, "-o", tmp_path / "other", code=2)
    assert "--backbone-weights, such as" in none.output


def test_a_dry_run_tells_of_a_run_and_writes_nothing(swin, base, tmp_path, monkeypatch):
    config = toml(tmp_path, base)
    monkeypatch.chdir(tmp_path)
    before = sorted(x.name for x in tmp_path.iterdir())
    result = run_cli("train", config, "--dry-run", "--backbone-weights", swin[0])
    assert "4 images with labels for semantic segmentation, 3 classes" in result.output
    assert "segments in all images: 4 " in result.output
    assert "the mean of 10, and 2 steps" in result.output
    assert sorted(x.name for x in tmp_path.iterdir()) == before
    assert "leave out --resume" in run_cli("train", config, "--dry-run", "--resume", "-o", "out", code=2).output
    assert "Missing option '-o'" in run_cli("train", config, code=2).output


def test_a_dry_run_counts_the_segments_of_the_first_images(base, monkeypatch):
    monkeypatch.setattr("lucid_mlx.training.dry_run.COUNTED_IMAGES", 3)
    monkeypatch.setattr("lucid_mlx.training.dry_run.TIMED_STEPS", 1)
    told = []
    dry_run(replace(base, network=NetworkConfig(fields=FIELDS)), told.append)
    assert any(line.startswith("segments in the first 3 images: 3 ") for line in told)


def test_a_run_trains_the_model_that_it_is_given(base, tmp_path):
    model = small_model(num_labels=3)
    model.set_dtype(mx.float16)
    before = np.array(model.transformer_decoder.class_head.weight)
    normalization = ImageConfig(mean=(0.5,) * 3)
    run = Trainer(base, tmp_path / "out", model=model, image_config=normalization)
    assert run.model is model
    run.fit(1)
    after = model.transformer_decoder.class_head.weight
    assert after.dtype == mx.float32
    assert not np.array_equal(before, np.array(after))
    assert run.image_config.mean == (0.5,) * 3
    resumed = Trainer(base, tmp_path / "out", resume=True)
    assert (resumed.progress.step, resumed.image_config.mean) == (1, (0.5,) * 3)


def test_a_model_that_does_not_fit_the_run_is_refused(base, tmp_path):
    model = small_model(num_labels=3)
    out = tmp_path / "out"
    with pytest.raises(InputError, match="the model is for 5 classes, and the labels have 3"):
        Trainer(base, out, model=small_model())
    with pytest.raises(InputError, match=r"\[network\] has weights, and model= is a network too"):
        Trainer(replace(base, network=NetworkConfig("demo")), out, model=model)
    with pytest.raises(InputError, match="model must be"):
        Trainer(base, out, model="demo")
    with pytest.raises(InputError, match="leave out model= and image_config="):
        Trainer(base, out, resume=True, model=model)
    quantized = small_model(num_labels=3, hidden_dim=32, feature_size=32)
    lucid_mlx.weights.quantize.quantize(quantized, 8, 32)
    with pytest.raises(InputError, match="a quantized model cannot be trained"):
        Trainer(base, out, model=quantized)
    assert not out.exists()
