"""Two processes at half the batch compute what one does at the whole."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlx.core as mx
import numpy as np

# The sampled points are the same for every mask, whichever process draws them.
WORK = """
import os, sys
from contextlib import closing
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import lucid_mlx
import mlx.core as mx
from mlx.utils import tree_flatten
from lucid_mlx.models.vision.mask2former import matcher
from lucid_mlx.training import Trainer
from runs import small_run
draw = lambda shape: mx.broadcast_to(mx.random.uniform(shape=shape[1:], key=mx.random.key(shape[1])), shape)
matcher.uniform = lambda key: draw
folder, out = Path(sys.argv[2]), Path(sys.argv[3])
data = folder / os.environ.get("MLX_RANK", "0")
trainer = Trainer(small_run(data, batch_size=4, steps=2, gradient_accumulation_steps=2), out)
with closing(trainer.loader.batches()) as batches:
    losses, gradients, next_position = trainer.compute_gradients(batches)
assert next_position == (2, 0)
mx.save_safetensors(str(folder / f"gradients-{trainer.group.size()}-{trainer.group.rank()}.safetensors"),
                    dict(tree_flatten(gradients)))
trainer.fit()
mx.save_safetensors(str(folder / f"model-{trainer.group.size()}-{trainer.group.rank()}.safetensors"),
                    dict(tree_flatten(trainer.model.parameters())))
"""


def free_ports(count):
    """The first of `count` consecutive free ports of this machine."""
    while True:
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            first = server.getsockname()[1]
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except (OSError, OverflowError):
            continue
        return first


def launch(folder, processes, out):
    """Run the script in a group of processes."""
    script = folder / "work.py"
    script.write_text(WORK)
    launcher = Path(sys.executable).with_name("mlx.launch")
    network = ["--backend", "ring", "--starting-port", str(free_ports(processes))]
    command = [sys.executable, launcher, "-n", str(processes), *network] if processes > 1 else []
    # Its standard input stays open: at its end the launcher would use a whole core.
    source, end = os.pipe()
    done = subprocess.run(
        [*command, sys.executable, script, Path(__file__).parent, folder, out],
        stdin=source, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    os.close(source)
    os.close(end)
    assert len([*folder.glob("model-*")]) == processes, done.stdout + done.stderr


def test_two_processes_compute_the_gradients_and_the_model_of_one(tmp_path):
    for folder, count in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        launch(tmp_path / folder, count, tmp_path / folder / "out")
    for what, tolerance in (("gradients", 1e-5), ("model", 1e-4)):
        whole = mx.load(str(tmp_path / f"one/{what}-1-0.safetensors"))
        first, second = (mx.load(str(tmp_path / f"two/{what}-2-{rank}.safetensors")) for rank in range(2))
        assert all(mx.array_equal(first[name], second[name]) for name in whole)
        for name, array in whole.items():
            size = max(1.0, float(mx.abs(array).max()))
            assert np.allclose(first[name], array, rtol=1e-4, atol=tolerance * size), name
    assert len((tmp_path / "two/out/training/metrics.jsonl").read_text().splitlines()) == 2
