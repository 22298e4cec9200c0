"""Datasets of Hugging Face's library `datasets`: pip install 'lucid-mlx[datasets]'."""

import io
import pickle

import numpy as np
import pytest
from labeled import NAMES, SEMANTIC
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data import open_dataset

datasets = pytest.importorskip("datasets")
pytestmark = pytest.mark.filterwarnings("default")


def png(array):
    data = io.BytesIO()
    Image.fromarray(array).save(data, "PNG")
    return {"bytes": data.getvalue(), "path": None}


PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def saved(folder, labels=SEMANTIC, **more):
    features = datasets.Features({"photo": datasets.Image(), "mask": datasets.Image(), "n": datasets.Value("int32")})
    rows = {"photo": [png(PIXELS)] * 2, "mask": [png(labels), png(labels[::-1])], "n": [1, 2]} | more
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(folder)
    return folder


def test_a_saved_dataset_is_opened_by_its_columns(tmp_path):
    dataset = open_dataset(saved(tmp_path / "rows"), "mask", class_names=NAMES)
    assert (dataset.task, dataset.class_names, len(dataset.records)) == ("semantic", NAMES, 2)
    first, second = pickle.loads(pickle.dumps(dataset)).records
    assert np.array_equal(first.image(), PIXELS)
    expected = np.where(SEMANTIC == 255, -1, SEMANTIC.astype(int))
    assert np.array_equal(first.target().class_map(), expected)
    assert np.array_equal(second.target().class_map(), expected[::-1])


def test_labels_may_begin_at_one(tmp_path):
    shifted = np.where(SEMANTIC == 255, 0, SEMANTIC + 1).astype(np.uint8)
    dataset = open_dataset(saved(tmp_path / "rows", shifted), "mask", class_names=NAMES, reduce_zero_label=True)
    assert np.array_equal(dataset.records[0].target().class_map(), np.where(SEMANTIC == 255, -1, SEMANTIC.astype(int)))


def test_what_is_missing_is_told(tmp_path):
    rows = saved(tmp_path / "rows", photo=[png(PIXELS), None])
    with pytest.raises(InputError, match="needs class names"):
        open_dataset(rows, "mask")
    with pytest.raises(InputError, match="called 'label'; its columns of pictures are photo, mask"):
        open_dataset(rows, "label", class_names=NAMES)
    with pytest.raises(InputError, match="`endings` cannot be used with a dataset of Hugging Face"):
        open_dataset(rows, "mask", class_names=NAMES, endings=("a", "b"))
    with pytest.raises(InputError, match="row 1 has nothing in the column 'photo'"):
        open_dataset(rows, "mask", class_names=NAMES).records[1].image()
    with pytest.raises(InputError, match="row 0, mask has the label 2"):
        open_dataset(rows, "mask", class_names=NAMES[:2]).records[0].target()
    (rows / "state.json").write_text("{")
    with pytest.raises(InputError, match="cannot be opened as a dataset of Hugging Face"):
        open_dataset(rows, "mask", class_names=NAMES)
