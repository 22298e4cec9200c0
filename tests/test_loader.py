"""Batches depend on the seed only, workers report errors, and no worker outlives its loader."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from itertools import islice
from multiprocessing import active_children

import numpy as np
import pytest
from labeled import NAMES, write_label_maps

from lucid_mlx import InputError
from lucid_mlx.data import label_map_dataset
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.training import LargeScaleJitter, Loader


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    labels = np.random.default_rng(0).integers(0, 3, (24, 32)).astype(np.uint8)
    return label_map_dataset(*write_label_maps(tmp_path_factory.mktemp("maps"), 5, labels), NAMES)


def loader(dataset, workers=0, batch_size=2, seed=0, **options):
    augment = LargeScaleJitter(24, 0.8, 1.5, color_jitter=True)
    return Loader(dataset, augment, batch_size=batch_size, workers=workers, seed=seed, **options)


def first(loader, count, *position):
    with closing(loader.batches(*position)) as batches:
        return list(islice(batches, count))


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.next_position == b.next_position
        assert np.array_equal(a.pixels, b.pixels)
        for mine, others in ((a.masks, b.masks), (a.class_ids, b.class_ids)):
            assert all(np.array_equal(x, y) for x, y in zip(mine, others, strict=True))
    return True


def test_batches_are_the_same_whatever_the_number_of_workers(dataset):
    expected = first(loader(dataset), 6)
    assert same(first(loader(dataset, workers=2), 6), expected)
    assert active_children() == []
    assert same(first(loader(dataset), 6), expected)
    assert not np.array_equal(first(loader(dataset, seed=1), 1)[0].pixels, expected[0].pixels)


def test_a_batch_is_normalized_and_has_its_targets(dataset):
    image_config = ImageConfig(mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.3))
    raw = ImageConfig(mean=(0.0,) * 3, std=(1.0,) * 3, rescale_factor=1.0)
    (batch,), (plain,) = (first(loader(dataset, image_config=config), 1) for config in (image_config, raw))
    assert batch.pixels.shape == (2, 24, 24, 3)
    expected = (np.array(plain.pixels) / 255 - image_config.mean) / image_config.std
    assert np.allclose(np.array(batch.pixels), expected, atol=1e-5)
    assert np.array_equal(plain.pixels, np.array(plain.pixels).astype(np.uint8))
    for masks, classes in zip(batch.masks, batch.class_ids, strict=True):
        assert masks.shape == (len(classes), 24, 24)
        assert np.array(masks).dtype == bool


def test_an_epoch_has_every_image_once_in_a_new_order(dataset):
    names = [[task.record.name for task in islice(loader(dataset)._tasks(epoch, 0), 5)] for epoch in range(4)]
    assert all(sorted(epoch) == sorted(record.name for record in dataset.records) for epoch in names)
    assert len(set(map(tuple, names))) > 1


def test_the_same_image_looks_different_in_the_next_epoch(dataset):
    one = replace(dataset, records=dataset.records[:1])
    a, b = first(loader(one, batch_size=1), 2)
    assert (a.next_position, b.next_position) == ((1, 0), (2, 0))
    assert not np.array_equal(a.pixels, b.pixels)


def test_a_stream_continues_where_another_ended(dataset):
    batches = first(loader(dataset), 8)
    assert [batch.next_position for batch in batches[:3]] == [(0, 2), (0, 4), (1, 1)]
    for done in (1, 3, 5):
        assert same(first(loader(dataset), 8 - done, *batches[done - 1].next_position), batches[done:])


def test_a_batch_may_be_larger_than_the_dataset(dataset):
    (batch,) = first(loader(dataset, batch_size=12), 1)
    assert batch.next_position == (2, 2)
    assert batch.pixels.shape[0] == 12


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_read_is_named_and_no_worker_is_left(dataset, tmp_path, workers):
    broken = tmp_path / "broken.png"
    broken.write_bytes(dataset.records[0].path.read_bytes()[:100])
    records = [replace(record, path=broken) for record in dataset.records]
    with pytest.raises(InputError, match=r"broken.png is damaged or incomplete"):
        first(loader(replace(dataset, records=records), workers), 1)
    assert active_children() == []


@pytest.mark.parametrize("workers", [0, 1])
def test_other_errors_name_the_image_and_keep_their_cause(dataset, workers):
    records = [replace(dataset.records[0], classes=3)]
    with pytest.raises(RuntimeError, match=r"0.png cannot be prepared: .*TypeError") as raised:
        first(loader(replace(dataset, records=records), workers), 1)
    cause = raised.value.__cause__
    assert isinstance(cause, TypeError) or "label_maps.py" in str(cause)  # a worker sends the traceback as text
    assert active_children() == []


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}, {"seed": -1}])
def test_values_out_of_range_are_errors(dataset, wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} must be at least"):
        loader(dataset, **wrong)


SCRIPT = """
import signal, sys, time
from multiprocessing import active_children
from lucid_mlx.data import label_map_dataset
from lucid_mlx.training import LargeScaleJitter, Loader
def work():
    dataset = label_map_dataset(sys.argv[1], sys.argv[2], ("sky", "sea", "boat"))
    batches = Loader(dataset, LargeScaleJitter(24), batch_size=2, workers=1).batches()
    next(batches)
    time.sleep(0.2)
    print(len(active_children()), "workers", flush=True)
    time.sleep(60)  # the worker sleeps too, as all batches are prepared
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits it as ignored
    work()
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(dataset, tmp_path, stop):
    (tmp_path / "script.py").write_text(SCRIPT)
    record, pipe = dataset.records[0], subprocess.PIPE
    command = [sys.executable, str(tmp_path / "script.py"), str(record.path.parent), str(record.label_map.parent)]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1 workers\n"
        if stop == signal.SIGINT:
            os.killpg(process.pid, stop)  # Ctrl-C reaches the workers too
        else:
            process.send_signal(stop)
        # The pipes close when the last process that holds them ends: the worker.
        _, errors = process.communicate(timeout=20)
    assert errors.count("Traceback") == (stop == signal.SIGINT)


class Deadly(LargeScaleJitter):
    """Ends the process that it runs in, as happens without enough memory or without the guard in the script."""

    def __call__(self, image, target, rng):
        os._exit(3)


def test_the_error_of_a_dead_worker_says_what_to_do(dataset):
    with pytest.raises(InputError, match='a script must do its work under if __name__ == "__main__":'):
        first(Loader(dataset, Deadly(24), batch_size=1, workers=1), 1)
    assert active_children() == []
