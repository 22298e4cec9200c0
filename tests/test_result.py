import base64
import gc
import io
import json
import threading

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from results import INPUT, LABELS, logits, segmented

from lucid_mlx import InputError, Segmentation
from lucid_mlx.datasets import TASKS
from lucid_mlx.postprocessing import (
    huggingface,
    instance_segmentation,
    panoptic_segmentation,
    post_process,
    semantic_segmentation,
)
from lucid_mlx.results.export import ids_to_mask, ids_to_rgb
from lucid_mlx.results.find_labels import find_label_ids
from lucid_mlx.results.segmented_image import VOID_IDS
from lucid_mlx.utils.files import write_file, write_image
from lucid_mlx.visualization import draw_instances


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def from_base64(text):
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))))


def instances(*masks, labels=None):
    """Instances with the given masks on a 4x4 photo, highest score first."""
    logits = np.where(np.array(masks, bool), 9.0, -9.0).astype(np.float32).reshape(1, len(masks), 4, 4)
    classes = np.full((1, len(masks), 6), -20.0, np.float32)
    for number, label in enumerate(labels or range(len(masks))):
        classes[0, number, label] = 20.0 - number
        classes[0, number, 5] = 12.0
    outputs = {"class_queries_logits": mx.array(classes), "masks_queries_logits": mx.array(logits)}
    found = instance_segmentation(outputs, (4, 4))[0]
    return Segmentation.from_instances(np.zeros((4, 4, 3), np.uint8), found, 0.5, LABELS)


ALL, LEFT, DOT = np.ones((4, 4)), np.tile([1, 1, 0, 0], (4, 1)), np.pad([[1]], (0, 3))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' decode
@settings(max_examples=40, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    seed=st.integers(0, 2**16),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    threshold=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_all_properties_and_exports_of_a_result_agree(task, seed, size, threshold):
    result = segmented(task, seed, size, threshold)
    void_id = VOID_IDS[task]
    assert result.map.shape == result.image.shape[:2] == size
    assert result.map.dtype == np.int32
    assert result.masks.shape == (len(result.segments), *size)
    assert result.masks.dtype == bool
    for segment, mask in zip(result.segments, result.masks, strict=True):
        assert np.array_equal(mask, result.mask(segment))
        assert segment.area == mask.sum() > 0
        assert segment.box == box_of(mask)
        assert segment.label == LABELS[segment.label_id]
        assert (segment.score is None) if task == "semantic" else 0 < segment.score <= 1
        if task != "instance":
            assert np.array_equal(mask, result.map == segment.id)

    top_ids = np.full(size, void_id, np.int32)
    for segment, mask in reversed(list(zip(result.segments, result.masks, strict=True))):
        top_ids[mask] = segment.id
    assert np.array_equal(result.map, top_ids)
    scores = [segment.score for segment in result.segments]
    assert task != "instance" or scores == sorted(scores, reverse=True)
    assert task != "instance" or all(score >= np.float32(threshold) for score in scores)

    annotations = result.to_coco(image_id=7, first_id=100)
    assert [one["id"] for one in annotations] == list(range(100, 100 + len(annotations)))
    for one, segment, mask in zip(json.loads(json.dumps(annotations)), result.segments, result.masks, strict=True):
        assert (one["image_id"], one["category_id"], one["iscrowd"]) == (7, segment.label_id, 0)
        assert np.array_equal(coco_mask.decode(one["segmentation"]), mask)
        assert coco_mask.area(one["segmentation"]) == one["area"]
        assert coco_mask.toBbox(one["segmentation"]).tolist() == one["bbox"]
        assert one.get("score") == segment.score

    picture, annotation = result.to_panoptic_png(image_id=7)
    red, green, blue = np.array(picture).astype(int).transpose(2, 0, 1)
    ids = red + 256 * green + 65536 * blue
    assert np.array_equal(ids, result.map + (task == "semantic"))
    infos = json.loads(json.dumps(annotation))["segments_info"]
    assert {one["id"] for one in infos} == set(ids.ravel()) - {0}
    label_ids = {segment.id + (task == "semantic"): segment.label_id for segment in result.segments}
    for one in infos:
        left, top, right, bottom = box_of(ids == one["id"])
        assert one["area"] == (ids == one["id"]).sum()
        assert one["bbox"] == [left, top, right - left, bottom - top]
        assert one["category_id"] == label_ids[one["id"]]
    assert (annotation["image_id"], annotation["file_name"]) == (7, "cat.png")

    labelme = json.loads(json.dumps(result.to_labelme()))
    assert np.array_equal(from_base64(labelme["imageData"]), result.image)
    assert (labelme["imageHeight"], labelme["imageWidth"]) == size
    for shape, segment, mask in zip(labelme["shapes"], result.segments, result.masks, strict=True):
        (left, top), (right, bottom) = shape["points"]  # both inside
        whole = np.zeros(size, bool)
        whole[top : bottom + 1, left : right + 1] = from_base64(shape["mask"])
        assert np.array_equal(whole, mask)
        assert (shape["label"], shape["group_id"], shape["shape_type"]) == (segment.label, segment.id, "mask")

    gray = np.array(result.to_mask())
    assert gray.dtype == np.uint8
    assert np.array_equal(np.where(gray == 255, void_id, gray.astype(int)), result.map)

    raw = json.loads(json.dumps(result.to_json()))
    assert (raw["height"], raw["width"]) == size
    assert [(one["id"], one["area"], tuple(one["box"])) for one in raw["segments"]] == [
        (segment.id, segment.area, segment.box) for segment in result.segments
    ]


class TestSegments:
    def test_the_first_segment_of_a_semantic_result_is_the_largest(self):
        classes = np.array([[4, 4, 4], [1, 0, 0]], np.int32)
        result = Segmentation.from_semantic(np.zeros((2, 3, 3), np.uint8), classes, LABELS)
        assert [(part.label_id, part.area, part.box) for part in result.segments] == [
            (4, 3, (0, 0, 3, 1)), (0, 2, (1, 1, 3, 2)), (1, 1, (0, 1, 1, 2)),
        ]  # fmt: skip

    def test_of_overlapping_instances_the_map_shows_the_highest_score(self):
        result = instances(LEFT, ALL)
        assert result.map.tolist() == [[1, 1, 2, 2]] * 4
        assert [part.area for part in result.segments] == [8, 16]

    def test_a_covered_instance_is_not_in_the_panoptic_png(self):
        result = instances(ALL, DOT)
        assert [part.area for part in result.segments] == [16, 1]
        infos = result.to_panoptic_png()[1]["segments_info"]
        assert [(one["id"], one["area"]) for one in infos] == [(1, 16)]
        assert [one["area"] for one in result.to_coco()] == [16, 1]

    @pytest.mark.parametrize("task", TASKS)
    def test_masks_are_independent_of_the_network_and_of_the_thread(self, task):
        results, masks = [], []

        def run(target):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

        run(lambda: results.append(segmented(task, 3)))
        gc.collect()
        run(lambda: masks.append(results[0].masks))
        assert np.array_equal(masks[0], segmented(task, 3).masks)
        assert len(masks[0]) > 1
        held = [value for value in vars(results[0]).values() if isinstance(value, mx.array) or callable(value)]
        assert held == []

    def test_results_are_equal_only_if_identical(self):
        result = segmented("instance")
        assert result == result
        assert result != segmented("instance")
        assert len({result, result}) == 1


class TestOnly:
    @pytest.mark.parametrize("task", TASKS)
    def test_the_segments_of_some_classes_are_kept(self, task):
        result = segmented(task, 3)
        label_id = result.segments[-1].label_id
        kept = result.only(LABELS[label_id])
        assert kept.segments == tuple(part for part in result.segments if part.label_id == label_id)
        assert np.array_equal(kept.map != VOID_IDS[task], kept.masks.any(axis=0))
        assert kept.map.dtype == np.int32
        assert not result.only([]).segments
        assert (result.only([]).map == VOID_IDS[task]).all()
        everything = result.only(LABELS.values())
        assert np.array_equal(everything.map, result.map)

    def test_covered_instances_become_visible(self):
        kept = instances(ALL, DOT, labels=[0, 2]).only(["couch"])
        assert [part.id for part in kept.segments] == [2]
        assert np.array_equal(kept.map, 2 * DOT)

    def test_a_class_is_found_by_any_of_its_names(self):
        assert (
            find_label_ids("Floor", LABELS)
            == find_label_ids(" flooring ", LABELS)
            == find_label_ids("floor, flooring", LABELS)
            == [1]
        )
        assert find_label_ids("COUCH", LABELS) == [2]
        assert find_label_ids("screen door", LABELS) == [3]

    def test_a_whole_label_is_preferred(self):
        assert find_label_ids("screen", LABELS) == [4]
        assert find_label_ids("screen", {0: "crt screen, screen", 1: "screen door, screen"}) == [0, 1]

    def test_unknown_names_are_reported_with_similar_names(self):
        with pytest.raises(InputError, match=r"no class 'sofaa'; did you mean 'sofa'"):
            segmented("semantic").only(["wall", "sofaa"])
        with pytest.raises(InputError, match="no class 'xyzzy'; known are wall, floor, flooring, sofa"):
            find_label_ids("xyzzy", LABELS)
        with pytest.raises(InputError, match="is selected by its name, got 3"):
            segmented("semantic").only([3])


class TestNothing:
    @pytest.mark.parametrize("task", ["instance", "panoptic"])
    def test_a_result_may_be_empty(self, task, tmp_path):
        result = segmented(task, threshold=1.0)
        assert result.segments == ()
        assert not result.map.any()
        assert result.masks.shape == (0, 33, 50)
        assert result.to_coco() == result.to_json()["segments"] == result.to_labelme()["shapes"] == []
        assert result.to_panoptic_png()[1]["segments_info"] == []
        assert (np.array(result.to_mask()) == 255).all()
        assert repr(result) == f"<{task} segmentation of photos/cat.jpg, 50x33: nothing found>"
        assert result.save(tmp_path / "empty.png").is_file()


class TestImages:
    @pytest.mark.parametrize(
        ("largest", "dtype", "white"), [(254, np.uint8, 255), (255, np.uint16, 65535), (65534, np.uint16, 65535)]
    )
    def test_a_mask_image_has_as_many_bits_as_needed(self, largest, dtype, white, tmp_path):
        ids_to_mask(np.array([[-1, 0, largest]], np.int32), -1, {0: (9, 8, 7)}).save(tmp_path / "mask.png")
        with Image.open(tmp_path / "mask.png") as picture:
            pixels = np.array(picture)
        assert pixels.dtype == dtype
        assert pixels.tolist() == [[white, 0, largest]]

    def test_a_mask_image_with_too_large_ids_is_refused(self):
        with pytest.raises(InputError, match="ids below 65535, got 65535"):
            ids_to_mask(np.array([[65535]], np.int32), 0, {})

    def test_a_panoptic_png_has_three_bytes_for_an_id(self):
        assert np.array(ids_to_rgb(np.array([[0, 5, 256 * 3 + 2, 65536 * 9 + 1]]))).tolist() == [
            [[0, 0, 0], [5, 0, 0], [2, 3, 0], [1, 0, 9]]
        ]

    def test_a_photo_without_a_name_gets_its_id(self):
        result = segmented("panoptic", name=None)
        assert result.to_panoptic_png(139)[1]["file_name"] == "000000000139.png"
        assert result.to_labelme()["imagePath"] == "image.png"  # labelme wants one

    @pytest.mark.parametrize("task", TASKS)
    def test_draw_passes_options_on(self, task):
        result = segmented(task)
        plain = result.draw(legend=False)
        assert plain.size == (500, 330)
        assert result.draw(legend=False, title="a title").height > plain.height
        assert result.draw(legend=False, opacity=0.0) != plain

    def test_instances_are_drawn_one_mask_at_a_time(self, monkeypatch):
        result = segmented("instance")
        wanted = draw_instances(
            result.image, result.masks, [part.label_id for part in result.segments],
            [part.score for part in result.segments], LABELS,
        )  # fmt: skip
        monkeypatch.setattr(Segmentation, "masks", property(lambda self: pytest.fail("all at once")))
        assert np.array_equal(result.draw(), wanted)

    def test_notebooks_show_an_image_of_limited_size(self):
        small = Image.open(io.BytesIO(segmented("panoptic")._repr_png_()))
        assert small.format == "PNG"
        assert small.width == 500
        assert Image.open(io.BytesIO(segmented("semantic", size=(1, 2000))._repr_png_())).width == 1600


class TestSave:
    @pytest.mark.parametrize(("name", "format"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.webp", "WEBP")])
    def test_the_suffix_determines_the_format(self, name, format, tmp_path):
        path = segmented("semantic").save(str(tmp_path / name), legend=False)
        assert path == tmp_path / name
        with Image.open(path) as picture:
            assert (picture.format, picture.size) == (format, (500, 330))

    def test_a_tilde_is_the_home_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert segmented("semantic").save("~/a.png") == tmp_path / "a.png"

    @pytest.mark.parametrize("name", ["a.docx", "a", "a.psd", "a.xyz"])
    def test_an_unknown_suffix_is_reported_before_drawing(self, name, tmp_path, monkeypatch):
        monkeypatch.setattr(Segmentation, "draw", lambda self: pytest.fail("drawn"))
        with pytest.raises(InputError, match=f"{name} does not name an image format"):
            segmented("semantic").save(tmp_path / name)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("no/a.png", "the folder .*no does not exist"),
            ("folder.png", "is a folder"),
            ("a\0.png", "path must be the path of a file"),
        ],
    )
    def test_a_path_that_cannot_be_written_is_reported(self, name, message, tmp_path):
        (tmp_path / "folder.png").mkdir()
        with pytest.raises(InputError, match=message):
            segmented("semantic").save(tmp_path / name)
        assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]

    def test_a_full_disk_leaves_the_existing_file(self, tmp_path, monkeypatch):
        def full_disk(self, data):
            with self.open("wb") as file:
                file.write(data[:3])
            raise OSError("No space left on device")

        path = write_file(tmp_path / "a.png", b"precious")
        monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
        with pytest.raises(InputError, match="a.png cannot be written: No space left"):
            write_file(path, b"something else")
        assert path.read_bytes() == b"precious"
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("ending", ["gif", "tga", "sgi", "webp"])
    def test_a_picture_that_a_format_cannot_hold_is_reported(self, ending, tmp_path):
        with pytest.raises(InputError, match="an image of 70000x1 cannot be"):
            write_image(tmp_path / f"a.{ending}", Image.new("RGB", (70000, 1)))


class TestSummary:
    def test_the_summary_of_a_semantic_result_has_percentages(self):
        classes = np.array([[4, 4, 4, 0]], np.int32)
        result = Segmentation.from_semantic(np.zeros((1, 4, 3), np.uint8), classes, LABELS)
        assert repr(result) == "<semantic segmentation, 4x1: screen 75%, wall 25%>"

    def test_other_summaries_have_counts(self):
        result = instances(LEFT, ALL, DOT, labels=[2, 0, 2])
        assert result.summary() == "2 sofa, couch, lounge, wall"

    def test_no_more_than_eight_are_listed(self):
        classes = np.arange(10, dtype=np.int32)[None]
        labels = {number: f"c{number}" for number in range(10)}
        summary = Segmentation.from_semantic(np.zeros((1, 10, 3), np.uint8), classes, labels).summary()
        assert summary.endswith("c7 10%, and 2 more")


class TestPostProcess:
    @pytest.mark.parametrize("task", TASKS)
    def test_post_process_has_both_implementations(self, task):
        outputs, things = logits(0), {"thing_ids": {1}} if task == "panoptic" else {}
        original = {
            "semantic": semantic_segmentation, "instance": instance_segmentation, "panoptic": panoptic_segmentation,
        }[task](outputs, INPUT, **things)[0]  # fmt: skip
        ours = post_process(outputs, task, input_size=INPUT, **things)[0]
        theirs = post_process(outputs, task, compatible="huggingface", target_sizes=[(9, 9)])[0]
        direct = getattr(huggingface, f"post_process_{task}_segmentation")(outputs, target_sizes=[(9, 9)])[0]
        assert type(ours) is type(original)
        if task == "semantic":
            assert np.array_equal(ours, original)
            assert np.array_equal(theirs, direct)
        else:
            assert theirs["segments_info"] == direct["segments_info"]

    def test_unknown_tasks_and_implementations_are_reported(self):
        with pytest.raises(InputError, match="task must be one of semantic, instance, panoptic, got 'depth'"):
            post_process(logits(0), "depth")
        with pytest.raises(InputError, match="compatible must be one of original, huggingface, got 'torch'"):
            post_process(logits(0), "semantic", compatible="torch")
