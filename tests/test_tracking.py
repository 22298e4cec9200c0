import sys

import numpy as np
import pytest
from click.testing import CliRunner

from lucid_mlx.cli.main import main
from lucid_mlx.results import Segmentation
from lucid_mlx.results.segment import Segment
from lucid_mlx.video.tracking import Tracker

LABELS = {0: "cup", 1: "spoon"}


def frame(*boxes, size=(40, 60)):
    """A panoptic map of squares: (id, class, left, top)."""
    ids = np.zeros(size, np.int32)
    for number, _, left, top in boxes:
        ids[top : top + 10, left : left + 10] = number
    segments = tuple(
        Segment(number, label_id, LABELS[label_id], 0.9, 100, (0, 0, 1, 1)) for number, label_id, _, _ in boxes
    )
    return Segmentation("panoptic", np.zeros((*size, 3), np.uint8), ids, segments, LABELS)


def tracks(*frames):
    tracker = Tracker()
    return [tracker.update(one) for one in frames]


def test_in_the_first_frame_the_segments_of_each_class_are_numbered():
    assert tracks(frame((1, 0, 0, 0), (2, 1, 20, 0), (3, 0, 40, 0))) == [[0, 0, 1]]


def test_segments_keep_their_tracks_in_any_order():
    first = frame((1, 0, 0, 0), (2, 0, 20, 0), (3, 0, 40, 0))
    later = frame((1, 0, 42, 1), (2, 0, 2, 1), (9, 0, 22, 1))
    assert tracks(first, later, first) == [[0, 1, 2], [2, 0, 1], [0, 1, 2]]


def test_a_new_segment_gets_the_lowest_free_number_and_others_keep_theirs():
    one = frame((1, 0, 0, 0), (2, 0, 20, 0))
    without = frame((1, 0, 20, 0))
    newcomers = frame((5, 0, 40, 20), (6, 0, 20, 0), (7, 0, 0, 20))
    assert tracks(one, without, newcomers) == [[0, 1], [1], [0, 1, 2]]


def test_a_segment_of_another_class_is_not_matched():
    assert tracks(frame((1, 0, 0, 0), (2, 0, 20, 0)), frame((1, 1, 20, 0), (2, 0, 0, 0))) == [[0, 1], [0, 0]]


def test_a_segment_with_too_little_overlap_is_new():
    before = frame((1, 0, 20, 0), (2, 0, 40, 0))
    assert tracks(frame((1, 0, 40, 20), (2, 0, 0, 0)), frame((1, 0, 8, 0)))[1] == [1]  # 20 of 180 pixels in common
    assert tracks(frame((1, 0, 40, 20), (2, 0, 0, 0)), frame((1, 0, 9, 0)))[1] == [0]  # 10 of 190
    assert tracks(before, frame((1, 0, 0, 20)))[1] == [0]


def test_the_sum_of_overlaps_is_maximal():
    """The left one of two segments moves between them. With greedy matching one segment would be new."""
    before = frame((1, 0, 0, 0), (2, 0, 13, 0))
    after = frame((3, 0, 7, 0), (4, 0, 20, 0))  # 3 overlaps 2 by 4 columns and 1 by 3; 4 overlaps 2 by 3
    assert tracks(before, after)[1] == [0, 1]


def test_pixels_of_no_segment_are_not_matched():
    hidden = frame((1, 0, 0, 0), (2, 0, 20, 0)).only(["spoon"])
    assert tracks(hidden, frame((1, 0, 0, 0)), frame()) == [[], [0], []]


def test_tracks_end_when_the_size_changes():
    assert tracks(frame((1, 0, 0, 0), (2, 0, 20, 0)), frame((2, 0, 20, 0), size=(30, 60))) == [[0, 1], [0]]


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
    assert help_text.count(f"  lucid-mlx {verb}") == 2
