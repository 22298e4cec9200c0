"""Images and label maps find each other, however their files are called and wherever they lie."""

from pathlib import Path

import pytest
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data.label_files import find_pairs
from lucid_mlx.data.split import read_split, select


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)
    return folder


def pairs(images: Path, labels: Path, **settings):
    found = find_pairs(images, labels, **settings)
    return {x.relative_to(images).as_posix(): y.relative_to(labels).as_posix() for x, y in found}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a.tif", "a.tif"),
        ("a.jpg", "a.bmp"),
        ("A.JPG", "A.PNG"),
        ("x/y/a.jpeg", "x/y/a.png"),
        ("a.b.c.jpg", "a.b.c.png"),
    ],
)
def test_the_same_name_needs_no_word(tmp_path, image, label):
    assert pairs(touch(tmp_path / "p", image), touch(tmp_path / "l", label)) == {image: label}


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["1.jpg", "10.jpg"], ["1_mask.png", "10_mask.png"]),
        (["a.jpg", "b.jpg"], ["a-seg.png", "b-seg.png"]),
        (["a.jpg", "b.jpg"], ["a_L.png", "b_L.png"]),
        (["1_sat.jpg", "2_sat.jpg"], ["1_mask.png", "2_mask.png"]),
        (["image_1.jpg", "image_2.jpg"], ["mask_1.png", "mask_2.png"]),
        (["1.jpg", "2.jpg"], ["mask_1.png", "mask_2.png"]),
        (["u/a_leftImg8bit.png", "v/b_leftImg8bit.png"], ["u/a_gtFine_labelIds.png", "v/b_gtFine_labelIds.png"]),
        (["a_rgb.png", "b_rgb.png"], ["a.png", "b.png"]),
        (["a.jpg", "b.jpg"], ["a.jpg.png", "b.jpg.png"]),
    ],
)  # fmt: skip
def test_an_ending_that_all_label_maps_have_is_found_and_told(tmp_path, images, labels):
    with pytest.warns(UserWarning, match="label maps are those called"):
        found = pairs(touch(tmp_path / "p", *images), touch(tmp_path / "l", *labels))
    assert found == dict(zip(images, labels, strict=True))


def test_several_label_maps_are_told_apart_by_train_ids_or_by_the_setting(tmp_path):
    images = touch(tmp_path / "p", "a_leftImg8bit.png", "b_leftImg8bit.png")
    kinds = ("_gtFine_color.png", "_gtFine_instanceIds.png", "_gtFine_labelIds.png")
    labels = touch(tmp_path / "l", *(f"{x}{kind}" for x in "ab" for kind in kinds))
    with pytest.warns(UserWarning, match=r"called \*_gtFine_labelIds"):
        assert pairs(images, labels)["a_leftImg8bit.png"] == "a_gtFine_labelIds.png"
    touch(labels, "a_gtFine_labelTrainIds.png", "b_gtFine_labelTrainIds.png")
    with pytest.warns(UserWarning, match=r"called \*_gtFine_labelTrainIds"):
        pairs(images, labels)
    endings = ("_leftImg8bit.png", "_gtFine_labelIds.png")
    assert pairs(images, labels, endings=endings)["b_leftImg8bit.png"] == "b_gtFine_labelIds.png"
    other = touch(tmp_path / "m", *(f"{x}_{kind}.png" for x in "cd" for kind in ("one", "two")))
    with pytest.raises(InputError, match=r"several label maps in .*: \*_one, \*_two; `endings` says"):
        pairs(touch(tmp_path / "q", "c.jpg", "d.jpg"), other)


def test_label_maps_in_the_folder_of_the_images_are_no_images(tmp_path):
    both = touch(tmp_path / "a", "a.jpg", "a.png", "b.jpg", "b.png")
    with pytest.warns(UserWarning, match="lie in one folder: a.png is taken as the label map of a.jpg"):
        assert pairs(both, both) == {"a.jpg": "a.png", "b.jpg": "b.png"}
    both = touch(tmp_path / "b", "a.png", "a_mask.png", "b.png", "b_mask.png")
    with pytest.warns(UserWarning, match=r"called \*_mask, such as a_mask.png for a.png"):
        assert pairs(both, both) == {"a.png": "a_mask.png", "b.png": "b_mask.png"}
    with pytest.warns(UserWarning, match="one folder"):
        assert len(pairs(both, both, endings=(".png", "_mask.png"))) == 2
    inside = touch(tmp_path / "c", "a.png", "masks/a.png")
    assert pairs(inside, inside / "masks") == {"a.png": "a.png"}
    twins = touch(tmp_path / "d", "x/a.png", "y/a.png")
    with pytest.raises(InputError, match="cannot be told apart in .*d: .*a.png"):
        pairs(twins, twins)


def test_label_maps_may_lie_in_other_subfolders(tmp_path):
    images, labels = touch(tmp_path / "p", "day/a.jpg", "b.jpg"), touch(tmp_path / "l", "a.png", "night/b.png")
    assert pairs(images, labels) == {"day/a.jpg": "a.png", "b.jpg": "night/b.png"}


def test_linked_folders_are_searched_once(tmp_path):
    images, labels = touch(tmp_path / "p", "a.jpg"), touch(tmp_path / "l", "b/c.png", "a.png")
    touch(tmp_path / "far", "c.jpg")
    (images / "b").symlink_to(tmp_path / "far")
    (images / "loop").symlink_to(images)
    assert pairs(images, labels) == {"a.jpg": "a.png", "b/c.jpg": "b/c.png"}


def test_a_label_map_of_two_images_is_told(tmp_path):
    images, labels = touch(tmp_path / "p", "a.jpg", "a.png"), touch(tmp_path / "l", "a.png")
    with pytest.warns(UserWarning, match=r"1 label maps belong to several images each: 'a.jpg' and 'a.png' \(a.png\)"):
        assert len(pairs(images, labels)) == 2
    assert pairs(images, labels, endings=(".jpg", ".png")) == {"a.jpg": "a.png"}


def test_images_without_a_label_map_are_left_out_on_request(tmp_path):
    images, labels = touch(tmp_path / "p", *(f"{x}.jpg" for x in range(6))), touch(tmp_path / "l", "0.png", "1.png")
    with pytest.raises(InputError, match=r"4 of 6 images have no label map .*: 2.jpg, 3.jpg, 4.jpg and 1 more; `s"):
        pairs(images, labels)
    with pytest.warns(UserWarning, match="4 of 6 images have no label map .*; they are left out"):
        assert len(pairs(images, labels, skip_unlabeled=True)) == 2
    assert len(pairs(images, labels, split={"0", "1"})) == 2
    with pytest.raises(InputError, match=r"no image in .* has a label map .*for 0.jpg expected .*0.png or another"):
        pairs(images, touch(tmp_path / "m", "z.png"), skip_unlabeled=True)


def test_label_maps_without_an_image_are_told(tmp_path):
    images, labels = touch(tmp_path / "p", "a.jpg"), touch(tmp_path / "l", "a.png", "b.png", ".hidden.png")
    with pytest.warns(UserWarning, match="1 label maps have no image, and are not used: b.png"):
        pairs(images, labels)


def test_accents_have_two_encodings(tmp_path):
    images, labels = touch(tmp_path / "p", "e\u0301te.jpg"), touch(tmp_path / "l", "\u00e9te.png")
    assert len(pairs(images, labels, split={"\u00e9te"})) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"a\nb\n",
        b"\xef\xbb\xbfa\r\nb\r\n\r\n",
        b"a.jpg\nsub/b.png",
        b"JPEGImages/a.jpg SegmentationClass/a.png\nsub/b.jpg SegmentationClass/b.png\n",
        b'# two\n"a"\n.\\b.jpg\n',
        b"/data/train/a.jpg\nC:\\data\\sub\\b.jpg\n",
        "\ufeffa\r\nb".encode("utf-16-le"),
    ],
)
def test_split_lists_of_other_tools_are_read(tmp_path, text):
    (tmp_path / "train.txt").write_bytes(text)
    split = read_split(tmp_path / "train.txt")
    assert select(["a.jpg", "sub/b.jpg", "c.jpg", "bb.jpg"], split) == [True, True, False, False]


def test_names_of_a_split_list_without_an_image_are_told(tmp_path):
    with pytest.warns(UserWarning, match="1 of the 2 names of the split list have no image: z"):
        assert select(["a.jpg"], {"a", "z"}) == [True]
    with pytest.raises(InputError, match="names none of the 1 images, such as a.jpg; it has z"):
        select(["a.jpg"], {"z"})
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="empty.txt is empty"):
        read_split(tmp_path / "empty.txt")
