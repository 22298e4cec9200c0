import gc
import sys
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from made_video import QUERIES, SIZE, THINGS, Shot, Thing, Told, embedding, shot

from lucid_mlx import InputError, Segmenter, VideoSegmenter
from lucid_mlx.cli.main import main
from lucid_mlx.video.tracking import MAX_TRACKS, Tracker

CUP, SPOON, OTHER = Thing(1, 0, 10, 20), Thing(2, 1, 80, 30), Thing(3, 0, 50, 60)


def at(thing, left, top=None, **changes):
    return thing._replace(left=left, top=thing.top if top is None else top, **changes)


def segment(shots, task="panoptic", batch_size=1, **options):
    segmenter = VideoSegmenter(Told(shots), task, size=f"{SIZE[1]}x{SIZE[0]}", thing_ids=THINGS, **options)
    return list(segmenter.stream((one.image for one in shots), batch_size=batch_size))


def tracks(shots, **options):
    """The track of each thing in each frame, by its color, which only it has; "table" for stuff."""
    return [{_name(frame, one): one.track_id for one in frame.segments} for frame in segment(shots, **options)]


def _name(frame, one):
    if one.label == "table":
        return "table"
    colors = {tuple(shot(thing).image[thing.top + 12, thing.left + 12]): thing.number for thing in (CUP, SPOON, OTHER)}
    pixels, counts = np.unique(frame.image[frame.mask(one)], axis=0, return_counts=True)
    return colors[tuple(pixels[counts.argmax()])]


def test_ids_begin_at_one_with_what_is_surest():
    sure, unsure = CUP._replace(score=0.9), SPOON._replace(score=0.99)
    assert tracks([shot(sure, unsure)]) == [{1: 2, 2: 1}]


def test_things_that_move_keep_their_tracks():
    shots = [shot(at(CUP, 10 + 6 * t), at(SPOON, 80 - 2 * t), table=True, seed=t) for t in range(10)]
    assert tracks(shots) == [{1: 1, 2: 2, "table": 3}] * 10


def test_things_of_a_class_that_cross_keep_their_tracks():
    shots = [shot(at(CUP, 4 + 8 * t, 40), at(OTHER, 90 - 8 * t, 46), seed=t) for t in range(12)]
    assert {tuple(sorted(one.items())) for one in tracks(shots) if len(one) == 2} == {((1, 1), (3, 2))}


def test_a_thing_that_jumps_too_far_to_overlap_keeps_its_track():
    assert tracks([shot(CUP, SPOON), shot(at(CUP, 50, 60), SPOON, seed=1)]) == [{1: 1, 2: 2}] * 2


def test_another_thing_in_the_place_of_one_is_new():
    assert tracks([shot(CUP, SPOON), shot(at(OTHER, CUP.left, CUP.top), SPOON)]) == [{1: 1, 2: 2}, {3: 3, 2: 2}]


def test_a_thing_whose_class_flips_keeps_its_track():
    shots = [shot(CUP), shot(CUP._replace(label_id=1)), shot(CUP)]
    assert tracks(shots) == [{1: 1}] * 3


@pytest.mark.parametrize(("gone", "found"), [(1, 1), (10, 1), (20, 1), (21, 3)])
def test_a_lost_thing_is_found_again_for_as_long_as_it_is_remembered(gone, found):
    shots = [shot(CUP, SPOON), *[shot(SPOON, seed=t) for t in range(gone)], shot(at(CUP, 14), SPOON, seed=99)]
    assert tracks(shots, memory=20)[-1] == {1: found, 2: 2}


def test_a_thing_that_leaves_and_comes_back_on_the_other_side_has_its_track_again():
    shots = [
        *[shot(at(CUP, 90 + 8 * t), SPOON._replace(left=40), seed=t) for t in range(6)],
        *[shot(SPOON._replace(left=40), seed=t) for t in range(8)],
        *[shot(at(CUP, -20 + 8 * t), SPOON._replace(left=40), seed=t) for t in range(2, 6)],
    ]
    found = tracks(shots)
    assert found[0] == found[-1] == {1: 1, 2: 2}


def test_nothing_goes_on_across_a_cut():
    one, other = shot(CUP, SPOON, table=True), shot(CUP, SPOON, table=True, background=1)
    assert tracks([one, one, other, one]) == [
        {1: 1, 2: 2, "table": 3},
        {1: 1, 2: 2, "table": 3},
        {1: 4, 2: 5, "table": 6},
        {1: 7, 2: 8, "table": 9},
    ]


@pytest.mark.parametrize("task", ["panoptic", "instance"])
def test_frames_without_any_segment(task):
    assert tracks([shot(), shot(CUP), shot(), shot(), shot(CUP)], task=task) == [{}, {1: 1}, {}, {}, {1: 1}]


def test_another_size_begins_anew():
    one = shot(CUP)
    smaller = Shot(one.image[:, :100].copy(), one.classes, one.masks, one.states)
    frames = segment([one, smaller])
    assert [[each.track_id for each in frame.segments] for frame in frames] == [[1], [2]]


@pytest.mark.parametrize("batch_size", [2, 5])
def test_frames_that_run_together_have_the_same_tracks(batch_size):
    shots = [shot(at(CUP, 10 + 6 * t), at(SPOON, 80 - 2 * t), seed=t) for t in range(7)]
    assert tracks(shots, batch_size=batch_size) == tracks(shots)


def test_instances_and_classes_are_tracked_too():
    shots = [shot(at(CUP, 10 + 6 * t), SPOON, table=True, seed=t) for t in range(4)]
    assert tracks(shots, task="instance") == [{1: 1, 2: 2}] * 4
    classes = segment(shots, task="semantic")
    assert [{one.label: one.track_id for one in frame.segments} for frame in classes] == [
        {one.label: one.track_id for one in classes[0].segments}
    ] * 4


@pytest.mark.parametrize("height", [24, 16])
def test_an_object_that_is_found_twice_has_one_identity(height):
    """Two queries find a cup: which of them is surer changes from frame to frame."""
    shots = []
    for t in range(4):
        one = shot(CUP, SPOON, seed=t)
        one.classes[2], one.states[2] = one.classes[0], embedding(77, seed=t)
        one.masks[2] = one.masks[0]
        one.masks[2, (CUP.top + height) // 4 :] = -9.0
        one.classes[2 * (t % 2), CUP.label_id] += 1.0
        shots.append(one)
    frames = segment(shots, "instance")
    assert [[(one.label, one.track_id) for one in frame.segments] for frame in frames] == [
        [("cup", 1), ("spoon", 2)]
    ] * 4
    for frame in frames:
        assert {one.id for one in frame.segments} | {0} == set(np.unique(frame.map).tolist())


def drawn_shots(seed, frames=6):
    """Things that move, come and go at random."""
    rng = np.random.default_rng(seed)
    things = [Thing(n, int(rng.integers(2)), *rng.integers(0, 80, 2), int(rng.integers(12, 40))) for n in range(1, 6)]
    speeds = rng.integers(-12, 13, (5, 2))
    return [
        shot(
            *(
                at(thing, thing.left + t * dx, thing.top + t * dy, score=float(rng.uniform(0.6, 0.99)))
                for thing, (dx, dy) in zip(things, speeds.tolist(), strict=True)
                if rng.random() < 0.8
            ),
            table=rng.random() < 0.8,
            seed=t,
        )
        for t in range(frames)
    ]


def by_mask(frames):
    return [{(one.label_id, frame.mask(one).tobytes()): one.track_id for one in frame.segments} for frame in frames]


@pytest.mark.parametrize("task", ["panoptic", "instance"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), data=st.data())
def test_the_order_of_queries_changes_no_track(task, seed, data):
    shots = drawn_shots(seed)
    orders = [data.draw(st.permutations(range(QUERIES))) for _ in shots]
    shuffled = [one.shuffled(order) for one, order in zip(shots, orders, strict=True)]
    wanted = by_mask(segment(shots, task, threshold=0.3))
    assert any(wanted)
    assert by_mask(segment(shuffled, task, threshold=0.3)) == wanted


def test_nothing_piles_up_over_two_thousand_frames():
    """One thing stays, and every tenth frame another one comes, each time a new one."""
    said = []

    def frames():
        for t in range(2000):
            said.append(shot(CUP, *([Thing(100 + t, 1, 70, 40)] if t % 10 == 0 else []), seed=t))
            yield said[-1].image

    network = Told(iter(lambda: said.pop(0), None))
    segmenter = VideoSegmenter(network, "panoptic", size=f"{SIZE[1]}x{SIZE[0]}", thing_ids=THINGS)
    used = []
    for number, frame in enumerate(segmenter.stream(frames())):
        assert frame.segments[0].track_id == 1
        assert frame._appearances is None
        if number in (299, 1999):
            gc.collect()
            used.append((sys.getallocatedblocks(), mx.get_active_memory()))
    (objects, arrays), (objects_later, arrays_later) = used
    assert objects_later < objects + 500  # a frame has hundreds
    assert arrays_later <= arrays + 1000


def test_no_more_tracks_are_remembered_than_a_number_of_them():
    tracker = Tracker(memory=10**6)
    for frame in Segmenter(Told(many()), "panoptic", size=f"{SIZE[1]}x{SIZE[0]}").stream(
        (one.image for one in many()), for_tracking=True
    ):
        tracker.update(frame)
    assert len(tracker._tracks) == MAX_TRACKS


def many():
    return (shot(*(Thing(10 * t + n, 0, 30 * n, 20) for n in range(4))) for t in range(MAX_TRACKS // 3))


def test_a_result_that_keeps_nothing_to_track_by_is_refused():
    one = shot(CUP)
    frame = Segmenter(Told([one]), "panoptic", size=f"{SIZE[1]}x{SIZE[0]}")(one.image)
    with pytest.raises(InputError, match="for_tracking=True"):
        Tracker().update(frame)
    with pytest.raises(InputError, match="frame"):
        Tracker().update(None)
    Tracker().update(replace(frame, segments=(), _appearances={}))


@pytest.mark.parametrize(
    ("verb", "module", "rest"), [("video", "av", ["in.mp4", "out.mp4"]), ("app", "gradio", ["--weights", "demo"])]
)
def test_a_verb_without_its_library_reports_how_to_install_it(tmp_path, monkeypatch, verb, module, rest):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    result = CliRunner().invoke(main, [verb, *rest])
    assert result.exit_code == 2
    assert f"pip install 'lucid-mlx[{verb}]'" in result.stderr
    assert list(tmp_path.iterdir()) == []
    help_text = CliRunner().invoke(main, [verb, "--help"]).stdout
    assert help_text.count(f"  lucid-mlx {verb}") >= 2
