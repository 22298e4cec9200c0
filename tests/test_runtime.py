import subprocess
import sys

import pytest


def python(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has Accelerate")
class TestLinux:
    def test_an_openblas_of_the_machine_is_loaded_before_mlx(self):
        loaded = python("import lucid_mlx._runtime as r; print(r.OPENBLAS)")
        found = python(
            "import ctypes\n"
            "try: ctypes.CDLL('libopenblas.so.0'); print('libopenblas.so.0')\n"
            "except OSError: print(None)"
        )
        assert loaded == found

    def test_nothing_is_loaded_after_mlx_where_it_would_do_nothing(self):
        assert python("import mlx.core, lucid_mlx._runtime as r; print(r.OPENBLAS)") == "None"

    def test_openblas_gets_one_thread_and_nobody_else_is_told(self, monkeypatch):
        code = (
            "import ctypes, os, lucid_mlx._runtime as r\n"
            "print(ctypes.CDLL(r.OPENBLAS).openblas_get_num_threads(), os.environ.get('OPENBLAS_NUM_THREADS'))"
        )
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        if python("import lucid_mlx._runtime as r; print(r.OPENBLAS)") == "None":
            pytest.skip("this machine has no OpenBLAS")
        assert python(code) == "1 None"
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
        assert python(code) == "2 2"

    def test_a_freed_block_is_kept_for_the_next_use(self):
        code = (
            "import resource, lucid_mlx, mlx.core as mx\n"
            "mx.set_cache_limit(0)\n"
            "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
            "def use(): mx.eval(mx.zeros((64 << 20,), mx.uint8) + 1)\n"
            "use(); before = faults(); use(); print(faults() - before)"
        )
        assert int(python(code)) < 1000  # of 4 KB each; 32,000 where both arrays are mapped anew

    def test_a_large_forward_has_more_room(self):
        code = (
            "import mlx.core as mx\n"
            "from lucid_mlx._runtime import ROOM, WORK\n"
            "limit = lambda: (mx.set_memory_limit(ROOM.limit), ROOM.limit)[0]\n"
            "found = []\n"
            "for pixels in (1, 1 << 20, 4 << 20, 1 << 18): ROOM.add(7); ROOM.fit(pixels); found.append(limit())\n"
            "print(found == [7 + WORK, 14 + WORK, 21 + 4 * WORK, 28 + WORK])"
        )
        assert python(code) == "True"

    def test_training_works_without_our_memory_limit(self):
        code = (
            "import mlx.core as mx\n"
            "before = mx.set_memory_limit(1 << 40); mx.set_memory_limit(before)\n"
            "from lucid_mlx._runtime import ROOM\n"
            "ours = mx.set_memory_limit(1 << 40); mx.set_memory_limit(ours)\n"
            "ROOM.lift(); ROOM.lift(); ROOM.add(1)\n"
            "after = mx.set_memory_limit(1 << 40)\n"
            "print(ours < before == after)"
        )
        assert python(code) == "True"

    def test_settings_of_the_c_library_are_left_alone(self, monkeypatch):
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
        code = (
            "import ctypes, types, lucid_mlx._runtime as r\n"
            "r.ctypes = types.SimpleNamespace(CDLL=lambda name: print('asked'))\n"
            "r.keep_freed_memory()"
        )
        assert python(code) == ""

    def test_room_grows_with_the_weights_until_somebody_sets_a_limit(self):
        code = (
            "import lucid_mlx._runtime as r, mlx.core as mx\n"
            "def limit():\n"
            "    now = mx.set_memory_limit(1); mx.set_memory_limit(now); return now\n"
            "found = [limit()]\n"
            "r.ROOM.add(5); found.append(limit())\n"
            "mx.set_memory_limit(12345)\n"
            "r.ROOM.add(5); r.ROOM.add(5); found.append(limit())\n"
            "print(found == [r.WORK, r.WORK + 5, 12345])"
        )
        assert python(code) == "True"


def test_importing_the_package_leaves_heavy_libraries_alone():
    code = "import sys, lucid_mlx; print([name for name in sys.argv[1:] if name in sys.modules])"
    heavy = ["torch", "scipy", "click", "huggingface_hub", "pooch", "requests", "gradio", "av"]
    assert python(code, *heavy) == "[]"


def test_every_public_name_is_there():
    import lucid_mlx

    for module in (lucid_mlx, lucid_mlx.models, lucid_mlx.weights, lucid_mlx.ops):
        assert all(hasattr(module, name) for name in module.__all__)
