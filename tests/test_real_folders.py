"""Folders and files as people have them: labels, names, places, replacing what is there."""

import json
import re
import zipfile

import numpy as np
import pytest
from helpers import TINY_HUGGINGFACE, huggingface_arrays, run_cli, write_huggingface
from safetensors.numpy import save_file
from torch_writer import save_zip

import lucid_mlx
from lucid_mlx import InputError
from lucid_mlx.convert import convert
from lucid_mlx.models import Mask2FormerConfig

RAW = huggingface_arrays()


class TestLabels:
    @pytest.mark.parametrize("numbers", [(1, 2, 3), (0, 128, 255), (0, 1, 255)])
    def test_other_numbers_are_taken_in_order_with_a_sentence(self, tmp_path, numbers):
        labels = dict(zip(map(str, numbers), ("cup", "table", "spoon"), strict=True))
        folder = write_huggingface(tmp_path / "theirs", id2label=labels)
        with pytest.warns(UserWarning, match=f"3 classes from {numbers[0]} to {numbers[2]}; they are taken in order"):
            model = lucid_mlx.load(folder)
        assert model.config.id2label == {0: "cup", 1: "table", 2: "spoon"}

    @pytest.mark.parametrize("labels", [{"1": "cup", "2": "table"}, {str(n): f"c{n}" for n in range(4)}])
    def test_another_number_of_names_is_refused_and_class_names_repairs_it(self, tmp_path, labels):
        folder = write_huggingface(tmp_path / "theirs", id2label=labels)
        with pytest.raises(InputError, match=f"names {len(labels)} classes.*the head .* has 3.*--class-names"):
            lucid_mlx.load(folder)
        (tmp_path / "names.txt").write_text("a\nb\nc\n")
        run_cli("convert", folder, "-o", tmp_path / "ours", "--class-names", tmp_path / "names.txt")
        assert lucid_mlx.load(tmp_path / "ours").config.id2label == {0: "a", 1: "b", 2: "c"}

    def test_the_head_counts_the_classes(self, tmp_path):
        folder = write_huggingface(tmp_path / "theirs", num_labels=150)
        with pytest.warns(UserWarning, match="says num_labels 150, and the head of the weights has 3 classes"):
            assert lucid_mlx.load(folder).config.num_labels == 3

    def test_a_contradicting_label2id_is_told(self, tmp_path):
        folder = write_huggingface(tmp_path / "theirs", label2id={"cup": 2, "table": 1, "spoon": 0})
        with pytest.warns(UserWarning, match="label2id contradicts id2label for 2 classes"):
            assert lucid_mlx.load(folder).config.id2label[0] == "cup"

    def test_names_in_a_list_or_the_wrong_way_round_are_read(self):
        for labels in (["cup", "table"], {"cup": 0, "table": 1}):
            config = Mask2FormerConfig.from_huggingface({**TINY_HUGGINGFACE, "id2label": labels})
            assert config.id2label == {0: "cup", 1: "table"}

    def test_the_names_follow_the_number_of_classes(self):
        config = Mask2FormerConfig(2)
        config.id2label = {0: "cat", 1: "dog"}
        config.num_labels = 6
        assert config.id2label == {n: f"LABEL_{n}" for n in range(6)}


class TestFolders:
    def test_what_a_trainer_puts_beside_the_weights_is_not_the_weights(self, tmp_path):
        folder = tmp_path / "checkpoint-500"
        folder.mkdir()
        for name in (
            "optimizer.pt",
            "scheduler.pt",
            "training_args.bin",
            "rng_state.pth",
            "rng_state_0.pth",
            "scaler.pt",
        ):
            save_zip({"x": np.ones(1, np.float32)}, folder / name)
        save_zip(RAW, folder / "weights.pth")
        assert lucid_mlx.load(folder).config.num_labels == 3

    def test_the_last_checkpoint_is_taken_where_the_trainer_names_it(self, tmp_path):
        for name in ("iter_4000.pth", "iter_8000.pth"):
            save_zip(RAW if "8" in name else {"x": np.ones(1, np.float32)}, tmp_path / name)
        with pytest.raises(InputError, match=r"found iter_4000.pth, iter_8000.pth"):
            lucid_mlx.load(tmp_path)
        (tmp_path / "last_checkpoint").write_text("/home/someone/work_dirs/x/iter_8000.pth")
        with pytest.warns(UserWarning, match=r"2 checkpoints; the last, iter_8000.pth, is taken"):
            assert lucid_mlx.load(tmp_path).config.num_labels == 3

    def test_checkpoints_in_the_folders_below_are_named(self, tmp_path):
        write_huggingface(tmp_path / "out" / "checkpoint-500")
        with pytest.raises(InputError, match=r"found none itself, but .*checkpoint-500: give one of them"):
            lucid_mlx.load(tmp_path / "out")
        checkpoints = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
        checkpoints.mkdir(parents=True)
        save_zip({"state_dict": RAW}, checkpoints / "epoch=3-step=10.ckpt")
        with pytest.raises(InputError, match=r"epoch=3-step=10.ckpt: give one of them"):
            lucid_mlx.load(tmp_path / "lightning_logs")

    def test_the_weights_file_of_a_folder_has_its_configuration(self, tmp_path):
        folder = write_huggingface(tmp_path / "theirs")
        assert lucid_mlx.load(folder / "model.safetensors").config.id2label[0] == "cup"
        ours = convert(folder, tmp_path / "ours")
        assert lucid_mlx.load(ours / "model.safetensors").config.id2label[0] == "cup"

    def test_a_configuration_elsewhere_is_named(self, tmp_path):
        folder = write_huggingface(tmp_path / "theirs")
        (folder / "config.json").rename(tmp_path / "elsewhere.json")
        with pytest.raises(InputError, match="has no config.json; give its file .* instead.*--config"):
            lucid_mlx.load(folder)
        run_cli("convert", folder, "-o", tmp_path / "ours", "--config", tmp_path / "elsewhere.json")
        assert lucid_mlx.load(tmp_path / "ours").config.id2label[0] == "cup"

    @pytest.mark.parametrize("name", ["x.pth.tar", "x", "x.safetensors", "x.weights"])
    def test_a_file_is_known_by_what_it_begins_with(self, tmp_path, name):
        assert lucid_mlx.load(save_zip(RAW, tmp_path / name)).config.num_labels == 3
        save_file(RAW, tmp_path / "y.bin")
        assert lucid_mlx.load(tmp_path / "y.bin").config.num_labels == 3

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a pointer of Git LFS.*git lfs pull"),
            (b"<!DOCTYPE html>", "is a web page"),
            (b'{"error": "x"}', "is JSON, not weights"),
            (b"", "it is empty"),
        ],
    )
    @pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
    def test_what_is_taken_for_weights_is_told(self, tmp_path, content, message, name):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            lucid_mlx.load(tmp_path / name)


def test_a_torchscript_program_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/code/__torch__/network.py", "def forward(self): pass\n" * 100)
    with pytest.raises(InputError, match=r"a TorchScript program, which is never run; save the weights alone"):
        lucid_mlx.load(tmp_path / "x.pt")


class TestReplacing:
    @pytest.fixture
    def ours(self, tmp_path):
        return convert(write_huggingface(tmp_path / "theirs"), tmp_path / "ours")

    def test_a_converted_folder_is_replaced_whole(self, tmp_path, ours):
        run_cli("convert", tmp_path / "theirs", "-o", ours, code=2)
        (ours / "model.safetensors.index.json").write_text("{}")
        run_cli("convert", tmp_path / "theirs", "-o", ours, "--dtype", "float16", "--force")
        assert str(lucid_mlx.load(ours).dtype) == "mlx.core.float16"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs"]
        assert len(list(ours.iterdir())) == 4

    def test_nothing_else_is_replaced(self, tmp_path, ours):
        other = write_huggingface(tmp_path / "other")
        output = run_cli("convert", tmp_path / "theirs", "-o", other, "--force", code=2).output
        assert "is not a folder that was converted" in output
        (ours / "precious.txt").write_text("mine")
        output = run_cli("convert", tmp_path / "theirs", "-o", ours, "--force", code=2).output
        assert "also holds 'precious.txt'" in output
        (tmp_path / "file").write_text("mine")
        assert run_cli("convert", tmp_path / "theirs", "-o", tmp_path / "file", "--force", code=2)

    def test_an_export_is_replaced_and_the_source_is_not(self, tmp_path, ours):
        for _ in range(2):
            run_cli("convert", ours, "-o", tmp_path / "hf", "--to", "huggingface", "--force")
        output = run_cli("convert", ours, "-o", ours, "--to", "huggingface", "--force", code=2).output
        assert "is the source" in output

    def test_a_failed_conversion_leaves_the_old_folder(self, tmp_path, ours):
        arrays = {key: array for key, array in RAW.items() if key != "class_predictor.bias"}
        broken = write_huggingface(tmp_path / "broken", arrays)
        run_cli("convert", broken, "-o", ours, "--force", code=2)
        assert lucid_mlx.load(ours).config.num_labels == 3


def test_a_dry_run_begins_with_totals_and_writes_nothing(tmp_path):
    folder = write_huggingface(tmp_path / "theirs")
    lines = run_cli("convert", folder, "-o", tmp_path / "ours", "--dry-run").output.splitlines()
    assert lines[0] == "family: huggingface"
    assert re.match(r"186 tensors of the source become \d+, with [\d,]+ numbers: \d+ MB on disk", lines[1])
    assert lines[2] == "3 classes, 6 queries"
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_an_incomplete_index_names_what_is_missing(tmp_path):
    folder = write_huggingface(tmp_path / "theirs")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {key: f"model-{1 + n % 3}.safetensors" for n, key in enumerate(RAW)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for path in (folder, folder / "model.safetensors.index.json"):
        with pytest.raises(InputError, match=r"model-1.safetensors, which is missing, and so are 2 more"):
            lucid_mlx.load(path)
