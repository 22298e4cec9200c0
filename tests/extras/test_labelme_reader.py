"""labelme's own reader takes what results give.

It brings Qt, and has an environment of its own in CI: `pip install labelme`.
"""

import io
import json

import numpy as np
import pytest
from PIL import Image
from results import segmented

from lucid_mlx.datasets import TASKS

pytest.importorskip("labelme", reason="large; in an environment of its own in CI")
from labelme._label_file import read_label_file


@pytest.mark.parametrize("task", TASKS)
def test_labelme_reads_the_photo_and_a_mask_for_each_segment(task, tmp_path):
    result = segmented(task, 3)
    file = tmp_path / "cat.json"
    file.write_text(json.dumps(result.to_labelme()))
    read = read_label_file(filename=str(file))
    with Image.open(io.BytesIO(read.image_data)) as photo:
        assert np.array_equal(np.asarray(photo.convert("RGB")), result.image)
    assert len(read.shapes) == len(result.segments) > 1
    for shape, segment in zip(read.shapes, result.segments, strict=True):
        assert (shape["label"], shape["group_id"], shape["shape_type"]) == (segment.label, segment.id, "mask")
        left, top, right, bottom = segment.box
        assert np.array_equal(shape["mask"], result.mask(segment)[top:bottom, left:right])
        assert shape["points"] == [[left, top], [right - 1, bottom - 1]]
