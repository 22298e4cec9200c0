"""What must be set before mlx and huggingface_hub are first imported, and the hub that tests download from.

HYPOTHESIS_EXAMPLES=20 gives every property test 20 times its examples; .ci/full does that. LUCID_TEST_GPU=1 has the
package believe in a GPU: see forced_gpu.py.
"""

import os
import signal
import tempfile

os.environ["MLX_ENABLE_TF32"] = "0"  # products in full float32 on GPUs that would round them; read when mlx starts

import forced_gpu
import pytest
from fake_hub import Hub
from hypothesis import settings

import lucid_mlx  # noqa: F401  # before any test imports mlx, for its BLAS

_HUB = Hub().start()
os.environ |= {
    "HF_ENDPOINT": _HUB.url,
    "HF_HOME": tempfile.mkdtemp(prefix="lucid-mlx-tests-"),  # never the user's own cache or token
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
}
for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "LUCID_WEIGHTS_OFFLINE"):
    os.environ.pop(name, None)


if forced_gpu.FORCED:
    forced_gpu.believe_in_a_gpu()


# Jobs in the background and nohup ignore these, and processes inherit that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_modifyitems(items):
    """Skip what is of the CPU alone if a GPU is to be believed in; give property tests more examples if asked to."""
    if forced_gpu.FORCED:
        forced_gpu.skip_what_is_of_the_cpu(items)
    give_more_examples(items)


def give_more_examples(items):
    """Multiply the number of examples, which each property test sets for itself: a profile would not change it."""
    factor = int(os.environ.get("HYPOTHESIS_EXAMPLES", "1"))
    if factor == 1:
        return
    functions = {getattr(item.obj, "__func__", item.obj) for item in items if hasattr(item.obj, "hypothesis")}
    if not functions:
        raise pytest.UsageError("HYPOTHESIS_EXAMPLES is set, and no property test was collected")
    for function in functions:
        own = function._hypothesis_internal_use_settings or settings.default
        function._hypothesis_internal_use_settings = settings(own, max_examples=factor * own.max_examples)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub, and an empty cache."""
    from huggingface_hub.utils import _http

    monkeypatch.setenv("LUCID_HOME", str(tmp_path / "lucid"))
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # between retries
    _HUB.reset()
    yield _HUB
    _HUB.reset()
