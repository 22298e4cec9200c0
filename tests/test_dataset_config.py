"""The tables of labeled images in a training file, and the defaults of the original project."""

import pytest
from labeled import NAMES, write_label_maps

from lucid_mlx import InputError
from lucid_mlx.training import LargeScaleJitter, read_config
from lucid_mlx.training.optimizer import OptimizerConfig

START = "steps = 1\n[train]\nimages = '~/images'\nannotations = '~\\labels'\nnames = '~/names.txt'\n"


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_label_maps(tmp_path, 3)
    (tmp_path / "names.txt").write_text("\ufeff" + "\r\n".join(NAMES) + "\r\n\r\n")
    (tmp_path / "split.txt").write_text("\ufeffimages/1.png\r\n2\r\n\r\n")
    return tmp_path / "run.toml"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_another_editor_is_read(path, encoding):
    path.write_bytes(
        f"{START}split = '~/split.txt'\nendings = ['.png', '.png']\n".replace("\n", "\r\n").encode(encoding)
    )
    dataset = read_config(path).train.open()
    assert dataset.class_names == NAMES
    assert [record.path.name for record in dataset.records] == ["1.png", "2.png"]


def test_every_setting_of_labels_is_a_key(path):
    path.write_text(
        f"{START}split = '~/split.txt'\nskip_unlabeled = true\nignore_index = 255\norientation = 'upright'\nlimit = 1\n"
    )
    assert len(read_config(path).train.open().records) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("endings = ['.png']", "line 6: endings must be two, of images and of label maps, got 1"),
        ("endings = '.png'", "line 6: endings must be a list"),
        ("orientation = 'left'", "line 6: orientation must be one of auto, stored, upright"),
        ("skip_unlabelled = true", "line 6: unknown key 'skip_unlabelled'; did you mean 'skip_unlabeled'"),
        ("class_names = 'a'", "line 6: unknown key 'class_names'; did you mean 'names'"),
        ("splits = 'a'", "line 6: unknown key 'splits'; did you mean 'split'"),
    ],
)
def test_errors_name_the_line(path, line, message):
    path.write_text(START + line + "\n")
    with pytest.raises(InputError, match=message):
        read_config(path)


def test_the_defaults_are_those_of_the_original_for_coco(path):
    path.write_text(START)
    config = read_config(path)
    assert config.batch_size == 16
    assert config.augmentation == LargeScaleJitter(1024, 0.1, 2.0)
    assert config.optimizer == OptimizerConfig(1e-4, 0.1, 0.05, 0.01, "step", gamma=0.1, warmup_steps=0)
    steps = 368750  # MAX_ITER; STEPS are 327778 and 355092
    factors = [config.optimizer.factor(step, steps) for step in (0, 327777, 327778, 355091, 355092, steps - 1)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
