"""What stands before the body of a kernel, which is the same for Metal and CUDA; together they are one of MLX's."""

from typing import Any, Literal

import mlx.core as mx

Language = Literal["metal", "cuda"]

METAL_HEADER = """
#define LUCID_FUNCTION inline
#define LUCID_ADD(array, at, x) atomic_fetch_add_explicit(&(array)[at], x, memory_order_relaxed)
#define LUCID_SET(array, at, x) atomic_store_explicit(&(array)[at], x, memory_order_relaxed)
#define LUCID_OF_LANE_XOR(mask, x) simd_shuffle_xor(x, ushort(mask))
#define make_float4 float4

template <typename T>
LUCID_FUNCTION float4 lucid_load(const device T* from) {
  const metal::vec<T, 4> v = *(const device metal::vec<T, 4>*)from;
  return make_float4(float(v.x), float(v.y), float(v.z), float(v.w));
}

template <typename T>
LUCID_FUNCTION void lucid_store(device T* to, float4 v) {
  *(device metal::vec<T, 4>*)to = metal::vec<T, 4>(T(v.x), T(v.y), T(v.z), T(v.w));
}
"""

CUDA_HEADER = """
#define LUCID_FUNCTION __device__ inline
#define LUCID_ADD(array, at, x) atomicAdd(&(array)[at], x)
#define LUCID_SET(array, at, x) (array)[at] = x
#define LUCID_OF_LANE_XOR(mask, x) __shfl_xor_sync(0xffffffff, x, mask)

template <typename T>
struct alignas(4 * sizeof(T)) LucidFour {
  T x, y, z, w;
};

template <typename T>
LUCID_FUNCTION float4 lucid_load(const T* from) {
  const LucidFour<T> v = *reinterpret_cast<const LucidFour<T>*>(from);
  return make_float4(float(v.x), float(v.y), float(v.z), float(v.w));
}

template <typename T>
LUCID_FUNCTION void lucid_store(T* to, float4 v) {
  *reinterpret_cast<LucidFour<T>*>(to) = {T(v.x), T(v.y), T(v.z), T(v.w)};
}

LUCID_FUNCTION float4 operator*(float a, float4 v) { return make_float4(a * v.x, a * v.y, a * v.z, a * v.w); }

LUCID_FUNCTION float4 operator*(float4 u, float4 v) {
  return make_float4(u.x * v.x, u.y * v.y, u.z * v.z, u.w * v.w);
}

LUCID_FUNCTION float4 operator+(float4 u, float4 v) {
  return make_float4(u.x + v.x, u.y + v.y, u.z + v.z, u.w + v.w);
}

LUCID_FUNCTION float dot(float4 u, float4 v) { return u.x * v.x + u.y * v.y + u.z * v.z + u.w * v.w; }
"""

# In the body, where MLX looks for what the signature has to pass.
METAL_INDEX = """
  const uint index = thread_position_in_grid.x;
"""

CUDA_INDEX = """
  const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
"""


def language() -> Language:
    """Return what the GPU is programmed in."""
    return "metal" if mx.metal.is_available() else "cuda"


def build_kernel(
    language: Language,
    name: str,
    inputs: list[str],
    outputs: list[str],
    body: str,
    functions: str = "",
    atomic: bool = False,
) -> Any:
    """Build a kernel; MLX compiles it at the first call for a case.

    Args:
        language: of the GPU.
        name: of the kernel.
        inputs: names of the arrays that it reads.
        outputs: names of the arrays that it writes.
        body: what a thread does; `index` is its number, and LUCID_... stands for what the languages spell differently.
        functions: what the body calls.
        atomic: whether threads add to the same place of an output.

    Returns:
        What MLX calls a kernel.
    """
    if language == "metal":
        header = METAL_HEADER + functions
        return mx.fast.metal_kernel(name, inputs, outputs, METAL_INDEX + body, header, atomic_outputs=atomic)
    return mx.fast.cuda_kernel(name, inputs, outputs, CUDA_INDEX + body, CUDA_HEADER + functions)
