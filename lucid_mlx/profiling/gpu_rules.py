"""What MLX's Metal backend launches for each primitive, and which bytes pass (mlx/backend/metal, MLX 0.32).

Every launch reads its inputs once and writes its output once, as if no cache held anything; copies that make an input
contiguous included, for which layouts are followed through the graph.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from lucid_mlx.profiling.gpu_fusion import ELEMENTWISE
from lucid_mlx.profiling.gpu_graph import Array, Graph, Node, view_strides

PRODUCTS = ("Matmul", "AddMM", "Convolution", "Winograd")


@dataclass(frozen=True)
class Launch:
    """One kernel.

    Attributes:
        kind: the primitive that it belongs to.
        read: bytes.
        written: bytes.
        flops: floating-point operations.
        why: what it is there for.
        shape: of the result.
        dtype: of the result.
        product: whether it is a product or a convolution, whose operations are what networks are measured in.
    """

    kind: str
    read: int
    written: int
    flops: int
    why: str
    shape: tuple[int, ...]
    dtype: str
    product: bool = False


def launches(graph: Graph) -> list[Launch]:
    """Return all launches of a graph, in order."""
    metal = _Metal(Counter(a.name for node in graph.nodes for a in node.inputs))
    for a in [*graph.inputs, *graph.constants]:
        a.lay()
    for node in graph.nodes:
        for a in node.inputs:
            if a.shape and not a.strides:  # a broadcast of a fused kernel's own
                if a.node is not None and a.node.kind == "Broadcast":
                    metal.on_broadcast(a.node)
                else:
                    a.lay()
        metal.run(node)
    return metal.launches


class _Metal:
    def __init__(self, readers: Counter[str]):
        self.readers = readers
        self.launches: list[Launch] = []

    def run(self, node: Node) -> None:
        rule: Callable[[Node], None] = getattr(self, "on_" + node.kind.lower(), self.other)
        rule(node)

    def add(self, kind: str, read: int, out: Array, written: int | None = None, flops: int = 0, why: str = "") -> None:
        written = out.nbytes if written is None else written
        product = kind in PRODUCTS and flops > 0
        self.launches.append(Launch(kind, read, written, flops, why, out.shape, out.dtype, product))

    def copy(self, a: Array, why: str) -> Array:
        """Copy into adjacent rows."""
        new = Array(a.name + "~", a.shape, a.dtype)
        new.lay()
        self.add("Copy", a.distinct_bytes, new, why=why)
        return new

    def by_rows(self, a: Array, why: str) -> Array:
        return a if a.by_rows else self.copy(a, why)

    # views
    def on_broadcast(self, node: Node) -> None:
        (out,), a = node.outputs, node.inputs[0]
        new = len(out.shape) - len(a.shape)
        own = [
            0 if n == 1 and out.shape[new + i] != 1 else s
            for i, (n, s) in enumerate(zip(a.shape, a.strides, strict=True))
        ]
        out.lay((*[0] * new, *own), a.data_size)

    def on_transpose(self, node: Node) -> None:
        (a,), (out,) = node.inputs, node.outputs
        axes = node.state[0] if len(node.state) == 1 else node.state
        out.lay(tuple(a.strides[int(axis)] for axis in axes), a.data_size)

    def on_reshape(self, node: Node) -> None:
        a, out = node.inputs[0], node.outputs[0]
        strides = None if a.by_rows else view_strides(a.shape, a.strides, out.shape)
        if strides is not None or a.by_rows:
            out.lay(strides, a.data_size)
            return
        out.lay()
        self.add("Copy", a.distinct_bytes, out, why=f"{node.kind} of a transposed {a.shape}")

    on_flatten = on_unflatten = on_expanddims = on_squeeze = on_reshape

    def on_slice(self, node: Node) -> None:
        (a,), (out,) = node.inputs, node.outputs
        steps = node.state[2] if len(node.state) == 3 else [1] * len(a.shape)
        strides = tuple(s * int(k) for s, k in zip(a.strides, steps, strict=True))
        out.lay(strides, a.data_size if out.size == a.size else out.size + 1)

    def on_split(self, node: Node) -> None:
        (a,) = node.inputs
        for out in node.outputs:
            changed = [i for i, (n, m) in enumerate(zip(a.shape, out.shape, strict=True)) if n != m]
            whole = a.by_rows and all(math.prod(a.shape[:i]) == 1 for i in changed)
            out.lay(a.strides, out.size + (0 if whole else 1))

    def on_depends(self, node: Node) -> None:
        for a, out in zip(node.inputs, node.outputs, strict=False):
            out.lay(a.strides, a.data_size)

    def on_asstrided(self, node: Node) -> None:
        (a,), (out,) = [self.by_rows(node.inputs[0], "AsStrided: input")], node.outputs
        out.lay(tuple(int(s) for s in node.state[1]), a.size)

    on_customtransforms = on_stopgradient = on_copy = on_depends

    # elementwise
    def _elementwise(self, node: Node, operations: int, why: str) -> None:
        last = node.outputs[-1]
        real = [a for a in node.inputs if a.name not in node.constants]
        many = [a for a in real if a.size != 1]
        same = all(a.shape == last.shape for a in many)
        if len(many) > 1:
            flat = same and (all(a.by_rows for a in many) or all(a.by_columns for a in many))
        else:
            flat = bool(many) and same and many[0].contiguous
        for out in node.outputs:
            out.lay(*((many[0].strides, many[0].data_size) if flat else ()))
        read = sum(a.distinct_bytes for a in real)
        self.add(node.kind, read, last, sum(out.nbytes for out in node.outputs), operations * last.size, why)

    def on_compiled(self, node: Node) -> None:
        kinds = [kind for kind, _, _ in node.tape]
        self._elementwise(node, sum(kind != "Broadcast" for kind in kinds), "+".join(kinds))

    # products
    def _operand(self, a: Array, single: bool, why: str) -> Array:
        """Copy what a product cannot read: it takes any stride of rows, or of columns, if the other is one."""
        row, column = a.strides[-2:]
        n, m = a.shape[-2:]
        if (column == 1 and (not single or row == m)) or (row == 1 and (not single or column == n)):
            return a
        return self.copy(a, why)

    def on_matmul(self, node: Node) -> None:
        (a, b, *rest), (out,) = node.inputs, node.outputs
        a = self._operand(a, a.shape[-2] == 1, f"{node.kind}: left {a.shape}")
        b = self._operand(b, b.shape[-1] == 1, f"{node.kind}: right {b.shape}")
        out.lay()
        read = sum(x.distinct_bytes for x in (a, b, *rest))
        self.add(node.kind, read, out, flops=2 * out.size * a.shape[-1], why=f"{a.shape} @ {b.shape}")

    on_addmm = on_matmul

    def on_convolution(self, node: Node) -> None:
        (x, w), (out,) = node.inputs, node.outputs
        x, w = self.by_rows(x, "Convolution: input"), self.by_rows(w, "Convolution: weight")
        out.lay()
        if _winograd(x, w, out, flipped=bool(node.state[-1])):
            self._winograd(x, w, out)
            return
        flops = 2 * out.size * math.prod(w.shape[1:])
        self.add("Convolution", x.nbytes + w.nbytes, out, flops=flops, why=f"{w.shape}")

    def _winograd(self, x: Array, w: Array, out: Array) -> None:
        batch, height, width, c = x.shape
        o, size = w.shape[0], x.itemsize
        tiles = batch * -(-out.shape[1] // 6) * -(-out.shape[2] // 6)
        padded = batch * (6 * -(-height // 6) + 2) * (6 * -(-width // 6) + 2) * c * size
        kernels, inputs, products = 64 * c * o * size, 64 * tiles * c * size, 64 * tiles * o * size
        self.add("Winograd", w.nbytes, out, kernels, why="weights")
        self.add("Winograd", 0, out, padded, why="fill")
        self.add("Winograd", x.nbytes, out, x.nbytes, why="pad")
        self.add("Winograd", padded, out, inputs, why="input")
        self.add("Winograd", inputs + kernels, out, products, 2 * 64 * tiles * c * o, "product")
        self.add("Winograd", products, out, why="output")

    # rows
    def _rows(self, node: Node, operations: int) -> None:
        a, (out,) = node.inputs[0], node.outputs
        if not (a.contiguous and a.strides[-1] == 1):
            a = self.copy(a, f"{node.kind}: input")
        out.lay(a.strides, a.data_size)
        self.add(node.kind, a.nbytes, out, flops=operations * a.size)

    def on_softmax(self, node: Node) -> None:
        self._rows(node, 5)

    def on_layernorm(self, node: Node) -> None:
        self._rows(node, 8)

    def on_reduce(self, node: Node) -> None:
        (a,), (out,) = node.inputs, node.outputs
        out.lay()
        self.add("Reduce", a.distinct_bytes, out, flops=a.size)
        if a.size // max(out.size, 1) > 256 and out.size // 32 < 1024 and a.shape[-1] == out.shape[-1]:
            self.add("Reduce", 32 * out.size * 4, out, why="second pass")

    on_argreduce = on_reduce

    # moves
    def on_contiguous(self, node: Node) -> None:
        (a,), (out,) = node.inputs, node.outputs
        out.lay()
        if not a.by_rows:
            self.add("Copy", a.distinct_bytes, out, why="mx.contiguous")

    def on_concatenate(self, node: Node) -> None:
        (out,) = node.outputs
        out.lay()
        for a in node.inputs:
            self.add("Concatenate", a.distinct_bytes, out, a.nbytes)

    def on_pad(self, node: Node) -> None:
        a, (out,) = node.inputs[0], node.outputs
        out.lay()
        self.add("Pad", 0, out, why="fill")
        self.add("Pad", a.distinct_bytes, out, a.nbytes)

    def on_gather(self, node: Node) -> None:
        (a, *indices), (out,) = node.inputs, node.outputs
        out.lay()
        read = min(a.nbytes, out.size * a.itemsize) + sum(index.distinct_bytes for index in indices)
        self.add("Gather", read, out)

    on_gatheraxis = on_gather

    def on_scatter(self, node: Node) -> None:
        (a, *indices, updates), (out,) = node.inputs, node.outputs
        if not (a.by_rows and a.node is not None and self.readers[a.name] == 1):  # else its buffer is written into
            self.copy(a, "Scatter: input")
        out.lay()
        read = updates.distinct_bytes + sum(index.distinct_bytes for index in indices)
        self.add("Scatter", read, out, updates.nbytes)

    def on_kernel(self, node: Node) -> None:
        """Charge one of this package's own, whose inputs MLX makes contiguous."""
        inputs = [self.by_rows(a, f"{node.state[0]}: input") for a in node.inputs]
        for out in node.outputs:
            out.lay()
        read, written = sum(a.nbytes for a in inputs), sum(out.nbytes for out in node.outputs)
        flops = 0
        if node.state[0] == "msda_forward":
            value, _, weights, *_ = inputs
            flops = weights.size * (8 * value.shape[-1] + 30)
        self.add(node.state[0], read, node.outputs[0], written, flops)

    def on_full(self, node: Node) -> None:
        (out,) = node.outputs
        out.lay()
        self.add("Full", 0, out)

    on_arange = on_full

    def other(self, node: Node) -> None:
        if node.kind in ELEMENTWISE:
            self._elementwise(node, 1, node.kind)
            return
        for out in node.outputs:
            out.lay()
        read, written = sum(a.distinct_bytes for a in node.inputs), sum(out.nbytes for out in node.outputs)
        self.add(node.kind + "?", read, node.outputs[0], written)


def _winograd(x: Array, w: Array, out: Array, flipped: bool) -> bool:
    """Return whether MLX convolves by Winograd's F(6x6, 3x3), whatever the dtype."""
    (batch, height, width, c), o = x.shape, w.shape[0]
    if flipped or w.shape[1:3] != (3, 3) or out.shape[1:3] != (height, width) or c % 32 or o % 32:
        return False
    return batch * height * width >= 4096 and c + o >= 256
