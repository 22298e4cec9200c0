// As much of Metal's language and library as the kernels use, in C++.
#pragma once
#include <cmath>

#include "mlx/types/half_types.h"
#include "simd_group.h"

#define device
#define constant
#define thread

using uint = unsigned;
using ushort = unsigned short;
using mlx::core::bfloat16_t;
using mlx::core::float16_t;
using std::floor;
using std::isnan;
using std::sqrt;

struct uint3 {
  uint x, y, z;
};

namespace metal {
template <typename T, int N>
struct vec;

template <typename T>
struct alignas(4 * sizeof(T)) vec<T, 4> {
  T x, y, z, w;
  vec() = default;
  vec(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}
};
}  // namespace metal

using float4 = metal::vec<float, 4>;
inline float4 operator*(float a, float4 v) { return {a * v.x, a * v.y, a * v.z, a * v.w}; }
inline float4 operator*(float4 u, float4 v) { return {u.x * v.x, u.y * v.y, u.z * v.z, u.w * v.w}; }
inline float4 operator+(float4 u, float4 v) { return {u.x + v.x, u.y + v.y, u.z + v.z, u.w + v.w}; }
inline float dot(float4 u, float4 v) { return u.x * v.x + u.y * v.y + u.z * v.z + u.w * v.w; }

// Threads run one at a time here: nothing has to be atomic.
template <typename T>
struct atomic {
  T value;
};
enum { memory_order_relaxed };
inline void atomic_fetch_add_explicit(atomic<float>* to, float x, int) { to->value += x; }
inline void atomic_store_explicit(atomic<float>* to, float x, int) { to->value = x; }

inline float simd_shuffle_xor(float x, ushort mask) { return exchange(x, mask); }
