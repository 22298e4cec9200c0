"""Label maps as people have them: formats, names, values, and what is told about them."""

import numpy as np
import pytest
from labeled import NAMES, SEMANTIC, write_image, write_label_maps
from PIL import Image

from lucid_mlx import InputError
from lucid_mlx.data import label_map_dataset, validate


class TestLabelMaps:
    def test_each_class_in_the_image_is_a_mask(self, tmp_path):
        dataset = label_map_dataset(*write_label_maps(tmp_path), NAMES)
        assert (dataset.task, dataset.class_names, len(dataset.records)) == ("semantic", NAMES, 2)
        target = dataset.records[0].target()
        assert target.class_ids.tolist() == [0, 1, 2]
        assert np.array_equal(target.masks, [class_id == SEMANTIC for class_id in (0, 1, 2)])
        assert np.array_equal(target.class_map(), np.where(SEMANTIC == 255, -1, SEMANTIC.astype(int)))

    def test_reduced_labels_begin_at_one(self, tmp_path):
        dataset = label_map_dataset(*write_label_maps(tmp_path), NAMES[1:], reduce_zero_label=True)
        expected = np.where((SEMANTIC == 255) | (SEMANTIC == 0), -1, SEMANTIC.astype(int) - 1)
        assert np.array_equal(dataset.records[0].target().class_map(), expected)

    def test_another_label_can_be_ignored(self, tmp_path):
        labels = np.where(SEMANTIC == 255, 9, SEMANTIC).astype(np.uint16)  # 16 bits
        dataset = label_map_dataset(*write_label_maps(tmp_path, labels=labels), NAMES, ignore_index=9)
        assert np.array_equal(dataset.records[0].target().class_map() == -1, SEMANTIC == 255)

    def test_a_palette_image_has_palette_indices_as_labels(self, tmp_path):
        images, labels = write_label_maps(tmp_path, 1)
        image = Image.fromarray(SEMANTIC).convert("P")
        image.putdata(SEMANTIC.ravel())
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
        image.save(labels / "0.png")
        assert np.array_equal(label_map_dataset(images, labels, NAMES).records[0].target().ids, [0, 1, 2])

    def test_suffixes_and_subfolders_as_those_of_cityscapes(self, tmp_path):
        write_image(tmp_path / "images" / "ulm" / "x_leftImg8bit.png")
        (tmp_path / "labels" / "ulm").mkdir(parents=True)
        Image.fromarray(SEMANTIC).save(tmp_path / "labels" / "ulm" / "x_gtFine_labelTrainIds.png")
        endings = ("_leftImg8bit.png", "_gtFine_labelTrainIds.png")
        dataset = label_map_dataset(tmp_path / "images", tmp_path / "labels", NAMES, endings=endings)
        validate(dataset)
        with pytest.warns(UserWarning, match=r"called \*_gtFine_labelTrainIds, such as x_gtFine_labelTrainIds.png for"):
            found = label_map_dataset(tmp_path / "images", tmp_path / "labels", NAMES)
        assert found.records == dataset.records

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.full((4, 6), 3, np.uint8), r"0.png has the label 3 at x=0, y=0; expected 0 to 2, or 255 for pixels"),
            (SEMANTIC[:3], "the image is 6x4 pixels, its labels are for 6x3"),
            (
                np.eye(4, 6, dtype=np.uint8)[..., None] * np.uint8([9, 0, 7]),
                "is a picture of 2 colors; expected a label map",
            ),
        ],
    )
    def test_an_invalid_label_map_is_reported(self, tmp_path, labels, message):
        images, folder = write_label_maps(tmp_path)
        Image.fromarray(labels).save(folder / "0.png")
        with pytest.raises(InputError, match=f"the labeled images: 1 problem\n  .*{message}"):
            validate(label_map_dataset(images, folder, NAMES))

    def test_one_error_lists_all_damaged_files(self, tmp_path):
        images, labels = write_label_maps(tmp_path, 3)
        for path in (images / "0.png", labels / "2.png"):
            path.write_bytes(path.read_bytes()[:-30])
        (images / "1.png").write_text("not an image")
        with pytest.raises(InputError) as raised:
            validate(label_map_dataset(images, labels, NAMES))
        lines = str(raised.value).splitlines()[1:]
        assert [line.split(" is ")[0].strip() for line in lines] == [
            str(images / "0.png"), str(images / "1.png"), str(labels / "2.png")
        ]  # fmt: skip

    def test_missing_files_are_reported(self, tmp_path):
        images, labels = write_label_maps(tmp_path)
        (labels / "1.png").unlink()
        with pytest.raises(InputError, match=r"1 of 2 images have no label map in .*labels: 1.png; `skip_unlabeled`"):
            label_map_dataset(images, labels, NAMES)
        with pytest.raises(InputError, match=r"the folder .*none does not exist; expected the label maps"):
            label_map_dataset(images, tmp_path / "none", NAMES)
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="empty has no images"):
            label_map_dataset(tmp_path / "empty", labels, NAMES)
        with pytest.raises(InputError, match="several classes are called 'sea'"):
            label_map_dataset(images, labels, ("sea", "sea"))


def dataset(folder, labels, names=NAMES, suffix=".png", **settings):
    """A dataset of two images, whose label maps are these arrays or pictures."""
    (folder / "labels").mkdir(parents=True)
    for number, label_map in enumerate(labels):
        picture = Image.fromarray(label_map) if isinstance(label_map, np.ndarray) else label_map
        picture.save(folder / "labels" / f"{number}{suffix}")
        write_image(folder / "images" / f"{number}.jpg", picture.size[::-1], number)
    return label_map_dataset(folder / "images", folder / "labels", names, **settings)


def classes(found):
    return [record.target().class_map() for record in found.records]


MASK = np.uint8([[0, 0, 255], [0, 255, 255]])


class TestMasksOfTwoValues:
    @pytest.mark.parametrize("high", [255, 128, 2])
    def test_the_high_value_is_the_second_class(self, tmp_path, high):
        with pytest.warns(UserWarning, match=f"0 and {high} alone, as masks do: {high} is taken as the class 'sea'"):
            found = dataset(tmp_path, [MASK // 255 * high, MASK * 0], NAMES[:2])
        assert np.array_equal(classes(found)[0], MASK // 255)
        validate(found)

    def test_one_bit_and_equal_channels_are_masks_too(self, tmp_path):
        assert np.array_equal(classes(dataset(tmp_path / "a", [Image.fromarray(MASK).convert("1")]))[0], MASK // 255)
        with pytest.warns(UserWarning, match="0 and 255 alone|3 channels of the same values") as told:
            found = dataset(tmp_path / "b", [Image.fromarray(MASK).convert("RGB")], NAMES[:2])
        assert len(told) == 2
        assert np.array_equal(classes(found)[0], MASK // 255)

    def test_a_label_in_between_keeps_255_ignored(self, tmp_path):
        found = dataset(tmp_path, [MASK, MASK // 255], NAMES[:2])
        assert np.array_equal(classes(found)[0], np.where(MASK, -1, 0))

    def test_with_a_given_ignore_index_one_class_alone_stops_the_check(self, tmp_path):
        with pytest.warns(UserWarning, match="the 1 label maps hold one class alone, 'sky', beside pixels to ignore"):
            found = dataset(tmp_path, [MASK], NAMES[:2], ignore_index=255)
        with pytest.raises(InputError, match=r"one class alone, 'sky'.*`ignore_index`.*`check = false`"):
            validate(found)
        with pytest.raises(InputError, match=r"nothing is left to learn: the 1 label maps hold only the labels 255"):
            dataset(tmp_path / "b", [MASK * 0 + 255], ignore_index=255)

    def test_a_mask_with_one_name_asks_for_the_other(self, tmp_path):
        with pytest.raises(InputError, match=r"label 0 is a class too: give its name, such as background"):
            validate(dataset(tmp_path, [MASK // 255], ["garment"]))

    def test_a_later_label_says_how_to_ignore_255(self, tmp_path):
        with pytest.warns(UserWarning, match="255 is taken"):
            found = dataset(tmp_path, [MASK] * 65 + [MASK // 255] + [MASK] * 64, NAMES[:2])
        with pytest.raises(InputError, match=r"65.png has the label 1 .*; expected 0 and 255; if 255 is for"):
            validate(found)


class TestFiles:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".pgm", ".PNG"])
    def test_formats_without_loss_are_read(self, tmp_path, suffix):
        found = dataset(tmp_path, [SEMANTIC], suffix=suffix)
        assert np.array_equal(classes(found)[0], np.where(SEMANTIC == 255, -1, SEMANTIC.astype(int)))

    def test_floats_are_labels_if_they_are_whole(self, tmp_path):
        found = dataset(tmp_path / "a", [np.float32(SEMANTIC)], suffix=".tif")
        assert classes(found)[0].max() == 2
        with pytest.raises(InputError, match="0.tif holds fractions"):
            dataset(tmp_path / "b", [np.float32(SEMANTIC) + 0.5], suffix=".tif")

    def test_lossy_files_and_photos_are_refused(self, tmp_path):
        with pytest.raises(InputError, match=r"0.jpg is no label map: .jpg changes the values of pixels a little"):
            dataset(tmp_path / "a", [SEMANTIC], suffix=".jpg")
        with pytest.raises(InputError, match="is a JPEG, which changes the values"):
            dataset(tmp_path / "b", [SEMANTIC], suffix=".jpg", endings=(".jpg", ".jpg"))
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        with pytest.raises(InputError, match="0.png is a photo, by its many colors; expected a label map"):
            dataset(tmp_path / "c", [noise])

    def test_255_is_a_class_among_more_than_255(self, tmp_path):
        labels = np.uint16([[0, 255, 299], [65535, 1, 2]])
        names = [f"class {number}" for number in range(300)]
        with pytest.warns(UserWarning, match=r"255 is the class 'class 255'; pixels to ignore have the label 65535"):
            found = dataset(tmp_path / "a", [labels], names)
        assert classes(found)[0].tolist() == [[0, 255, 299], [-1, 1, 2]]
        with pytest.warns(UserWarning, match="the class 'class 255' is never learned"):
            dataset(tmp_path / "b", [np.minimum(labels, 299)], names, ignore_index=255)

    def test_labels_from_one_on_name_the_setting(self, tmp_path):
        found = dataset(tmp_path, [np.minimum(SEMANTIC, 2) + 1])
        with pytest.raises(InputError, match=r"has the label 3 .* if labels begin at 1, set `reduce_zero_label`"):
            validate(found)

    @pytest.mark.parametrize("orientation", ["auto", "stored"])
    def test_labels_of_the_stored_pixels_are_turned_with_the_photo(self, tmp_path, orientation):
        images, labels = write_label_maps(tmp_path, 1)
        (images / "0.png").unlink()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", SEMANTIC.shape[::-1]).save(images / "0.jpg", exif=exif)
        if orientation == "auto":
            with pytest.warns(UserWarning, match="1 photo turned by EXIF, with labels for the stored pixels"):
                found = label_map_dataset(images, labels, NAMES)
        else:
            found = label_map_dataset(images, labels, NAMES, orientation="stored")
        assert np.array_equal(classes(found)[0], np.rot90(np.where(SEMANTIC == 255, -1, SEMANTIC.astype(int)), -1))
        assert found.records[0].image().shape[:2] == (6, 4)


class TestWhatIsTold:
    def test_classes_that_never_occur_are_counted(self, tmp_path):
        with pytest.warns(UserWarning, match=r"2 of 5 classes never occur in the labels: kelp, foam"):
            validate(dataset(tmp_path, [SEMANTIC], [*NAMES, "kelp", "foam"]))

    def test_images_that_are_mostly_ignored_are_counted(self, tmp_path):
        mostly = np.where(np.arange(24).reshape(4, 6) < 3, np.arange(24).reshape(4, 6), 255).astype(np.uint8)
        with pytest.warns(UserWarning, match=r"2 images without a class for more than 50% of the pixels \(.*0.jpg"):
            validate(dataset(tmp_path, [mostly, mostly, SEMANTIC]))

    def test_merged_classes_leave_out_the_others(self, tmp_path):
        with pytest.warns(UserWarning, match=r"1 of 3 classes are in none that `merge` makes, and are ignored: boat"):
            found = dataset(tmp_path, [SEMANTIC], merge={"all": ["sky", "sea"]})
        assert found.class_names == ("all",)
        assert np.array_equal(classes(found)[0], np.where(SEMANTIC < 2, 0, -1))
        for merge, message in (
            ({"a": ["sky"], "b": ["sky"]}, "merge has 'sky' in two classes"),
            ({"a": ["skye"]}, "'skye' in the class 'a', which is no name in `names`; did you mean 'sky'"),
        ):
            with pytest.raises(InputError, match=message):
                label_map_dataset(tmp_path / "images", tmp_path / "labels", NAMES, merge=merge)

    def test_the_check_stops_when_it_is_hopeless(self, tmp_path):
        found = dataset(tmp_path, [SEMANTIC] + [np.full_like(SEMANTIC, 7)] * 99)
        with pytest.raises(InputError, match=r"the first 21 of 100 labeled images: 20 problems") as raised:
            validate(found)
        assert str(raised.value).splitlines()[4] == "  and 17 more like this"
