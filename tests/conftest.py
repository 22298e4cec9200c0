"""What must be set before mlx and huggingface_hub are first imported, and the hub that tests download from."""

import os
import tempfile

import pytest
from fake_hub import Hub

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


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub, and an empty cache."""
    from huggingface_hub.utils import _http

    monkeypatch.setenv("LUCID_HOME", str(tmp_path / "lucid"))
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)  # between retries
    _HUB.reset()
    yield _HUB
    _HUB.reset()
