import warnings

import mlx.core as mx
import numpy as np
import pytest
from helpers import small_model
from made_video import SIZE, THINGS, Thing, Told, color, shot
from mlx.utils import tree_flatten
from PIL import Image

from lucid_mlx import InputError, Segmenter, Thresholds, VideoSegmenter
from lucid_mlx.models import Mask2Former
from lucid_mlx.postprocessing import video_instances
from lucid_mlx.preprocessing import preprocess
from lucid_mlx.video import match_frames
from lucid_mlx.video.clips import most_frames
from lucid_mlx.video.windows import MAX_WINDOW, OVERLAP
from lucid_mlx.weights.checkpoint import write_checkpoint

FRAMES = list(np.random.default_rng(0).integers(0, 256, (7, 40, 56, 3), np.uint8))


@pytest.fixture(scope="module")
def model() -> Mask2Former:
    return small_model(2, init_std=0.5, init_xavier_std=0.15)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """A converted network that was trained on clips."""
    path = tmp_path_factory.mktemp("clips") / "model"
    config = {"model_type": "mask2former", **model.config.to_dict()}
    metadata = {"format": "mlx", "trained_on": "clips"}
    write_checkpoint(path, config, dict(tree_flatten(model.parameters())), metadata, {"size": 64})
    return path


def clip_segmenter(model, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it was trained on images
        return VideoSegmenter(model, mode="clip", **{"size": 64, **options})


def found(frames):
    return [[(one.label_id, one.score, frame.mask(one).tobytes()) for one in frame.segments] for frame in frames]


def ids(frames):
    return [[one.track_id for one in frame.segments] for frame in frames]


class TestChoices:
    def test_a_network_for_images_is_used_online(self, model):
        segmenter = VideoSegmenter(model, "panoptic", size=64)
        assert (segmenter.mode, segmenter.association) == ("online", "segments")
        assert "online" in repr(segmenter)

    def test_a_network_for_clips_is_used_for_clips_and_finds_instances(self, folder):
        segmenter = VideoSegmenter(folder)
        assert (segmenter.mode, segmenter.segmenter.task) == ("clip", "instance")
        assert VideoSegmenter(folder, mode="online").mode == "online"
        assert VideoSegmenter(folder, association="minvis").mode == "online"

    def test_a_segmenter_is_shared(self, model):
        segmenter = Segmenter(model, "panoptic", size=64, threshold=0.1)
        shared = VideoSegmenter(segmenter)
        assert shared.segmenter is segmenter
        assert found(shared.stream(FRAMES)) == found(segmenter.stream(FRAMES))
        with pytest.raises(InputError, match="threshold goes with weights"):
            VideoSegmenter(segmenter, threshold=0.3)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mode": "both"}, "mode"),
            ({"association": "iou"}, "association"),
            ({"window": 1}, "window"),
            ({"window": 8}, 'window goes with mode="clip"'),
            ({"memory": -1}, "memory"),
            ({"mode": "clip", "association": "minvis"}, 'association="minvis" goes with mode="online"'),
            ({"mode": "clip", "task": "panoptic"}, "clips can only find instances"),
            ({"association": "minvis", "task": "semantic"}, "MinVIS can only find instances"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, model, options, message):
        with pytest.raises(InputError, match=message):
            VideoSegmenter(model, size=64, **options)

    def test_clips_of_a_network_for_images_are_warned_of(self, model):
        with pytest.warns(UserWarning, match="trained on images"):
            VideoSegmenter(model, mode="clip", size=64)


@pytest.fixture(scope="module")
def segmenter(model):
    return VideoSegmenter(model, "instance", size=64, threshold=0.1)


class TestFrames:
    def test_arrays_and_pictures_and_generators_are_taken(self, segmenter):
        wanted = found(segmenter.stream(FRAMES))
        for video in (np.stack(FRAMES), [Image.fromarray(frame) for frame in FRAMES], iter(FRAMES)):
            assert found(segmenter.stream(video)) == wanted
        assert found(segmenter.stream([frame[..., ::-1] for frame in FRAMES], bgr=True)) == wanted

    def test_a_frame_is_computed_when_it_is_asked_for(self, segmenter):
        asked = []
        results = segmenter.stream(frame for frame in FRAMES if asked.append(0) is None)
        assert asked == []
        next(results)
        assert len(asked) == 1
        results.close()

    @pytest.mark.parametrize("video", [FRAMES[0], Image.fromarray(FRAMES[0]), 5, None, b"film.mp4"])
    def test_what_is_no_video_is_refused_at_once(self, segmenter, video):
        with pytest.raises(InputError, match="frames"):
            segmenter.stream(video)

    def test_a_frame_that_cannot_be_read_is_named(self, segmenter):
        with pytest.raises(InputError, match="missing.png"):
            list(segmenter.stream([*FRAMES[:2], "missing.png"]))

    @pytest.mark.parametrize("options", [{"threshold": 2.0}, {"batch_size": 0}, {"thresholds": 0.5}, {"bgr": 1}])
    def test_wrong_values_are_refused_at_once(self, segmenter, options):
        with pytest.raises(InputError, match=next(iter(options))):
            segmenter.stream(FRAMES, **options)

    def test_no_frames_have_no_result(self, segmenter, model):
        for one in (segmenter, VideoSegmenter(model, size=64, association="minvis"), clip_segmenter(model)):
            assert list(one.stream([])) == []
            assert one([]).frames == ()

    def test_a_call_returns_the_tracks(self):
        shots = [shot(Thing(1, 0, 10 + 4 * t, 20), Thing(2, 1, 80, 30), seed=t) for t in range(5)]
        segmenter = VideoSegmenter(Told(shots), "panoptic", size=f"{SIZE[1]}x{SIZE[0]}", thing_ids=THINGS)
        result = segmenter([one.image for one in shots])
        assert [(one.id, one.label, one.first_frame, one.last_frame) for one in result.tracks] == [
            (1, "cup", 0, 4),
            (2, "spoon", 0, 4),
        ]


def by_hand(model, class_logits, mask_logits, content, top_k=10):
    frame = FRAMES[0]
    return video_instances(class_logits, mask_logits, (64, 64), frame.shape[:2], content, top_k)


def check_against(frames, wanted):
    """Compare the results of frames with scores, labels and masks (N, T, H, W)."""
    assert len(frames) == wanted.masks.shape[1]
    for number, frame in enumerate(frames):
        there = [index for index in range(len(wanted.scores)) if wanted.masks[index, number].any()]
        assert [one.label_id for one in frame.segments] == wanted.labels[there].tolist()
        np.testing.assert_allclose([one.score for one in frame.segments], wanted.scores[there], rtol=1e-5)
        for index, one in zip(there, frame.segments, strict=True):
            np.testing.assert_array_equal(frame.mask(one), wanted.masks[index, number])
            assert one.track_id == frame_ids(wanted, index)


def frame_ids(wanted, index):
    """The track of a pair: they are numbered as they first appear."""
    first = [next((t for t, mask in enumerate(masks) if mask.any()), 99) for masks in wanted.masks]
    order = sorted(range(len(first)), key=lambda n: (first[n], n))
    return order.index(index) + 1


class TestMinVIS:
    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_it_is_the_original_s(self, model, batch_size):
        images = preprocess(FRAMES, Segmenter(model, size=64).image_config)
        matched = match_frames([model(images.pixels.transpose(0, 3, 1, 2))])
        wanted = by_hand(model, matched.class_logits, matched.mask_logits, images.content_sizes[0])
        segmenter = VideoSegmenter(model, size=64, association="minvis", threshold=0.0)
        check_against(list(segmenter.stream(FRAMES, batch_size=batch_size)), wanted)

    def test_a_threshold_and_fewer_results(self, model):
        segmenter = VideoSegmenter(model, size=64, association="minvis")
        result = segmenter(FRAMES, thresholds=Thresholds(threshold=0.0, top_k=3))
        assert len({one.id for one in result.tracks}) <= 3
        assert len(segmenter(FRAMES, threshold=0.99999).tracks) == 0

    def test_frames_of_different_sizes_are_refused(self, model):
        segmenter = VideoSegmenter(model, size=64, association="minvis")
        with pytest.raises(InputError, match="one size"):
            list(segmenter.stream([FRAMES[0], FRAMES[0][:20]]))


class ToldOfClips(Told):
    """A network that says of each clip what it is told of its frames: each thing has the same query in all of them."""

    def __init__(self, shots):
        super().__init__(())
        self.by_image = {one.image.tobytes(): one for one in shots}
        self.lengths = []

    def forward_clip(self, pixels):
        values = np.array(pixels[0].transpose(0, 2, 3, 1))
        images = (values * (0.229, 0.224, 0.225) + (0.485, 0.456, 0.406)) * 255
        said = [self.by_image[image.round().clip(0, 255).astype(np.uint8).tobytes()] for image in images]
        self.lengths.append(len(said))
        order = np.random.default_rng(len(self.lengths)).permutation(len(said[0].classes))
        said = [one.shuffled(order) for one in said]
        best = max(range(len(said)), key=lambda number: -said[number].classes[:, -1].sum())
        return {
            "class_queries_logits": mx.array(said[best].classes[None]),
            "masks_queries_logits": mx.array(np.stack([one.masks for one in said], axis=1)[None]),
            "transformer_decoder_intermediate_states": (mx.array(said[0].states[:, None]),),
        }


class TestClips:
    def test_a_clip_is_looked_at_once(self, model):
        images = preprocess(FRAMES, Segmenter(model, size=64).image_config)
        outputs = model.forward_clip(images.pixels.transpose(0, 3, 1, 2)[None])
        logits = outputs["class_queries_logits"][0], outputs["masks_queries_logits"][0]
        wanted = by_hand(model, *logits, images.content_sizes[0])
        check_against(list(clip_segmenter(model, threshold=0.0).stream(FRAMES)), wanted)

    def test_a_network_for_clips_on_disk(self, folder):
        assert len(VideoSegmenter(folder, window=4)(FRAMES[:4], threshold=0.0).frames) == 4

    @pytest.mark.parametrize("count", [1, 2, 4, 5, 7, 8, 13])
    def test_longer_films_are_cut_into_windows_whose_objects_are_joined(self, count):
        things = Thing(1, 0, 10, 20), Thing(2, 0, 80, 30)
        shots = [shot(*(one._replace(left=one.left + 3 * t) for one in things)) for t in range(count)]
        network = ToldOfClips(shots)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            segmenter = VideoSegmenter(network, mode="clip", window=4, size=f"{SIZE[1]}x{SIZE[0]}")
            frames = list(segmenter.stream(one.image for one in shots))
        texts = [str(one.message) for one in told if "windows of 4" in str(one.message)]
        assert len(texts) == (count > 4)
        assert len(frames) == count
        assert max(network.lengths) <= 4
        assert sum(network.lengths) == count + OVERLAP * (len(network.lengths) - 1)
        seen = [{tuple(frame.image[frame.mask(one)][40]): one.track_id for one in frame.segments} for frame in frames]
        assert {frozenset(one.items()) for one in seen} == {frozenset(seen[0].items())}
        assert set(seen[0]) == {tuple(color(1)), tuple(color(2))}

    def test_an_object_that_comes_in_a_later_window_is_new(self):
        here, later = Thing(1, 0, 10, 20), Thing(3, 0, 70, 40)
        shots = [shot(here._replace(left=10 + t)) for t in range(4)]
        shots += [shot(here._replace(left=14 + t), later) for t in range(3)]
        segmenter = clip_segmenter(ToldOfClips(shots), window=4, size=f"{SIZE[1]}x{SIZE[0]}")
        with pytest.warns(UserWarning, match="windows of 4"):
            frames = list(segmenter.stream(one.image for one in shots))
        assert [sorted(one) for one in ids(frames)] == [[1]] * 4 + [[1, 2]] * 3

    def test_the_window_is_what_memory_allows(self, model, monkeypatch):
        asked = []
        monkeypatch.setattr("lucid_mlx.video.windows.most_frames", lambda *args: asked.append(args) or 6)
        with pytest.warns(UserWarning, match="more than 3 frames"):
            assert len(list(clip_segmenter(model).stream(FRAMES))) == len(FRAMES)
        assert asked == [(model, 64, 64)]
        assert most_frames(model, 64, 64) > 2 * MAX_WINDOW
