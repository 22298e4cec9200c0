"""The result of a video: tracks, frames, masks as run lengths, and what is exported of them."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

import lucid_mlx
from lucid_mlx.errors import InputError
from lucid_mlx.results import Segment, Segmentation, VideoSegmentation
from lucid_mlx.results.packed_mask import pack
from lucid_mlx.results.video_export import davis_palette
from lucid_mlx.visualization.overlay import bounding_boxes

LABELS = {0: "cup", 1: "spoon"}
SIZE = (12, 20)


def instances(*found, size=SIZE):
    """A frame of instances that may overlap: (track, class, score, mask)."""
    segments, packed = [], {}
    ids = np.zeros(size, np.int32)
    for number, (track_id, label_id, score, mask) in enumerate(found, 1):
        box = bounding_boxes(mask.view(np.uint8))[1]
        segments.append(Segment(number, label_id, LABELS[label_id], score, int(mask.sum()), box, track_id))
        packed[number] = pack(mask)
        ids[mask & (ids == 0)] = number
    image = np.zeros((*size, 3), np.uint8)
    return Segmentation("instance", image, ids, tuple(segments), LABELS, None, packed)


def square(left, top, side=4, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.fixture
def film():
    """A cup that moves, is covered for a frame and once taken for a spoon; and a spoon that comes later."""
    result = VideoSegmentation("instance", LABELS, "film.mp4")
    result.add(instances((7, 0, 0.9, square(0, 0))), 0.0)
    result.add(instances((2, 1, 0.75, square(3, 2)), (7, 1, 0.5, square(1, 0))), 0.04)
    result.add(instances((2, 1, 0.25, square(4, 2))), 0.08)
    result.add(instances((7, 0, 0.7, square(3, 0)), (2, 1, 0.5, square(5, 2))), 0.12)
    return result


def test_tracks_have_their_scores_over_time_and_the_class_with_the_most_of_them(film):
    spoon, cup = film.tracks
    assert (spoon.id, spoon.label, spoon.first_frame, spoon.last_frame) == (2, "spoon", 1, 3)
    assert (cup.id, cup.label_id, cup.label, cup.first_frame, cup.last_frame) == (7, 0, "cup", 0, 3)
    assert cup.scores == {0: 0.9, 1: 0.5, 3: 0.7}
    assert (cup.score, spoon.score) == (pytest.approx(0.7), pytest.approx(0.5))


def test_frames_have_times_and_segments_in_their_order(film):
    assert [frame.index for frame in film.frames] == [0, 1, 2, 3]
    assert [frame.time for frame in film.frames] == [0.0, 0.04, 0.08, 0.12]
    assert [[one.track_id for one in frame.segments] for frame in film.frames] == [[7], [2, 7], [2], [7, 2]]


def test_masks_of_a_track_are_those_that_were_added_and_empty_in_other_frames(film):
    masks = film.masks(7)
    expected = np.stack([square(0, 0), square(1, 0), np.zeros(SIZE, bool), square(3, 0)])
    assert (masks.shape, masks.dtype, len(masks)) == ((4, *SIZE), bool, 4)
    assert np.array_equal(np.asarray(masks), expected)
    assert np.array_equal(list(masks), expected)
    assert np.array_equal(masks[-1], expected[3])
    assert np.array_equal(np.asarray(film.masks(film.tracks[1])[1:3]), expected[1:3])
    with pytest.raises(IndexError):
        masks[4]
    with pytest.raises(InputError, match="there is no track 3"):
        film.masks(3)


def test_of_overlapping_instances_the_one_with_the_highest_score_is_on_top(film):
    ids = film.frame_map(1)
    assert np.array_equal(ids == 2, square(3, 2))
    assert np.array_equal(ids == 7, square(1, 0) & ~square(3, 2))


def test_a_frame_gives_back_the_segmentation_that_was_added(film):
    image = np.arange(np.prod(SIZE) * 3, dtype=np.uint8).reshape(*SIZE, 3)
    added = instances((2, 1, 0.75, square(3, 2)), (7, 1, 0.5, square(1, 0)))
    again = film.segmentation(1, image)
    assert np.array_equal(again.map, added.map)
    assert again.segments == added.segments
    assert np.array_equal(again.masks, added.masks)
    assert np.array_equal(again.image, image)
    with pytest.raises(InputError, match="expected an image of shape"):
        film.segmentation(1, image[:-1])


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_mask_comes_back(data):
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    result = VideoSegmentation("instance", LABELS)
    masks = rng.random((3, height, width)) < data.draw(st.sampled_from([0.0, 0.2, 0.9, 1.0]))
    for mask in masks:
        result.add(instances((1, 0, 0.5, mask), size=mask.shape) if mask.any() else instances(size=mask.shape))
    if masks.any():
        assert np.array_equal(np.asarray(result.masks(1)), masks)
    else:
        assert result.tracks == ()


@pytest.mark.parametrize("task", ["semantic", "panoptic"])
def test_other_tasks_come_back_too(task):
    ids = np.array([[0, 0, 1], [-1, 1, 1]], np.int32) if task == "semantic" else np.array([[0, 5, 5], [9, 9, 0]])
    numbers = [number for number in np.unique(ids).tolist() if number >= (0 if task == "semantic" else 1)]
    segments = tuple(
        Segment(
            number,
            index,
            LABELS[index],
            None if task == "semantic" else 0.5,
            int((ids == number).sum()),
            (0, 0, 1, 1),
            None if task == "semantic" else 4 - index,
        )
        for index, number in enumerate(numbers)
    )
    image = np.zeros((*ids.shape, 3), np.uint8)
    result = VideoSegmentation(task, LABELS)
    result.add(Segmentation(task, image, ids.astype(np.int32), segments, LABELS))
    again = result.segmentation(0, image)
    assert np.array_equal(again.map, ids)
    assert [track.id for track in result.tracks] == ([1, 2] if task == "semantic" else [3, 4])
    assert (result.tracks[0].score is None) == (task == "semantic")


def test_frames_that_do_not_belong_together_are_refused(film):
    with pytest.raises(InputError, match="a frame is 8x6 pixels, those before it are 20x12"):
        film.add(instances((1, 0, 0.5, square(0, 0, size=(6, 8))), size=(6, 8)))
    with pytest.raises(InputError, match="the track_id of a segment is None; expected a whole number from 1"):
        film.add(instances((None, 0, 0.5, square(0, 0))))
    with pytest.raises(InputError, match="two segments of frame 4 have the same track_id"):
        film.add(instances((1, 0, 0.5, square(0, 0)), (1, 0, 0.5, square(9, 0))))
    with pytest.raises(InputError, match="expected a frame of instance segmentation, got one of semantic"):
        film.add(Segmentation.from_semantic(np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.int32), LABELS))
    assert len(film.frames) == 4


def test_the_result_says_what_it_has(film):
    assert repr(film) == "<instance segmentation of film.mp4, 4 frames of 20x12: spoon, cup>"
    assert repr(VideoSegmentation("instance", LABELS)) == "<instance segmentation, 0 frames of 0x0: nothing found>"
    assert lucid_mlx.VideoSegmentation is VideoSegmentation


def test_memory_is_that_of_run_lengths():
    frame = instances((1, 0, 0.5, square(100, 100, 200, (720, 1280))), size=(720, 1280))
    result = VideoSegmentation("instance", LABELS)
    result.add(frame)
    tracemalloc.start()
    for _ in range(50):
        result.add(frame)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 50 * 4000  # an uncompressed mask has 921,600 bytes


# -- exports


def test_json_has_tracks_and_frames_with_boxes_and_run_lengths(film, tmp_path):
    film.export(tmp_path / "film.json", "json")
    written = json.loads((tmp_path / "film.json").read_text())
    assert written == json.loads(json.dumps(film.to_json()))
    assert {key: written[key] for key in ("video", "task", "width", "height")} == {
        "video": "film.mp4", "task": "instance", "width": 20, "height": 12,
    }  # fmt: skip
    assert written["tracks"][1] == {
        "id": 7, "label_id": 0, "label": "cup", "score": 0.7, "first_frame": 0, "last_frame": 3, "frame_count": 3,
    }  # fmt: skip
    assert [frame["time"] for frame in written["frames"]] == [0.0, 0.04, 0.08, 0.12]
    spoon, cup = written["frames"][1]["segments"]
    assert (cup["track_id"], cup["score"], cup["area"], cup["box"]) == (7, 0.5, 16, [1, 0, 5, 4])
    assert np.array_equal(coco_mask.decode(spoon["segmentation"]), square(3, 2))


def test_youtube_vis_has_a_result_for_each_track_and_a_mask_or_null_for_each_frame(film, tmp_path):
    film.export(tmp_path / "results.json", "youtubevis", video_id=12, category_ids={0: 26, 1: 3})
    spoon, cup = json.loads((tmp_path / "results.json").read_text())
    assert cup.keys() == {"video_id", "score", "category_id", "segmentations"}
    assert (cup["video_id"], cup["category_id"], cup["score"]) == (12, 26, pytest.approx(0.7))
    assert (spoon["category_id"], [one is None for one in spoon["segmentations"]]) == (3, [True, False, False, False])
    assert np.array_equal(coco_mask.decode(cup["segmentations"][1]), square(1, 0))
    assert cup["segmentations"][2] is None
    with pytest.raises(InputError, match="category_ids has no category for the class 1"):
        film.to_youtube_vis(category_ids={0: 26})


def test_masks_are_pngs_of_track_ids_with_the_palette_of_davis(film, tmp_path):
    folder = film.export(tmp_path / "masks", "masks")
    assert sorted(file.name for file in folder.iterdir()) == [f"{frame:05}.png" for frame in range(4)]
    with Image.open(folder / "00001.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), film.frame_map(1))
        # The first colors of DAVIS: black, dark red, dark green, olive, dark blue.
        assert image.getpalette()[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
    assert len(np.unique(davis_palette(), axis=0)) == 256


def test_masks_with_many_tracks_have_sixteen_bits():
    result = VideoSegmentation("instance", LABELS)
    result.add(instances((1, 0, 0.5, square(0, 0))))
    result.add(instances((300, 0, 0.5, square(0, 0))))
    assert np.asarray(result.to_mask(0)).max() == 1
    assert [result.to_mask(frame).mode for frame in (0, 1)] == ["I;16", "I;16"]
    assert np.asarray(result.to_mask(1)).max() == 300
    result.add(instances((70000, 0, 0.5, square(0, 0))))
    with pytest.raises(InputError, match="track ids up to 65535, got 70000"):
        result.to_mask(0)


def test_masks_replace_those_of_a_longer_film_and_leave_other_files(film, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in ("00000.png", "00099.png", "notes.txt"):
        (folder / name).write_text("mine")
    film.export(folder, "masks")
    assert sorted(file.name for file in folder.iterdir()) == [*(f"{frame:05}.png" for frame in range(4)), "notes.txt"]
    assert (folder / "notes.txt").read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["masks"]


def test_what_was_there_stays_if_masks_cannot_be_written(film, tmp_path, monkeypatch):
    folder = film.export(tmp_path / "masks", "masks")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    film.add(instances((70000, 0, 0.5, square(0, 0))))
    with pytest.raises(InputError, match="65535"):
        film.export(folder, "masks")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["masks"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; expected the name of a folder"):
        film.export(tmp_path / "file", "masks")
    with pytest.raises(InputError, match="does not exist; create it first"):
        film.export(tmp_path / "no" / "masks", "masks")


def test_mot_has_a_line_for_each_box_and_counts_from_one(film, tmp_path):
    film.export(tmp_path / "gt.txt", "mot")
    assert (tmp_path / "gt.txt").read_text().splitlines() == [
        "1,7,1,1,4,4,0.9,-1,-1,-1",
        "2,2,4,3,4,4,0.75,-1,-1,-1",
        "2,7,2,1,4,4,0.5,-1,-1,-1",
        "3,2,5,3,4,4,0.25,-1,-1,-1",
        "4,7,4,1,4,4,0.7,-1,-1,-1",
        "4,2,6,3,4,4,0.5,-1,-1,-1",
    ]


def test_an_unknown_format_is_refused(film, tmp_path):
    with pytest.raises(InputError, match="format must be one of json, youtubevis, masks, mot, got 'mp3'"):
        film.export(tmp_path / "x", "mp3")


def test_an_empty_result_exports_too(tmp_path):
    result = VideoSegmentation("instance", LABELS)
    result.add(instances())
    assert (result.to_youtube_vis(), result.to_mot()) == ([], [])
    assert np.asarray(result.to_mask(0)).max() == 0
