// As much of CUDA's language and library as the kernels use, in C++.
#pragma once
#include <cmath>

#include "mlx/types/half_types.h"
#include "simd_group.h"

#define __device__
#define __global__
#define __grid_constant__

using __half = mlx::core::float16_t;
using __nv_bfloat16 = mlx::core::bfloat16_t;
using std::floor;
using std::isnan;

struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct Shape {
  const int* sizes;
  Shape(const Buffer& buffer) : sizes(buffer) {}
  int operator[](int axis) const { return sizes[axis]; }
};

static struct {
  unsigned x;
} blockIdx, blockDim, threadIdx;

inline void atomicAdd(float* to, float x) { *to += x; }  // threads run one at a time here
inline float __shfl_xor_sync(unsigned, float x, int mask) { return exchange(x, mask); }
