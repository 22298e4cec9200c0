"""Two processes at half the batch compute what one does at the whole."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np

# Points that are the same for every mask, so that it matters not which process draws them.
WORK = """
import os, sys
from contextlib import closing
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import lucid_mlx
import mlx.core as mx
from mlx.utils import tree_flatten
from lucid_mlx.models.vision.mask2former import criterion
from lucid_mlx.training import Run
from runs import small_run
draw = lambda shape: mx.broadcast_to(mx.random.uniform(shape=shape[1:], key=mx.random.key(shape[1])), shape)
criterion.sources = lambda key: (draw, draw)
folder, out = Path(sys.argv[2]), Path(sys.argv[3])
data = folder / os.environ.get("MLX_RANK", "0")
run = Run(small_run(data, batch_size=4, steps=2, accumulate=2), out)
with closing(run.loader.batches()) as batches:
    losses, gradients, after = run.gradients(batches)
assert after == (2, 0)
mx.save_safetensors(str(folder / f"gradients-{run.group.size()}-{run.group.rank()}.safetensors"),
                    dict(tree_flatten(gradients)))
run.fit()
mx.save_safetensors(str(folder / f"model-{run.group.size()}-{run.group.rank()}.safetensors"),
                    dict(tree_flatten(run.model.parameters())))
"""


def free_ports(count):
    """Ports of this machine that nobody listens on."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def launch(folder, processes, out):
    """Do the work in so many processes that know of each other, as `mlx.launch` starts them."""
    hosts = folder / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(processes)]))
    started = []
    for rank in range(processes):
        about = {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)} if processes > 1 else {}
        command = [sys.executable, "-c", WORK, Path(__file__).parent, folder, out]
        started.append(subprocess.Popen(command, env={**os.environ, **about}, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


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
