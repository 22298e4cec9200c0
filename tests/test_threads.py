"""Threads, forks and the end of Python: whole scripts, because MLX may abort a process at its end."""

import asyncio
import signal
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import mlx.core as mx
import numpy as np
import pytest
from helpers import PHOTO, small_config, small_model

import lucid_mlx.models as models
from lucid_mlx import InputError, Segmenter
from lucid_mlx.backends import WORKER
from lucid_mlx.models import Mask2Former
from lucid_mlx.preprocessing import ImageConfig, preprocess, read_image

START = f"""
import multiprocessing, os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import mlx.core as mx
import lucid_mlx
from lucid_mlx import InputError, Segmenter
PHOTO = {str(PHOTO)!r}
def pixels(): return mx.zeros((1, 3, 64, 64))
"""
POOL = """
segmenter = Segmenter("demo", size=64)
with ThreadPoolExecutor(4) as pool:
    print(len(list(pool.map(segmenter, [PHOTO] * 8))))
"""
BARE_MODEL = """
model = lucid_mlx.load("demo")
def run(_):
    outputs = model(pixels())
    mx.eval(outputs["class_queries_logits"])
with ThreadPoolExecutor(4) as pool:
    print(len(list(pool.map(run, range(8)))))
"""
LATE = """
segmenter = Segmenter("demo", size=64)
def late():
    time.sleep(0.2)
    print(len(segmenter([PHOTO] * 8)))
threading.Thread(target=late).start()
"""
AT_EXIT = """
import atexit
atexit.register(lambda: print(len(segmenter([PHOTO] * 8))))
segmenter = Segmenter("demo", size=64)
segmenter(PHOTO)
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", START + script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("script", [POOL, BARE_MODEL, LATE, AT_EXIT])
def test_a_script_with_threads_ends_cleanly(script):
    for _ in range(3):  # each of them used to abort about every third time
        ended = run(script)
        assert (ended.returncode, ended.stdout) == (0, "8\n"), ended.stderr


@pytest.mark.parametrize("seconds", [0, 0.1, 0.5])  # before the first job, and amid one
def test_python_may_end_while_the_worker_computes(seconds):
    ended = run(f"""
segmenter = Segmenter("demo", size=128)
def forever():
    while True:
        segmenter(PHOTO)
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
time.sleep({seconds})
print("end")
""")
    assert (ended.returncode, ended.stdout) == (0, "end\n"), ended.stderr


def test_an_interrupt_comes_at_once_and_the_next_call_works():
    ended = run("""
segmenter = Segmenter("demo", size=128)
segmenter(PHOTO)
threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    segmenter([PHOTO] * 100)
except KeyboardInterrupt:
    print(len(segmenter([PHOTO])))
threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
segmenter([PHOTO] * 100)
""")
    assert (ended.returncode, ended.stdout) == (-signal.SIGINT, "1\n"), ended.stderr
    assert ended.stderr.count("Traceback") == 1
    assert ended.stderr.endswith("KeyboardInterrupt\n")


FORKED = """
model = lucid_mlx.load("demo")
segmenter = Segmenter(model, size=64)
segmenter(PHOTO)
def child():
    try:
        CALL
    except InputError as error:
        print(error, flush=True)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
print(len(segmenter([PHOTO])))
"""


@pytest.mark.parametrize(
    "call",
    [
        "segmenter(PHOTO)",
        "Segmenter('demo')",
        "lucid_mlx.load('demo')",
        "lucid_mlx.models.mask2former_resnet_18(3)",
        "mx.eval(model(pixels())['class_queries_logits'])",
    ],
)
def test_a_forked_process_is_told_to_be_spawned(call):
    ended = run(FORKED.replace("CALL", call))
    told, after = ended.stdout.splitlines()
    assert "forked from one that had used MLX" in told
    assert "spawn" in told
    assert (ended.returncode, after) == (0, "1"), ended.stderr


def test_a_fork_before_mlx_is_used_works():
    ended = run("""
def child():
    print(len(Segmenter("demo", size=64)([PHOTO])), flush=True)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
""")
    assert (ended.returncode, ended.stdout) == (0, "1\n"), ended.stderr


def test_a_segmenter_goes_to_a_spawned_process_and_results_come_back(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        START
        + """
if __name__ == "__main__":
    segmenter = Segmenter("demo", size=64)
    here = segmenter(PHOTO)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (there,) = pool.map(segmenter, [PHOTO])
    print((here.map == there.map).all())
"""
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


class TestWorker:
    def test_it_is_one_thread_whoever_asks(self):
        with ThreadPoolExecutor(4) as pool:
            threads = list(pool.map(lambda _: WORKER.run(threading.current_thread), range(8)))
        assert {thread.name for thread in threads} == {"lucid-mlx-worker"}
        assert len({thread.ident for thread in threads}) == 1

    def test_it_may_ask_itself(self):
        assert WORKER.run(lambda: WORKER.run(lambda: 3)) == 3

    @pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
    def test_an_error_comes_back_with_its_traceback_and_the_next_job_runs(self, error):
        def fails():
            raise error("here")

        with pytest.raises(error) as told:
            WORKER.run(fails)
        assert "fails" in [frame.name for frame in traceback.extract_tb(told.value.__traceback__)]
        assert WORKER.run(lambda: 3) == 3

    def test_who_submits_goes_on(self):
        may_end = threading.Event()
        future = WORKER.submit(may_end.wait, 5)
        assert not future.done()
        may_end.set()
        assert future.result(5)

    def test_a_result_is_not_kept(self):
        class Large:
            alive = 0

            def __init__(self):
                Large.alive += 1

            def __del__(self):
                Large.alive -= 1

        WORKER.run(Large)
        WORKER.run(lambda: None)
        assert Large.alive == 0


def in_a_thread(function, *args):
    """What a function returns in a thread that has ended."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter(small_model(), size=64)


class TestOtherThreads:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: Segmenter("demo", size=64),
            lambda: Segmenter(Mask2Former(small_config()), size=64),
        ],
    )
    def test_a_segmenter_outlives_the_thread_that_made_it(self, make):
        segmenter = in_a_thread(make)
        assert segmenter(PHOTO).map.shape == in_a_thread(segmenter, PHOTO).map.shape == (400, 600)

    def test_what_is_loaded_built_and_prepared_is_computed(self):
        model = in_a_thread(models.mask2former_resnet_18, 3)
        pixels, _ = in_a_thread(preprocess, read_image(PHOTO), ImageConfig(size=(64, 64)))
        outputs = model(pixels.transpose(0, 3, 1, 2))
        assert mx.isfinite(outputs["class_queries_logits"]).all().item()

    def test_two_segmenters_run_in_two_threads(self):
        two = [Segmenter(small_model(seed), size=64) for seed in range(2)]
        wanted = [segmenter(PHOTO) for segmenter in two]
        with ThreadPoolExecutor(2) as pool:
            got = list(pool.map(lambda segmenter: segmenter([PHOTO] * 3), two))
        for results, want in zip(got, wanted, strict=True):
            assert all(np.array_equal(result.map, want.map) for result in results)

    def test_a_model_of_a_thread_that_left_it_lazy_is_told(self):
        model = in_a_thread(lambda: Mask2Former(small_config()))
        with pytest.raises(InputError, match="a parameter of the model waits to be computed"):
            Segmenter(model)

    def test_weights_that_are_changed_later_are_seen(self, segmenter):
        head = segmenter.model.transformer_decoder.class_head
        before = head.bias
        head.bias = before + mx.array([100.0, 0, 0, 0, 0, 0])
        try:
            assert set(np.unique(segmenter(PHOTO).map)) == {0}
        finally:
            head.bias = before

    def test_a_stream_goes_on_in_another_thread(self, segmenter):
        results = segmenter.stream([PHOTO] * 4, batch_size=2)
        assert [next(results).name, *(result.name for result in in_a_thread(list, results))] == [str(PHOTO)] * 4

    def test_a_lazy_image_is_computed_where_the_stream_is_made(self, segmenter):
        image = mx.array(read_image(PHOTO))
        results = segmenter.stream([image[::-1], image])
        assert len(in_a_thread(list, results)) == 2
        with pytest.raises(InputError, match="an image waits to be computed"):
            segmenter.stream([in_a_thread(lambda: mx.zeros((4, 4, 3)) + 1)])

    def test_streams_may_be_left_half_way(self, segmenter):
        for _ in range(3):
            next(segmenter.stream([PHOTO] * 4))
        left = segmenter.stream([PHOTO] * 4)
        next(left)
        left.close()
        assert segmenter(PHOTO).map.shape == (400, 600)

    def test_results_are_used_anywhere(self, segmenter):
        result = segmenter(PHOTO)
        assert in_a_thread(result.draw).size == result.draw().size
        assert in_a_thread(result.to_json) == result.to_json()

    def test_asyncio_awaits_it_in_threads(self, segmenter):
        async def main():
            return await asyncio.gather(*(asyncio.to_thread(segmenter, PHOTO) for _ in range(4)))

        assert len(asyncio.run(main())) == 4
