"""`segment` draws and writes while the network runs."""

import json
import time

import numpy as np
import pytest
from helpers import SCENES, run_cli
from PIL import Image

from lucid_mlx.cli import segment
from lucid_mlx.results import Segmentation


def result(name, seed=0):
    rng = np.random.default_rng(seed)
    return Segmentation.from_semantic(
        rng.integers(0, 255, (20, 30, 3)).astype(np.uint8), rng.integers(0, 2, (20, 30)), {0: "a", 1: "b"}, name
    )


class SlowWriter:
    def __init__(self, seconds):
        self.seconds, self.running, self.most = seconds, 0, 0

    def write(self, photo, result):
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(self.seconds[photo])
        self.running -= 1
        return [photo]


def test_results_come_in_order_whichever_was_written_first():
    names = ["a", "b", "c", "d"]
    writer = SlowWriter({"a": 0.2, "b": 0.0, "c": 0.1, "d": 0.0})
    written = list(segment._written(map(result, names), names, None, writer, segment.WRITERS))
    assert [name for name, *_ in written] == names
    assert [files for *_, files in written] == [["a"], ["b"], ["c"], ["d"]]
    assert writer.most == 2


def test_few_results_wait_to_be_written():
    names = [str(number) for number in range(20)]
    asked = []

    def results():
        for name in names:
            asked.append(name)
            yield result(name)

    writer = SlowWriter(dict.fromkeys(names, 0.01))
    for number, _ in enumerate(segment._written(results(), names, None, writer, segment.WRITERS)):
        assert len(asked) <= number + 1 + segment.WRITERS


def test_what_is_written_when_it_is_stopped_is_told():
    def results():
        yield result("a")
        yield result("b")
        raise KeyboardInterrupt

    written = segment._written(results(), ["a", "b", "c"], None, SlowWriter({"a": 0.1, "b": 0.1}), segment.WRITERS)
    assert [next(written)[0], next(written)[0]] == ["a", "b"]
    with pytest.raises(KeyboardInterrupt):
        next(written)


def test_labels_that_are_not_wanted_are_not_written():
    ((_, kept, *_),) = segment._written(iter([result("a")]), ["a"], ["b"], SlowWriter({"a": 0}), segment.WRITERS)
    assert [one.label for one in kept.segments] == ["b"]


def test_annotations_of_a_folder_are_in_the_order_of_its_photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(5):
        size = (300, 200) if number % 2 else (30, 20)
        Image.new("RGB", size, (40 * number, 90, 200)).save(tmp_path / "photos" / f"{number}x.png")
    done = run_cli(
        "segment", tmp_path / "photos", "--weights", SCENES, "-o", tmp_path / "out", "--format", "overlay,coco"
    )
    assert done.exit_code == 0, done.stderr
    names = [entry["file_name"] for entry in json.loads((tmp_path / "out" / "coco.json").read_text())["images"]]
    assert names == [f"{number}x.png" for number in range(5)]
    lines = [line for line in done.stdout.splitlines() if "x.png:" in line]
    assert [line.split("x.png:")[0][-1] for line in lines] == list("01234")
