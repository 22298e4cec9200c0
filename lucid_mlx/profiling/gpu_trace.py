"""The graph that a GPU would get, traced without one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from lucid_mlx.backends.gpu import add_layer_norm, deformable_attention, deformable_kernel, group_norm, max_pool
from lucid_mlx.backends.gpu.comparison import Check
from lucid_mlx.backends.gradient import WithGradient
from lucid_mlx.models import Mask2Former
from lucid_mlx.profiling.gpu_graph import Graph, Node, read_graph

_NAMES = ("class_queries_logits", "masks_queries_logits")


def trace(model: Mask2Former, shape: tuple[int, int, int, int]) -> Graph:
    """Trace a forward with its GPU branches on; nothing is computed.

    Args:
        model: in inference mode.
        shape: of the pixels, (B, num_channels, H, W).

    Returns:
        The graph after MLX's own simplification.
    """
    parameters = cast(list[tuple[str, mx.array]], tree_flatten(model.parameters()))
    kinds: list[str] = []
    events: list[dict[str, Any]] = []

    def forward(pixels: mx.array, *values: mx.array) -> list[mx.array]:
        model.update(tree_unflatten([(name, x) for (name, _), x in zip(parameters, values, strict=True)]))
        outputs = model(pixels)
        return [outputs[name] for name in _NAMES]

    try:
        with _as_on_a_gpu(kinds):
            mx.export_function(events.append, forward, mx.zeros(shape), *[x for _, x in parameters])
    finally:
        model.update(tree_unflatten(parameters))
    return _named(read_graph(events), kinds)


@contextmanager
def _as_on_a_gpu(kinds: list[str]) -> Iterator[None]:
    """Have the package believe in a GPU, and mark in the graph what only a GPU has; the marks' kinds are appended."""

    def mark(kind: str, inputs: Sequence[Any], shapes: Sequence[Any], dtypes: Sequence[mx.Dtype]) -> list[mx.array]:
        outputs = []
        for shape, dtype in zip(shapes, dtypes, strict=True):
            # A scan that nobody else makes, of the kind's number. A graph holds no Python objects.
            outputs.append(mx.cummin(mx.full(shape, len(kinds), dtype), axis=0, reverse=True, inclusive=False))
            kinds.append(kind)
        return list(mx.depends(outputs, [x for x in inputs if isinstance(x, mx.array)]))

    def kernel(name: str) -> Callable[..., list[mx.array]]:
        return lambda inputs, output_shapes, output_dtypes, **_: mark(name, inputs, output_shapes, output_dtypes)

    def layer_norm(x: mx.array, weight: mx.array | None, bias: mx.array | None, eps: float) -> mx.array:
        return mark("LayerNorm", [x, weight, bias], [x.shape], [x.dtype])[0]

    def contiguous(x: mx.array) -> mx.array:
        return mark("Contiguous", [x], [x.shape], [x.dtype])[0]

    def with_gradient(self: WithGradient, *args: Any) -> Any:
        outputs = self.function(*args)
        inputs = [x for x in args if isinstance(x, mx.array)]
        if isinstance(outputs, mx.array):
            return mx.depends([outputs], inputs)[0]  # MLX's own mark of it cannot be exported, and fuses as little
        return tuple(mx.depends(list(outputs), inputs))

    attention = (kernel("msda_forward"), kernel("msda_backward"))
    statistics = (kernel("group_norm_partial"), kernel("group_norm_affine"))
    replacements: list[tuple[Any, str, Any]] = [
        (mx, "default_device", lambda: SimpleNamespace(type=mx.DeviceType.gpu)),
        (mx, "contiguous", contiguous),
        (mx.fast, "layer_norm", layer_norm),
        (WithGradient, "__call__", with_gradient),
        (deformable_kernel, "kernels", lambda language: attention),
        (deformable_attention, "usable", lambda *_: True),
        (Check, "passed", lambda *_: True),
        (add_layer_norm, "kernels", lambda language: (kernel("add_layer_norm"),)),
        (max_pool, "kernels", lambda language: (kernel("max_pool"),)),
        (group_norm, "kernels", lambda language: statistics),
    ]
    with ExitStack() as stack:
        for place, name, value in replacements:
            stack.enter_context(_replaced(place, name, value))
        yield


@contextmanager
def _replaced(place: Any, name: str, value: Any) -> Iterator[None]:
    kept = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, kept)


def _named(graph: Graph, kinds: list[str]) -> Graph:
    """Replace marks by the primitives that they stand for."""
    scaffold: set[int] = set()

    def marked(node: Node | None) -> str | None:
        """Return what an output of a mark stands for."""
        if node is None or node.kind != "Scan" or node.state[-2:] != [True, False]:
            return None
        made = [node]
        while (source := made[-1].inputs[0]).node is not None:
            made.append(source.node)
        scaffold.update(map(id, made))
        return kinds[int(source.value)]

    for node in graph.nodes:
        if node.kind == "Depends" and (kind := marked(node.inputs[0].node)):
            for extra in node.inputs[1 : len(node.outputs)]:
                marked(extra.node)
            node.inputs = node.inputs[len(node.outputs) :]
            own = kind in ("LayerNorm", "Contiguous")
            node.kind, node.state = (kind, []) if own else ("Kernel", [kind])
    nodes = [node for node in graph.nodes if id(node) not in scaffold]
    return Graph(graph.inputs, graph.constants, nodes, graph.outputs)
