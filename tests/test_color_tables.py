"""Label maps in colors, with the tables of colors that tools write beside them."""

import numpy as np
import pytest
from labeled import write_image
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data import label_map_dataset, open_dataset

COLORS = {"background": (0, 0, 0), "cat": (250, 50, 83), "dog": (51, 221, 255)}
LABELS = np.array([[0, 0, 1, 1], [2, 2, 1, 0]])
CVAT = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\ndog:51,221,255::\n"
TABLES = {
    "labelmap.txt": CVAT,
    "class_dict.csv": "name,r,g,b\nbackground,0,0,0\ncat,250,50,83\ndog,51,221,255\n",
    "drones.csv": "name, r, g, b\nbackground, 0, 0, 0\ncat, 250, 50, 83\ndog, 51, 221, 255\n",
    "label_colors.txt": "0 0 0\tbackground\n250 50 83\tcat\n51 221 255\tdog\n",
}


@pytest.fixture
def maps(tmp_path):
    (tmp_path / "masks").mkdir()
    write_image(tmp_path / "images" / "a.png", LABELS.shape)
    image = Image.fromarray(np.array(list(COLORS.values()), np.uint8)[LABELS])
    image.save(tmp_path / "masks" / "a.png")
    return tmp_path / "images", tmp_path / "masks"


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_colors_gives_names_and_labels(maps, tmp_path, name):
    (tmp_path / name).write_text(TABLES[name])
    dataset = open_dataset(*maps, class_names=tmp_path / name)
    assert dataset.class_names == tuple(COLORS)
    assert np.array_equal(dataset.records[0].target().class_map(), LABELS)


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_colors_count_in_every_mode(maps, mode):
    path = maps[1] / "a.png"
    image = Image.open(path)
    (image.quantize() if mode == "P" else image.convert(mode)).save(path)
    assert np.array_equal(label_map_dataset(*maps, COLORS).records[0].target().class_map(), LABELS)


def test_classes_of_colors_can_be_merged(maps):
    with pytest.warns(UserWarning, match="1 of 3 classes are in none that `merge` makes"):
        dataset = label_map_dataset(*maps, COLORS, merge={"rest": ["background"], "pet": ["dog"]})
    assert dataset.class_names == ("rest", "pet")
    assert np.array_equal(dataset.records[0].target().class_map(), np.array([0, -1, 1])[LABELS])


def test_what_does_not_fit_is_an_error(maps, tmp_path):
    table = tmp_path / "table.txt"
    with pytest.raises(InputError, match="a.png has the color 51,221,255 at x=0, y=1, which is of no class in `names`"):
        label_map_dataset(*maps, {**COLORS, "dog": (1, 2, 3)})
    for text, what in (("a:1,2,3::\nb:1,2,3::\n", "color"), ("a:1,2,3::\na:1,2,4::\n", "name")):
        table.write_text(text)
        with pytest.raises(InputError, match=f"table.txt has two classes of the {what}"):
            open_dataset(*maps, class_names=table)
    with pytest.raises(InputError, match="`reduce_zero_label` cannot be used with colors"):
        label_map_dataset(*maps, COLORS, reduce_zero_label=True)
    with pytest.raises(InputError, match="a picture of 3 colors; .*give the color of each class as `names`: CVAT"):
        label_map_dataset(*maps, list(COLORS))


def test_names_that_lie_beside_the_label_maps_are_proposed(maps, tmp_path):
    (tmp_path / "labelmap.txt").write_text(CVAT)
    with pytest.raises(InputError, match=r"labelmap.txt may have them"):
        open_dataset(*maps)


def test_json_files_of_single_images_are_told(maps):
    for name in ("a.json", "a.png.json"):
        (maps[1] / name).write_text("{}")
    with pytest.raises(InputError, match="masks are of one image each, but hold neither labelme's shapes nor"):
        open_dataset(*maps)


def test_files_of_names_are_no_tables(maps, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("background\ncat:1,2,3\ndog\n")
    Image.fromarray(LABELS.astype(np.uint8)).save(maps[1] / "a.png")
    assert open_dataset(*maps, class_names=names).class_names == ("background", "cat:1,2,3", "dog")
