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

    def test_the_buffer_cache_is_raised_on_a_machine_without_a_gpu(self):
        previous = python("import lucid_mlx, mlx.core as mx; print(mx.set_cache_limit(0), mx.default_device().type)")
        limit, device = previous.split(" ", 1)
        assert "gpu" in device or int(limit) > 256 << 20

    def test_a_buffer_cache_that_somebody_chose_is_left_alone(self):
        code = "import mlx.core as mx; mx.set_cache_limit(12345); import lucid_mlx; print(mx.set_cache_limit(0))"
        assert python(code) == "12345"


def test_importing_the_package_leaves_heavy_libraries_alone():
    code = "import sys, lucid_mlx; print([name for name in sys.argv[1:] if name in sys.modules])"
    heavy = ["torch", "scipy", "click", "huggingface_hub", "pooch", "requests", "gradio", "av"]
    assert python(code, *heavy) == "[]"


def test_every_public_name_is_there():
    import lucid_mlx

    for module in (lucid_mlx, lucid_mlx.models, lucid_mlx.weights, lucid_mlx.ops):
        assert all(hasattr(module, name) for name in module.__all__)
