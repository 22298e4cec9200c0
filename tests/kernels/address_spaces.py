"""Clang's front end on Metal text: types and address spaces, from the libclang wheel."""

import re

from clang import cindex

# Metal's address spaces are Clang's, under other names.
PRELUDE = """
#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))
#define thread
typedef int int32_t;
typedef unsigned uint;
typedef unsigned short ushort;
typedef _Float16 float16_t;
typedef __bf16 bfloat16_t;
namespace metal {
template <typename T, int N> struct vector { typedef T type __attribute__((ext_vector_type(N))); };
template <typename T, int N> using vec = typename vector<T, N>::type;
template <typename T> struct atomic { T value; };
enum memory_order { memory_order_relaxed };
void atomic_fetch_add_explicit(volatile device atomic<float>*, float, memory_order);
void atomic_store_explicit(volatile device atomic<float>*, float, memory_order);
float simd_shuffle_xor(float, ushort);
float floor(float);
float sqrt(float);
bool isnan(float);
float dot(vec<float, 4>, vec<float, 4>);
}
using namespace metal;
typedef vec<float, 4> float4;
typedef vec<uint, 3> uint3;
#define float4(...) float4{__VA_ARGS__}
#line 1 "kernel.metal"
"""


def complaints(metal: str) -> list[str]:
    """Return the errors and warnings for the text of a kernel."""
    text = re.sub(r"= metal::vec<T, 4>\((.*)\);", r"= metal::vec<T, 4>{\1};", metal)  # C++ has no such constructor
    text = re.sub(r" ?\[\[.*?\]\] ?", " ", text)
    options = ["-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Wdouble-promotion", "-Wno-undefined-internal"]
    unit = cindex.Index.create().parse("kernel.cpp", options, [("kernel.cpp", PRELUDE + text)])
    found = [d for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Warning]
    return [f"line {d.location.line}: {d.spelling}" for d in found]
