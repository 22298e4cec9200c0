"""A few hostile inputs of every kind; `.ci/full fuzz` tries many more."""

import pytest
from fuzz.run import Process, fuzz
from fuzz.worker import TARGETS

CASES = {"api": 60, "configs": 8, "pictures": 60, "toml": 60}


@pytest.fixture(scope="module")
def process():
    process = Process()
    yield process
    process.close()


@pytest.mark.parametrize("target", TARGETS)
def test_hostile_input_is_refused_in_one_sentence_or_read(target, process, tmp_path):
    report = fuzz(target, [process], count=CASES.get(target, 15), keep=tmp_path)
    assert report.counts["refused"] > 0
    assert report.counts["fault"] == 0, "\n".join(report.lines())
