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
    segments = tuple(Segment(number, kind, LABELS[kind], 0.9, 100, (0, 0, 1, 1)) for number, kind, _, _ in boxes)
    return Segmentation("panoptic", np.zeros((*size, 3), np.uint8), ids, segments, LABELS)


def numbers(*frames):
    tracker = Tracker()
    return [tracker.numbers(one) for one in frames]


def test_the_first_frame_counts_the_segments_of_each_class():
    assert numbers(frame((1, 0, 0, 0), (2, 1, 20, 0), (3, 0, 40, 0))) == [[0, 0, 1]]


def test_segments_keep_their_numbers_in_whatever_order_they_come():
    first = frame((1, 0, 0, 0), (2, 0, 20, 0), (3, 0, 40, 0))
    later = frame((1, 0, 42, 1), (2, 0, 2, 1), (9, 0, 22, 1))
    assert numbers(first, later, first) == [[0, 1, 2], [2, 0, 1], [0, 1, 2]]


def test_a_newcomer_takes_the_lowest_free_number_and_those_who_stay_keep_theirs():
    one = frame((1, 0, 0, 0), (2, 0, 20, 0))
    without = frame((1, 0, 20, 0))
    newcomers = frame((5, 0, 40, 20), (6, 0, 20, 0), (7, 0, 0, 20))
    assert numbers(one, without, newcomers) == [[0, 1], [1], [0, 1, 2]]


def test_another_class_in_the_same_place_is_another_segment():
    assert numbers(frame((1, 0, 0, 0), (2, 0, 20, 0)), frame((1, 1, 20, 0), (2, 0, 0, 0))) == [[0, 1], [0, 0]]


def test_what_overlaps_too_little_is_new():
    ahead = frame((1, 0, 20, 0), (2, 0, 40, 0))
    assert numbers(frame((1, 0, 40, 20), (2, 0, 0, 0)), frame((1, 0, 8, 0)))[1] == [1]  # 20 of 180 pixels in common
    assert numbers(frame((1, 0, 40, 20), (2, 0, 0, 0)), frame((1, 0, 9, 0)))[1] == [0]  # 10 of 190
    assert numbers(ahead, frame((1, 0, 0, 20)))[1] == [0]


def test_all_overlaps_together_decide_not_the_first_or_the_largest():
    """The left one of two moves onto the place between; taking the largest overlap first would leave one new."""
    before = frame((1, 0, 0, 0), (2, 0, 13, 0))
    after = frame((3, 0, 7, 0), (4, 0, 20, 0))  # 3 overlaps 2 by 4 columns and 1 by 3; 4 overlaps 2 by 3
    assert numbers(before, after)[1] == [0, 1]


def test_pixels_of_no_segment_are_not_matched():
    hidden = frame((1, 0, 0, 0), (2, 0, 20, 0)).only(["spoon"])
    assert numbers(hidden, frame((1, 0, 0, 0)), frame()) == [[], [0], []]


def test_frames_of_another_size_start_anew():
    assert numbers(frame((1, 0, 0, 0), (2, 0, 20, 0)), frame((2, 0, 20, 0), size=(30, 60))) == [[0, 1], [0]]


@pytest.mark.parametrize(("verb", "module", "rest"), [("video", "av", ["in.mp4", "out.mp4"]), ("app", "gradio", [])])
def test_a_verb_without_its_library_tells_how_to_install_it(tmp_path, monkeypatch, verb, module, rest):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    result = CliRunner().invoke(main, [verb, *rest])
    assert result.exit_code == 2
    assert f"pip install 'lucid-mlx[{verb}]'" in result.stderr
    assert list(tmp_path.iterdir()) == []
    help_text = CliRunner().invoke(main, [verb, "--help"]).stdout
    assert help_text.count(f"  lucid-mlx {verb}") == 2
