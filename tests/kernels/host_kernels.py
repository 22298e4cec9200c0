"""Kernels that their caller takes for MLX's, and that run on the CPU."""

import hashlib
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from kernel_texts import CudaKernel, metal_text

LOOKALIKE = Path(__file__).parent / "lookalike"
MLX_HEADERS = Path(mx.__file__).parent / "include"
FOLDER = tempfile.TemporaryDirectory(prefix="lucid-mlx-kernels-")


class KernelError(Exception):
    """The compiler, a sanitizer or the look-alike found a mistake."""


class MetalOnCPU:
    """Compiles the Metal text of a kernel of MLX with g++ and runs it over the whole grid."""

    def __init__(self, kernel: Any):
        self.kernel = kernel

    def __call__(self, inputs: list[mx.array], grid: tuple[int, int, int], **call: Any) -> list[mx.array]:
        text = metal_text(self.kernel, inputs, grid=grid, **call)
        body, instance = text.split("template [[host_name(")
        function = re.search(r"decltype\((.+?)\)", instance)[1]
        names = re.findall(r"(\w+) \[\[buffer\(", text)
        passed = [f"buffers[{i}]" for i in range(len(names))]
        program = build(
            f'#include "metal.h"\n{body}\n'
            "void run_thread(unsigned number, unsigned, const Buffer* buffers) {\n"
            f"  {function}({', '.join(passed)}, uint3{{number, 0, 0}});\n}}\n"
        )
        return run(program, grid[0], names, inputs, **call)


class CudaOnCPU(CudaKernel):
    """The same for CUDA."""

    def __call__(self, inputs: list[mx.array], grid: tuple[int, int, int], **call: Any) -> list[mx.array]:
        text = self.text([x.dtype for x in inputs] + call["output_dtypes"], call["template"])
        passed = [f"buffers[{i}]" for i in range(len(self.buffers()))]
        program = build(
            f'#include "cuda.h"\n{text}\n'
            "void run_thread(unsigned number, unsigned threadgroup, const Buffer* buffers) {\n"
            "  blockDim.x = threadgroup, blockIdx.x = number / threadgroup, threadIdx.x = number % threadgroup;\n"
            f"  mlx::core::cu::{self.name}({', '.join(passed)});\n}}\n"
        )
        block = min(call["threadgroup"][0], grid[0])
        return run(program, -(-grid[0] // block) * block, self.buffers(), inputs, **call)


def build(text: str) -> Path:
    """Compile a program with g++ and its sanitizers, once for each text."""
    program = Path(FOLDER.name, hashlib.sha256(text.encode()).hexdigest()[:16])
    if not program.exists():
        source = program.with_suffix(".cpp")
        source.write_text(text)
        sanitize = "-fsanitize=address,alignment,signed-integer-overflow,float-cast-overflow"
        flags = ["-std=c++17", "-O1", "-w", sanitize, "-fno-sanitize-recover=all"]
        _call("g++", *flags, f"-I{LOOKALIKE}", f"-I{MLX_HEADERS}", source, "-o", program)
    return program


def run(
    program: Path,
    threads: int,
    names: list[str],
    inputs: list[mx.array],
    threadgroup: tuple[int, int, int],
    output_shapes: list[tuple[int, ...]],
    output_dtypes: list[mx.Dtype],
    init_value: float = np.nan,  # so that a place that the kernel leaves out is seen
    **_: Any,
) -> list[mx.array]:
    """Run a program over buffers with these names: the inputs, their shapes, and the outputs."""
    outputs = [mx.full(shape, init_value, dtype) for shape, dtype in zip(output_shapes, output_dtypes, strict=True)]
    arrays = iter([*inputs, *outputs])
    array, contents = None, []
    for name in names:
        if name.endswith("_shape"):
            contents.append(np.array(array.shape, np.int32).tobytes())
        else:
            array = next(arrays)
            contents.append(np.array(array.reshape(-1).view(mx.uint8)).tobytes())
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in names]
        for file, content in zip(files, contents, strict=True):
            file.write_bytes(content)
        _call(program, str(threads), str(min(threadgroup[0], threads)), *files)
        written = [np.frombuffer(file.read_bytes(), np.uint8) for file in files[-len(outputs) :]]
    return [mx.array(x).view(y.dtype).reshape(y.shape) for x, y in zip(written, outputs, strict=True)]


def _call(*command: str | Path) -> None:
    result = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    if result.returncode:
        raise KernelError(f"{command[0]}: {result.stderr}")
