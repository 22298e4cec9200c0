"""What the package does to the process that it runs in: nothing, until `tune_for_cpu` is called."""

import subprocess
import sys

import pytest

from lucid_mlx.backends.cpu import blas, process


def python(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


LIMIT = "def limit():\n    now = mx.set_memory_limit(1); mx.set_memory_limit(now); return now\n"


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has Accelerate")
class TestLinux:
    def test_an_openblas_of_the_machine_is_loaded_before_mlx(self):
        loaded = python("import lucid_mlx; from lucid_mlx.backends.cpu import blas; print(blas.OPENBLAS)")
        found = python(
            "import ctypes\n"
            "try: ctypes.CDLL('libopenblas.so.0'); print('libopenblas.so.0')\n"
            "except OSError: print(None)"
        )
        assert loaded == found

    def test_the_tests_run_with_it(self):
        assert str(blas.OPENBLAS) == python("from lucid_mlx.backends.cpu import blas; print(blas.OPENBLAS)")

    def test_nothing_is_loaded_after_mlx_where_it_would_do_nothing(self):
        code = "import mlx.core; from lucid_mlx.backends.cpu import blas; print(blas.OPENBLAS)"
        assert python(code) == "None"

    def test_openblas_gets_one_thread_and_nobody_else_is_told(self, monkeypatch):
        code = (
            "import ctypes, os; from lucid_mlx.backends.cpu import blas\n"
            "print(ctypes.CDLL(blas.OPENBLAS).openblas_get_num_threads(), os.environ.get('OPENBLAS_NUM_THREADS'))"
        )
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        if python("from lucid_mlx.backends.cpu import blas; print(blas.OPENBLAS)") == "None":
            pytest.skip("this machine has no OpenBLAS")
        assert python(code) == "1 None"
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
        assert python(code) == "2 2"

    def test_importing_and_running_change_no_setting_of_the_process(self):
        code = (
            "import os; before = dict(os.environ)\n"
            "import ctypes; real = ctypes.CDLL; asked = []\n"
            "ctypes.CDLL = lambda name, *a, **k: (asked.append(name), real(name, *a, **k))[1]\n"
            "import lucid_mlx, mlx.core as mx\n" + LIMIT + "untouched = limit()\n"
            "model = lucid_mlx.models.create_model('mask2former_resnet_18', 3).eval()\n"
            "mx.eval(model(mx.zeros((1, 3, 64, 64)))['class_queries_logits'])\n"
            "print(limit() == untouched, dict(os.environ) == before, None in asked)"
        )
        assert python(code) == "True True False"  # CDLL(None), the C library, is what mallopt is called on

    def test_tuned_freed_blocks_are_kept_for_the_next_use(self):
        code = (
            "import resource, sys, lucid_mlx, mlx.core as mx\n"
            "if sys.argv[1] == 'tuned': lucid_mlx.tune_for_cpu()\n"
            "mx.set_cache_limit(0)\n"
            "def use(): mx.eval(mx.zeros((64 << 20,), mx.uint8) + 1)\n"
            "for _ in range(12): use()\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)"
        )
        # Pages of 4 KB: 16,384 for an array, whenever it is mapped anew; tuned, that ends after a few uses.
        assert int(python(code, "tuned")) < 6 * 16384 < 12 * 16384 < int(python(code, "as it is"))

    def test_tuned_the_memory_limit_follows_what_runs_however_the_model_was_made(self):
        code = (
            "import lucid_mlx, mlx.core as mx\n" + LIMIT + "before = limit()\n"
            "lucid_mlx.tune_for_cpu()\n"
            "from lucid_mlx.backends.cpu.process import BYTES_A_PIXEL, LEAST_PIXELS\n"
            "model = lucid_mlx.models.create_model('mask2former_resnet_18', 3).eval(); mx.eval(model.parameters())\n"
            "def run(side):\n"
            "    pixels = mx.zeros((1, 3, side, side)); mx.eval(pixels); arrays = mx.get_active_memory()\n"
            "    mx.eval(model(pixels)['class_queries_logits']); return limit() - arrays\n"
            "small, large = run(64), run(2048)\n"
            "least = BYTES_A_PIXEL * LEAST_PIXELS\n"
            "print(0.99 * least < small < 1.01 * least, 3.9 * least < large < 4.1 * least, large < before)"
        )
        assert python(code) == "True True True"

    def test_gradients_have_the_limit_that_was_there_before(self):
        code = (
            "import lucid_mlx, mlx.core as mx\n" + LIMIT + "before = limit()\n"
            "lucid_mlx.tune_for_cpu()\n"
            "from lucid_mlx.backends.cpu.process import MEMORY\n"
            "MEMORY.fit(1, 1); ours = limit(); MEMORY.lift(); print(ours < before == limit())"
        )
        assert python(code) == "True"

    def test_a_limit_that_somebody_else_sets_counts_more(self):
        code = (
            "import lucid_mlx, mlx.core as mx\n" + LIMIT + "lucid_mlx.tune_for_cpu()\n"
            "from lucid_mlx.backends.cpu.process import MEMORY\n"
            "MEMORY.fit(1, 1); mx.set_memory_limit(12345); MEMORY.fit(1, 2); MEMORY.lift(); print(limit())"
        )
        assert python(code) == "12345"

    def test_settings_of_the_c_library_are_left_alone(self, monkeypatch):
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
        code = (
            "import types; from lucid_mlx.backends.cpu import process\n"
            "process.ctypes = types.SimpleNamespace(CDLL=lambda name: print('asked'))\n"
            "process.tune_for_cpu()"
        )
        assert python(code) == ""


def test_importing_the_package_leaves_heavy_libraries_alone():
    code = "import sys, lucid_mlx; print([name for name in sys.argv[1:] if name in sys.modules])"
    heavy = ["torch", "scipy", "click", "huggingface_hub", "requests", "gradio", "av"]
    assert python(code, *heavy) == "[]"


def test_every_public_name_is_there():
    import lucid_mlx

    modules = "backends data evaluation models ops postprocessing preprocessing results training visualization weights"
    for module in (lucid_mlx, *(getattr(__import__(f"lucid_mlx.{name}"), name) for name in modules.split())):
        assert all(hasattr(module, name) for name in module.__all__)


def test_freed_memory_is_given_back_within_the_block_only(monkeypatch):
    calls = []

    class Library:
        def mallopt(self, parameter, value):
            calls.append((parameter, value))

    monkeypatch.setattr(process, "_tuned_library", Library)
    for tuned, expected in ((False, []), (True, [(process.M_MMAP_MAX, 65536), (process.M_MMAP_MAX, 0)])):
        monkeypatch.setattr(process.MEMORY, "on", tuned)
        with process.memory_given_back():
            assert calls == expected[:1]
        assert calls == expected
