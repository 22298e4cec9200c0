"""The films of garments: each can be made again, and its labels are exact."""

import runpy
import sys

import numpy as np
import pytest
from labeled import load_scenes, write_garments
from PIL import Image

load_scenes()  # which the other one imports
moving_scenes = load_scenes("moving_scenes")
film, pan, cut = moving_scenes.film, moving_scenes.pan, moving_scenes.cut


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_garments(tmp_path_factory.mktemp("garments"))


@pytest.mark.parametrize("kind", moving_scenes.KINDS)
def test_a_film_can_be_made_again(folder, kind):
    one, again, other = (film(kind, index, 3, size=96, folder=folder) for index in (1, 1, 2))
    assert one.class_ids == again.class_ids
    assert all(
        np.array_equal(a.image, b.image) and np.array_equal(a.objects, b.objects)
        for a, b in zip(one.frames, again.frames, strict=True)
    )
    assert not np.array_equal(one.frames[0].image, other.frames[0].image)
    assert {n for frame in one.frames for n in np.unique(frame.objects).tolist()} <= {0, *one.class_ids}


@pytest.mark.parametrize("index", range(6))
def test_what_is_hidden_is_seen_before_and_after_alone(folder, index):
    made = film("occlusion", index, folder=folder)
    seen = [(frame.objects == made.focus).sum() for frame in made.frames]
    first, last = made.hidden
    assert last - first == moving_scenes.HIDDEN_FRAMES
    assert min(seen[:first] + seen[last:]) > 0
    assert max(seen[first:last]) == 0


def test_what_leaves_comes_back(folder):
    made = film("return", 0, folder=folder, slow=2)
    first, last = made.hidden
    seen = [(frame.objects == made.focus).sum() for frame in made.frames]
    assert max(seen[first:last]) < 30 <= min(seen[first - 1], seen[last])


@pytest.mark.parametrize("index", [0, 1])
def test_a_window_pans_over_a_scene(folder, index):
    made = pan(index, 20, folder=folder)
    one, other = (frame.objects for frame in made.frames[:2])
    if index:
        one, other = one.T, other.T
    assert np.array_equal(one[:, 20:], other[:, :-20])
    assert len(made.frames) == 9


def test_garments_alike_have_one_color(folder):
    made = film("walk", 0, folder=folder, alike=True)
    frame = made.frames[0]
    colors = [frame.image[frame.objects == number].astype(float).mean(axis=0) for number in made.class_ids]
    hues = [color / color.sum() for color in colors if np.isfinite(color).all()]
    assert np.ptp(hues, axis=0).max() < 0.12


def test_the_garments_of_films_that_are_cut_together_have_numbers_of_their_own(folder):
    films = [film("walk", index, folder=folder) for index in (0, 1)]
    made = cut(*films)
    before, after = len(films[0].class_ids), len(films[0].frames)
    assert list(made.class_ids.values()) == [*films[0].class_ids.values(), *films[1].class_ids.values()]
    for frame, source in zip(made.frames[after:], films[1].frames, strict=True):
        assert np.array_equal(frame.objects, np.where(source.objects > 0, source.objects + before, 0))


def test_the_script_writes_frames_and_labels(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "film"
    monkeypatch.setattr(sys, "argv", ["moving_scenes.py", str(out), "--kind", "crossing", "--garments", str(folder)])
    runpy.run_path(moving_scenes.__file__, run_name="__main__")
    made = film("crossing", 0, folder=folder)
    assert f"{len(made.frames)} frames" in capsys.readouterr().out
    for name, arrays in (
        ("frames", [one.image for one in made.frames]),
        ("objects", [one.objects for one in made.frames]),
    ):
        files = sorted((out / name).iterdir())
        assert all(np.array_equal(Image.open(file), array) for file, array in zip(files, arrays, strict=True))
