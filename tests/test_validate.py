"""The check before training reads few images at a time, tells how far it is, and stops early."""

import sys
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from labeled import NAMES

from lucid_mlx import InputError
from lucid_mlx.data import Dataset, validate
from lucid_mlx.data.dataset import Target
from lucid_mlx.data.validate import MAX_THREADS, _Budget


@dataclass
class Reading:
    """How many images are in memory, and how many were at most."""

    now: int = 0
    most: int = 0
    total: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Record:
    reading: Reading
    class_ids: tuple[int, ...] = (0, 1, 2)
    crowd: bool = False
    name: str = "a.jpg"
    brightest: int = 255

    def image(self):
        with self.reading.lock:
            self.reading.now += 1
            self.reading.total += 1
            self.reading.most = max(self.reading.most, self.reading.now)
        time.sleep(0.001)
        return np.full((4, 6, 3), self.brightest, np.uint8)

    def target(self):
        with self.reading.lock:
            self.reading.now -= 1
        count = len(self.class_ids)
        masks = np.zeros((count, 4, 6), bool)
        masks[np.arange(count), 0, np.arange(count)] = True
        crowd = np.full(count, self.crowd)
        return Target(masks, np.array(self.class_ids, np.int32), crowd, np.ones(count), np.arange(count).astype(object))


def dataset(records, task="instance"):
    return Dataset(task, NAMES, frozenset(), records)


def test_few_images_are_read_at_one_time():
    reading = Reading()
    validate(dataset([Record(reading)] * 100))
    assert reading.total == 100
    assert 1 <= reading.most <= MAX_THREADS


def test_it_stops_after_the_first_problems():
    reading = Reading()
    with pytest.raises(InputError, match="the first 20 of 1000 labeled images: 20 problems") as raised:
        validate(dataset([Record(reading, (7,))] * 1000))
    assert reading.total < 20 + 5 * MAX_THREADS
    lines = str(raised.value).splitlines()
    assert [line.split(";")[0].strip() for line in lines[1:]] == [
        *["a.jpg: class 7 is out of range"] * 3,
        "and 17 more like this",
        "`split`, a list of the other images, leaves these out",
    ]


def test_no_list_of_the_other_images_is_proposed_where_none_is_right():
    with pytest.raises(InputError) as raised:
        validate(dataset([Record(Reading(), (7,))] * 4))
    assert str(raised.value).splitlines()[-1].strip() == "and 1 more like this"


def test_images_that_look_black_are_told():
    with pytest.warns(UserWarning, match=r"2 images almost black: no value is above 32 of 255 .* \(a.jpg, a.jpg\)"):
        validate(dataset([Record(Reading(), brightest=16)] * 2 + [Record(Reading(), brightest=33)]))


def test_an_interrupt_does_not_wait_for_the_images_ahead(monkeypatch):
    @dataclass(frozen=True)
    class Interrupting(Record):
        def target(self):
            if threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt
            time.sleep(0.05)
            return super().target()

    monkeypatch.setattr("os.cpu_count", lambda: 2)
    reading = Reading()
    with pytest.raises(KeyboardInterrupt):
        validate(dataset([Interrupting(reading)] * 100))
    assert reading.total <= 3


def test_crowds_alone_are_nothing_to_learn():
    with pytest.raises(InputError, match="nothing is left to learn .*: there are no objects but crowds: `crowd"):
        validate(dataset([Record(Reading(), crowd=True)] * 2))


def test_one_class_alone_is_enough_for_objects_and_not_for_label_maps():
    records = [Record(Reading(), (1,))]
    with pytest.warns(UserWarning, match="2 of 3 classes never occur in the labels: sky, boat"):
        validate(dataset(records))
    with pytest.raises(InputError, match="the labels of 1 images have one class alone, 'sea'"):
        validate(dataset(records, "semantic"))


def test_progress_without_a_terminal_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(sys.modules[validate.__module__], "SECONDS_PER_LINE", -1)
    validate(dataset([Record(Reading())] * 3), progress=True)
    assert capsys.readouterr().err.splitlines() == [f"checked {number} of 3 images" for number in (1, 2, 3)]


def test_what_is_larger_than_all_the_memory_is_read_alone():
    budget, running, most = _Budget(100), [], []

    def work(size):
        with budget.take(size):
            running.append(size)
            most.append(sum(running))
            time.sleep(0.002)
            running.remove(size)

    threads = [threading.Thread(target=work, args=(size,)) for size in (40, 500, 50, 30, 60, 500, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(total <= 100 or total == 500 for total in most)
