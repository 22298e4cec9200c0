import os
import re
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, write_huggingface
from helpers import run_cli as run
from PIL import Image

from lucid_mlx.backends import report as backend_report

DEMO = ("--weights", "demo")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def weights(folder):
    run("convert", write_huggingface(folder / "theirs"), folder / "weights")
    return folder / "weights"


def test_without_weights_it_says_what_to_pass(folder):
    for verb in (("segment", PHOTO), ("app",)):
        told = run(*verb, code=2).stderr
        assert "--weights is missing; pass a checkpoint, such as facebook/" in told
        assert "or demo, which comes with the package" in told
    assert list(folder.iterdir()) == []


def test_the_result_has_the_name_of_the_photo(folder):
    (folder / "another.jpg").write_bytes(PHOTO.read_bytes())
    assert "-> coffee-segmented.png" in run("segment", PHOTO, *DEMO).stdout
    assert "-> another-segmented.png" in run("segment", "another.jpg", *DEMO).stdout
    with Image.open(folder / "coffee-segmented.png") as picture:
        assert picture.width == 600
    assert (folder / "coffee-segmented.png").read_bytes() == (folder / "another-segmented.png").read_bytes()


def test_a_converted_checkpoint_segments_a_photo(weights):
    result = run("segment", PHOTO, "--weights", weights, "-o", "out.jpg")
    assert re.search(
        "semantic segmentation in float\\d+ on the (CPU|GPU); the checkpoint's own image configuration", result.stderr
    )
    with Image.open("out.jpg") as picture:
        assert picture.width == 600


def test_an_output_is_overwritten_only_by_force(folder):
    (folder / "out.png").write_text("precious")
    assert "--force" in run("segment", PHOTO, *DEMO, "-o", "out.png", code=2).stderr
    assert (folder / "out.png").read_text() == "precious"
    run("segment", PHOTO, *DEMO, "-o", "out.png", "--force")
    assert (folder / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.jpg"], "no.jpg does not exist"),
        (["text.jpg"], "text.jpg is not an image"),
        ([PHOTO, "--weights", "nowhere"], "nowhere does not exist"),
        ([PHOTO, "--weights", "text.jpg"], "text.jpg is not a checkpoint file"),
        (["x" * 300 + ".jpg"], "path must be the path of a file"),
        ([PHOTO, "-o", "out.psd"], "does not name an image format"),
        ([PHOTO, "-o", "out.docx"], "does not name an image format"),
        ([PHOTO, "-o", "missing/out.png"], "there is no folder missing"),
        ([PHOTO, "--wieghts", "x"], "No such option"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(folder, arguments, message):
    (folder / "text.jpg").write_text("just text")
    result = run("segment", *arguments, code=2)
    assert message in result.stderr
    assert [path.name for path in folder.iterdir()] == ["text.jpg"]


@pytest.mark.parametrize("size", [(1, 1), (3, 20000), (20000, 3)], ids=str)
def test_extreme_photos_are_segmented(size, weights):
    Image.new("RGB", size, "orange").save("photo.png")
    run("segment", "photo.png", "--weights", weights, "-o", "out.png")
    with Image.open("out.png") as picture:
        assert picture.width >= 480


def test_an_unwritable_output_leaves_nothing(folder, monkeypatch):
    def full_disk(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    assert "No space left" in run("segment", PHOTO, *DEMO, code=2).stderr
    assert list(folder.iterdir()) == []


def test_converting_tells_what_it_wrote_and_refuses_bad_sources(folder, weights):
    assert (weights / "model.safetensors").is_file()
    assert "a single checkpoint file; found none" in run("convert", folder, folder / "new", code=2).stderr
    (folder / "theirs" / "config.json").unlink()
    assert "has no config.json" in run("convert", folder / "theirs", folder / "new", code=2).stderr
    assert "MLX's layout already" in run("convert", weights, folder / "new", code=2).stderr
    assert not (folder / "new").exists()


def test_a_dry_run_shows_the_configuration_and_the_mapping_and_writes_nothing(folder):
    out = run("convert", write_huggingface(folder / "theirs"), "--dry-run").stdout
    assert "family: huggingface" in out
    assert '"num_labels": 3' in out
    assert "class_predictor.bias -> transformer_decoder.class_head.bias (" in out
    assert "attention.qkv.weight, chunk 1 (query, key and value" in out
    assert "swin.layernorm.weight -> dropped (the classifier's norm" in out
    assert [path.name for path in folder.iterdir()] == ["theirs"]


def test_doctor_reports_and_passes():
    out = run("doctor").stdout
    for word in ("mlx", "python", "Metal", "GFLOP/s", "deformable attention", "self-test", "passed"):
        assert word in out


@pytest.mark.cpu("of what doctor says there")
def test_doctor_says_whether_the_fused_attention_kernel_is_in_use(monkeypatch):
    with mx.stream(mx.cpu):
        assert "fused attention             not used: its kernels are for GPUs" in run("doctor").stdout
    reasons = {"float32": None, "float16": "output off by 1e-01", "bfloat16": "RuntimeError: no such function"}
    monkeypatch.setattr(backend_report, "device", lambda: "gpu")
    monkeypatch.setattr(backend_report, "problem", lambda case, plain: reasons[str(case.dtype).split(".")[-1]])
    lines = backend_report.report(None)
    assert {title: text for title, text in lines.items() if "fused" in title} == {
        "fused attention, float32": "in use",
        "fused attention, float16": "FAILED, not used: output off by 1e-01 (please report this)",
        "fused attention, bfloat16": "FAILED, not used: RuntimeError: no such function (please report this)",
    }


def test_doctor_fails_when_an_op_is_wrong(monkeypatch):
    monkeypatch.setattr("lucid_mlx.cli.doctor.self_test", lambda: {"resize": 0.5})
    out = run("doctor", code=1).output
    assert "WRONG" in out
    assert "FAILED" in out


@pytest.mark.parametrize("verb", ["convert", "doctor", "eval", "segment", "weights"])
def test_help_of_each_verb_shows_examples(verb):
    out = run(verb, "--help").stdout
    assert len([line for line in out.splitlines() if line.startswith("    lucid-mlx ")]) >= 2


def test_python_m_runs_the_command_line_without_colors_in_a_pipe(folder):
    result = subprocess.run(
        [sys.executable, "-m", "lucid_mlx", "segment", str(PHOTO), *DEMO],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert "\x1b" not in result.stdout + result.stderr
    with Image.open("coffee-segmented.png") as picture:
        assert np.asarray(picture).std() > 10
