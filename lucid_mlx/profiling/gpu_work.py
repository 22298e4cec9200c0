"""The work of one forward on Apple's GPU, counted without one: kernel launches, bytes and operations, by kind.

The network is traced with its GPU branches on. The trace, MLX's own simplification of it and a transcription of its
fusion give the primitives; each is charged what MLX's Metal backend does for it. The numbers are exact functions of
graph and rules. They are no times.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.backbones.folding import FoldedModel
from lucid_mlx.profiling.gpu_fusion import fuse, kernel_texts
from lucid_mlx.profiling.gpu_rules import Launch, launches
from lucid_mlx.profiling.gpu_trace import trace

MACHINES = {  # memory, GB/s, and float32 TFLOPS; float16 products run at the same rate but on an M5
    "M1": (68, 2.6), "M1 Max": (400, 10.4), "M2": (100, 3.6), "M2 Pro": (200, 6.8), "M3": (100, 3.6),
    "M3 Max": (400, 14.2), "M4": (120, 4.3), "M4 Max": (546, 18.4), "M5": (153, 4.4),
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What one forward does.

    Attributes:
        launches: of kernels, in order.
        weights: bytes of the parameters.
        texts: fused kernels by their text, each a library that Metal builds when it is first needed.
    """

    launches: list[Launch]
    weights: int
    texts: Counter[str]

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return sum(x.read + x.written for x in self.launches)

    @property
    def flops(self) -> int:
        """Operations of the products and convolutions."""
        return sum(x.flops for x in self.launches if x.product)

    def by_kind(self) -> dict[str, tuple[int, int, int, int]]:
        """Return launches, bytes read, bytes written and operations of each kind, most bytes first."""
        kinds: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for x in self.launches:
            for i, amount in enumerate((1, x.read, x.written, x.flops)):
                kinds[x.kind][i] += amount
        rows = sorted(kinds.items(), key=lambda item: -item[1][1] - item[1][2])
        return {kind: (row[0], row[1], row[2], row[3]) for kind, row in rows}

    def roofline(self, products: bool = False) -> dict[str, float]:
        """Return the least seconds of each chip: of each launch the longer of its bytes and its operations.

        Args:
            products: count products and convolutions alone.

        Returns:
            Seconds by chip; launches that overlap, and what a launch costs by itself, are left out.
        """
        counted = [x for x in self.launches if x.product or not products]
        return {
            name: sum(max((x.read + x.written) / memory / 1e9, x.flops / rate / 1e12) for x in counted)
            for name, (memory, rate) in MACHINES.items()
        }


def gpu_work(model: Mask2Former, height: int, width: int, batch: int = 1, compiled: bool = True) -> Work:
    """Count the work of a forward on Apple's GPU.

    Args:
        model: in the floating-point type that counts; it is left as it was.
        height: of the images, in pixels.
        width: of the same.
        batch: how many images.
        compiled: as `Segmenter` runs it; else operation by operation.

    Returns:
        The work.
    """
    if compiled:
        model = FoldedModel(model).model
    graph = trace(model, (batch, model.config.num_channels, height, width))
    if compiled:
        graph = fuse(graph)
    return Work(launches(graph), sum(x.nbytes for x in graph.inputs[1:]), kernel_texts(graph))


def table(work: Work, top: int = 0) -> str:
    """Return the work as text: a line for each kind, the chips' rooflines, and what moves most bytes.

    Args:
        work: what was counted.
        top: how many lines of the last.

    Returns:
        Lines.
    """
    lines = [f"{'kind':22}{'launches':>9}{'read MB':>10}{'written MB':>12}{'GFLOP':>9}"]
    for kind, (number, read, written, flops) in work.by_kind().items():
        lines.append(f"{kind:22}{number:9}{read / 1e6:10.1f}{written / 1e6:12.1f}{flops / 1e9:9.2f}")
    read, written = (sum(getattr(x, name) for x in work.launches) for name in ("read", "written"))
    lines += [
        f"{'all':22}{len(work.launches):9}{read / 1e6:10.1f}{written / 1e6:12.1f}{work.flops / 1e9:9.2f} (products)",
        f"weights {work.weights / 1e6:.1f} MB; {work.texts.total()} fused kernels of {len(work.texts)} texts",
        "",
        "least time if each launch took the longer of its bytes and its operations and nothing overlapped:",
    ]
    products = work.roofline(products=True)
    for name, seconds in work.roofline().items():
        lines.append(f"  {name:8}{1e3 * seconds:8.1f} ms, of it products {1e3 * products[name]:.1f}")
    return "\n".join(lines + (_most_bytes(work, top) if top else []))


def _most_bytes(work: Work, top: int) -> list[str]:
    same: dict[tuple[object, ...], list[int]] = defaultdict(lambda: [0, 0])
    for x in work.launches:
        row = same[x.kind, x.why[:70], x.shape, x.dtype]
        row[0] += 1
        row[1] += x.read + x.written
    rows = sorted(same.items(), key=lambda item: -item[1][1])[:top]
    texts = (f"{moved / 1e6:10.1f} MB in {number:3} {' '.join(map(str, key))}" for key, (number, moved) in rows)
    return ["", "most bytes:", *texts]
