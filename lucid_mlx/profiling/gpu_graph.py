"""The graph of one forward as MLX's GPU backend gets it: arrays with their layouts, and the primitives between them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]

SIZES = {
    "bool": 1, "uint8": 1, "int8": 1, "float16": 2, "bfloat16": 2, "float32": 4, "int32": 4, "uint32": 4, "int64": 8,
}  # fmt: skip


def row_strides(shape: Shape) -> Shape:
    """Return the strides of an array whose rows lie one after the other, in elements."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


@dataclass(eq=False)
class Array:
    """An array of the graph.

    Attributes:
        name: by which the trace knows it.
        shape: its sizes.
        dtype: such as "float16".
        node: the primitive that makes it; None for inputs and constants.
        strides: in elements; empty until the layout is known.
        data_size: elements of its buffer, one more than its size if it is a part of a larger one.
        value: of a constant number, which the text of a fused kernel has.
    """

    name: str
    shape: Shape
    dtype: str
    node: Node | None = None
    strides: Shape = ()
    data_size: int = 0
    value: Any = None

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return SIZES[self.dtype]

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    @property
    def distinct_bytes(self) -> int:
        """Bytes of the elements, each counted once however often it is broadcast or overlaps."""
        elements = math.prod(n for n, step in zip(self.shape, self.strides, strict=True) if step)
        return self.itemsize * min(elements, self.data_size)

    def lay(self, strides: Shape | None = None, data_size: int | None = None) -> None:
        """Fix the layout.

        Args:
            strides: in elements; row by row if None.
            data_size: elements of the buffer; its own if None.
        """
        self.strides = row_strides(self.shape) if strides is None else tuple(strides)
        self.data_size = self.size if data_size is None else data_size

    @property
    def contiguous(self) -> bool:
        """Whether it fills its buffer without gaps or repeats, in whatever order."""
        step = 1
        for stride, n in sorted((s, n) for n, s in zip(self.shape, self.strides, strict=True) if n != 1):
            if stride != step:
                return False
            step *= n
        return step == self.data_size

    @property
    def by_rows(self) -> bool:
        """Whether it is contiguous with the last axis adjacent."""
        return self.contiguous and self._ordered(row_strides(self.shape))

    @property
    def by_columns(self) -> bool:
        """Whether it is contiguous with the first axis adjacent."""
        return self.contiguous and self._ordered(row_strides(self.shape[::-1])[::-1])

    def _ordered(self, wanted: Shape) -> bool:
        return all(n == 1 or s == w for n, s, w in zip(self.shape, self.strides, wanted, strict=True))


@dataclass(eq=False)
class Node:
    """A primitive, or several that were fused.

    Attributes:
        kind: MLX's name of the primitive; "Compiled" if fused.
        inputs: what it reads.
        outputs: what it makes.
        state: its settings, as `mx.export_function` gives them.
        tape: of a fused one the primitives: kind, dtype and shape of each.
        constants: of a fused one the names of the inputs that are numbers in its text.
    """

    kind: str
    inputs: list[Array]
    outputs: list[Array]
    state: list[Any] = field(default_factory=list)
    tape: list[tuple[str, str, Shape]] = field(default_factory=list)
    constants: frozenset[str] = frozenset()


@dataclass
class Graph:
    """All of a forward.

    Attributes:
        inputs: what it is called with, parameters included.
        constants: arrays that were there when it was traced.
        nodes: in the order of computation.
        outputs: what it returns.
    """

    inputs: list[Array]
    constants: list[Array]
    nodes: list[Node]
    outputs: list[Array]


def read_graph(events: list[dict[str, Any]]) -> Graph:
    """Build the graph from the events that `mx.export_function` gives to a callback."""
    arrays: dict[str, Array] = {}

    def get(name: str, shape: Shape, dtype: Any) -> Array:
        kind = str(dtype).removeprefix("mlx.core.")
        return arrays.setdefault(name, Array(name, tuple(shape), kind))

    graph = Graph([], [], [], [])
    for event in events:
        kind = event["type"]
        if kind == "inputs":
            graph.inputs = [get(*x) for x in event["inputs"]]
        elif kind == "outputs":
            graph.outputs = [get(*x) for x in event["outputs"]]
        elif kind == "constants":
            for name, value in event["constants"]:
                constant = get(name, value.shape, value.dtype)
                constant.value = value.item() if value.size == 1 else None
                graph.constants.append(constant)
        elif kind == "primitive":
            inputs, outputs = ([get(*x) for x in event[side]] for side in ("inputs", "outputs"))
            node = Node(event["name"], inputs, outputs, list(event["arguments"]))
            for array in node.outputs:
                array.node = node
            graph.nodes.append(node)
    return graph


def view_strides(shape: Shape, strides: Shape, new: Shape) -> Shape | None:
    """Return the strides with which an array can be seen in another shape; None if that takes a copy.

    Args:
        shape: of the array.
        strides: of the array, in elements.
        new: the other shape.

    Returns:
        The strides, in elements, one for each axis of the other shape.
    """
    old = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    result: list[int] = []
    taken = 0  # axes of `old`
    left, step = 1, 1  # what is left to share out of the merged axes, and the stride of the innermost of them
    for n in new:
        if n == 1:
            result.append(left * step)
            continue
        while left % n or left == 1:
            if left != 1 and (taken == len(old) or step != old[taken][0] * old[taken][1]):
                return None
            if taken == len(old):
                return None
            left, step = left * old[taken][0], old[taken][1]
            taken += 1
        left //= n
        result.append(left * step)
    return tuple(result)
