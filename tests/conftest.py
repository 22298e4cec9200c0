"""What must be set before mlx and huggingface_hub are first imported, and the hub that tests download from.

HYPOTHESIS_EXAMPLES=20 gives every property test 20 times its examples; .ci/full does that.
"""

import os
import tempfile

import pytest
from fake_hub import Hub
from hypothesis import settings

os.environ["MLX_ENABLE_TF32"] = "0"  # products in full float32 on GPUs that would round them; read when mlx starts

_HUB = Hub().start()
os.environ |= {
    "HF_ENDPOINT": _HUB.url,
    "HF_HOME": tempfile.mkdtemp(prefix="lucid-mlx-tests-"),  # never the user's own cache or token
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
}
for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "LUCID_WEIGHTS_OFFLINE"):
    os.environ.pop(name, None)


def pytest_collection_modifyitems(items):
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
