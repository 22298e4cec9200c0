"""What `mx.compile` fuses: a transcription of `compile_fuse` (mlx/compile.cpp, MLX 0.32)."""

from collections import Counter, defaultdict

from lucid_mlx.profiling.gpu_graph import Array, Graph, Node, Shape

ELEMENTWISE = frozenset({
    "Abs", "ArcCos", "ArcCosh", "ArcSin", "ArcSinh", "ArcTan", "ArcTanh", "AsType", "Ceil", "Cos", "Conjugate",
    "Cosh", "Remainder", "Erf", "ErfInv", "Exp", "Floor", "Log", "Log2", "Log10", "Log1p", "LogicalNot", "Negative",
    "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Square", "Sqrt", "Rsqrt", "Tan", "Tanh", "Expm1", "Real", "Imag",
    "BitwiseInvert", "Add", "Divide", "Equal", "NaNEqual", "Greater", "GreaterEqual", "Less", "LessEqual",
    "LogicalAnd", "LogicalOr", "LogAddExp", "Maximum", "Minimum", "Multiply", "NotEqual", "Power", "Subtract",
    "BitwiseBinary", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift", "ArcTan2", "Select",
})  # fmt: skip
FUSIBLE = ELEMENTWISE | {"Broadcast"}
MAX_DEPTH, MAX_ARRAYS = 11, 24


class _Fusion:
    """One run over a graph.

    Args:
        graph: what to fuse.

    Attributes:
        readers: for each array the outputs of the primitives that read it.
    """

    def __init__(self, graph: Graph):
        self.outputs = {a.name for a in graph.outputs}
        self.inputs = {a.name for a in graph.inputs}
        self.readers: dict[str, list[Array]] = defaultdict(list)
        self.copies = 0
        for node in graph.nodes:
            for array in node.inputs:
                self.readers[array.name] += node.outputs

    def region(self, head: Array) -> dict[str, Array]:
        """Return the arrays that one kernel computes on the way to `head`, by name."""
        inside: dict[str, Array] = {}
        found: set[str] = set()  # what the kernel reads
        if head.node is not None and head.node.kind in ELEMENTWISE:
            self._grow(head, 0, head.shape, inside, found)
        return inside

    def _grow(self, a: Array, depth: int, shape: Shape, inside: dict[str, Array], found: set[str]) -> None:
        if a.name in inside:
            return
        node = a.node
        kept = a.name in self.outputs
        if depth >= MAX_DEPTH or node is None or node.kind not in FUSIBLE or (kept and a.shape != shape):
            found.add(a.name)
            return
        if depth > 0 and not all(reader.name in inside for reader in self.readers[a.name]):
            if node.kind == "Broadcast" and len(found) < MAX_ARRAYS:
                self._grow(self._own_broadcast(a, node, inside), depth, shape, inside, found)
            else:
                found.add(a.name)
            return
        if kept:
            found.add(a.name)
        else:
            found.discard(a.name)
        if len(found) >= MAX_ARRAYS:
            return
        inside[a.name] = a
        for x in list(node.inputs):
            self._grow(x, depth + 1, shape, inside, found)

    def _own_broadcast(self, a: Array, node: Node, inside: dict[str, Array]) -> Array:
        """Give the kernel a broadcast of its own, where others read the same one."""
        self.copies += 1
        own = Array(f"{a.name}'{self.copies}", a.shape, a.dtype)
        own.node = Node("Broadcast", list(node.inputs), [own], node.state)
        for source in own.node.inputs:
            self.readers[source.name].append(own)
        mine = [reader for reader in self.readers[a.name] if reader.name in inside]
        self.readers[a.name] = [reader for reader in self.readers[a.name] if reader.name not in inside]
        self.readers[own.name] = mine
        for reader in mine:
            if reader.node is not None:
                reader.node.inputs = [own if x is a else x for x in reader.node.inputs]
        return own

    def fused(self, head: Array, inside: dict[str, Array]) -> Node:
        """Make one node of a region."""
        tape: list[Array] = []
        sources: list[Array] = []
        seen: set[str] = set()

        def collect(a: Array) -> None:
            if a.name in seen:
                return
            seen.add(a.name)
            if a.name not in inside or a.node is None:
                sources.append(a)
                return
            for x in a.node.inputs:
                collect(x)
            tape.append(a)

        collect(head)
        outputs = [a for a in tape[:-1] if a.name in self.outputs] + [head]
        node = Node("Compiled", sources, outputs)
        node.tape = [(a.node.kind, a.dtype, a.shape) for a in tape if a.node is not None]
        numbers = (a for a in sources if a.size == 1 and a.node is None and a.name not in self.inputs)
        node.constants = frozenset(a.name for a in numbers)
        for a in sources:
            self.readers[a.name] = [x for x in self.readers[a.name] if x.name not in inside] + outputs
        for a in outputs:
            a.node = node
            self.readers[a.name] = [x for x in self.readers[a.name] if x.name not in inside]
        return node


def fuse(graph: Graph) -> Graph:
    """Put elementwise primitives together as `mx.compile` does."""
    run = _Fusion(graph)
    nodes: list[Node] = []
    taken: set[str] = set()
    for node in reversed(graph.nodes):
        head = node.outputs[0]
        if head.name in taken:
            continue
        inside = run.region(head)
        if len(inside) > 1:
            taken |= inside.keys()
            node = run.fused(head, inside)
        nodes.append(node)
    return Graph(graph.inputs, graph.constants, nodes[::-1], graph.outputs)


def kernel_texts(graph: Graph) -> Counter[str]:
    """Count the fused kernels by their text: MLX builds a Metal library for each text when it first needs it."""
    texts: Counter[str] = Counter()
    for node in graph.nodes:
        if node.kind == "Compiled":
            steps = "|".join(f"{kind}:{dtype}" for kind, dtype, _ in node.tape)
            inputs = (
                repr(a.value) if a.name in node.constants else ("one " if a.size == 1 else "many ") + a.dtype
                for a in node.inputs
            )
            texts[f"{steps} of {', '.join(inputs)}"] += 1
    return texts
