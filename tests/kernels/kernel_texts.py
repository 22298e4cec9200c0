"""What MLX compiles for a kernel, on a machine with neither Metal nor CUDA."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx

CUDA_TYPES = {mx.float32: "float", mx.float16: "__half", mx.bfloat16: "__nv_bfloat16", mx.int32: "int32_t"}


def metal_text(kernel: Any, inputs: list[mx.array], **call: Any) -> str:
    """Return MLX's own text for `kernel(inputs=inputs, **call)`.

    MLX refuses to run a Metal kernel here, but while `mx.export_function` traces it writes the text that it would
    compile, and prints it if asked to.
    """

    def run(*inputs: mx.array) -> Any:
        return kernel(inputs=list(inputs), **call, verbose=True)

    examples = [mx.zeros(x.shape, x.dtype) for x in inputs]
    with tempfile.TemporaryDirectory() as folder:
        printed = _standard_output(lambda: mx.export_function(str(Path(folder, "unused.mlxfn")), run, *examples))
    return printed.split("```\n")[1]


def _standard_output(function: Callable[[], None]) -> str:
    """Call a function and return what it wrote to file descriptor 1, as C++ does."""
    sys.stdout.flush()
    saved = os.dup(1)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            function()
        finally:
            os.dup2(saved, 1)
            os.close(saved)
        file.seek(0)
        return file.read().decode()


class CudaKernel:
    """Takes the place of `mx.fast.cuda_kernel`, which exists on CUDA only, and writes the text in the same way.

    The way is that of mlx/backend/cuda/custom_kernel.cpp in MLX 0.32, less its includes.
    """

    def __init__(self, name: str, inputs: list[str], outputs: list[str], source: str, header: str):
        self.name, self.inputs, self.outputs, self.source, self.header = name, inputs, outputs, source, header

    def buffers(self) -> list[str]:
        """Return the names of the parameters, in order."""
        shapes = {name: [f"{name}_shape"] if f"{name}_shape" in self.source else [] for name in self.inputs}
        return [each for name in self.inputs for each in (name, *shapes[name])] + self.outputs

    def text(self, dtypes: list[mx.Dtype], template: list[tuple[str, Any]]) -> str:
        """Return the text for inputs and outputs of these dtypes."""
        types = dict(zip([*self.inputs, *self.outputs], (CUDA_TYPES[dtype] for dtype in dtypes), strict=True))
        parameters = [
            f"const __grid_constant__ Shape {name}"
            if name not in types
            else f"{'' if name in self.outputs else 'const '}{types[name]}* {name}"
            for name in self.buffers()
        ]
        constants = [
            f"constexpr int {name} = {what};" if isinstance(what, int) else f"using {name} = {CUDA_TYPES[what]};"
            for name, what in template
        ]
        signature = f"__global__ void {self.name}(\n    " + ",\n    ".join(parameters)
        body = "\n  ".join(["", *constants]) + self.source
        return f"{self.header}\nnamespace mlx::core::cu {{\n{signature}) {{{body}\n}}\n}}\n"
