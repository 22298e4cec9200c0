"""The text of the fused multi-scale deformable attention kernels: one body, after a Metal or a CUDA prologue.

A thread computes four channels of one batch entry, query and head, so that the DIM / 4 threads of a head read and
write adjacent memory. Sums are float32. MLX writes the signatures; T, HEADS, DIM, LEVELS and POINTS are template
arguments, and `levels` holds height, width and first cell of each level.
"""

METAL_HEADER = """
#define MSDA_FUNCTION inline
#define MSDA_ADD(array, at, x) atomic_fetch_add_explicit(&(array)[at], x, memory_order_relaxed)
#define MSDA_SET(array, at, x) atomic_store_explicit(&(array)[at], x, memory_order_relaxed)
#define MSDA_OF_LANE_XOR(mask, x) simd_shuffle_xor(x, ushort(mask))
#define make_float4 float4

template <typename T>
MSDA_FUNCTION float4 msda_load(const device T* from) {
  const metal::vec<T, 4> v = *(const device metal::vec<T, 4>*)from;
  return make_float4(float(v.x), float(v.y), float(v.z), float(v.w));
}

template <typename T>
MSDA_FUNCTION void msda_store(device T* to, float4 v) {
  *(device metal::vec<T, 4>*)to = metal::vec<T, 4>(T(v.x), T(v.y), T(v.z), T(v.w));
}
"""

CUDA_HEADER = """
#define MSDA_FUNCTION __device__ inline
#define MSDA_ADD(array, at, x) atomicAdd(&(array)[at], x)
#define MSDA_SET(array, at, x) (array)[at] = x
#define MSDA_OF_LANE_XOR(mask, x) __shfl_xor_sync(0xffffffff, x, mask)

template <typename T>
struct alignas(4 * sizeof(T)) MsdaFour {
  T x, y, z, w;
};

template <typename T>
MSDA_FUNCTION float4 msda_load(const T* from) {
  const MsdaFour<T> v = *reinterpret_cast<const MsdaFour<T>*>(from);
  return make_float4(float(v.x), float(v.y), float(v.z), float(v.w));
}

template <typename T>
MSDA_FUNCTION void msda_store(T* to, float4 v) {
  *reinterpret_cast<MsdaFour<T>*>(to) = {T(v.x), T(v.y), T(v.z), T(v.w)};
}

MSDA_FUNCTION float4 operator*(float a, float4 v) { return make_float4(a * v.x, a * v.y, a * v.z, a * v.w); }

MSDA_FUNCTION float4 operator+(float4 u, float4 v) {
  return make_float4(u.x + v.x, u.y + v.y, u.z + v.z, u.w + v.w);
}

MSDA_FUNCTION float dot(float4 u, float4 v) { return u.x * v.x + u.y * v.y + u.z * v.z + u.w * v.w; }
"""

# In the body, where MLX looks for what the signature has to pass.
METAL_INDEX = """
  const uint index = thread_position_in_grid.x;
"""

CUDA_INDEX = """
  const unsigned index = blockIdx.x * blockDim.x + threadIdx.x;
"""

GEOMETRY = """
// Whether a sample at (x, y), in cells from the center of the first one, touches the map. Not if a number is NaN.
MSDA_FUNCTION bool msda_touches(float x, float y, int height, int width) {
  return x > -1.0f && y > -1.0f && x < float(width) && y < float(height);
}

struct MsdaCorner {
  int cell;                // its number in the map, -1 outside
  float across, down;      // its shares of the sample, whose product is its weight
  float slope_x, slope_y;  // how the shares grow with x and y
};

// One of the four cells around a sample that touches the map.
MSDA_FUNCTION MsdaCorner msda_corner(float x, float y, int height, int width, int number) {
  const bool right = number % 2 == 1, below = number / 2 == 1;
  const float left = floor(x), top = floor(y);
  const int column = int(left) + number % 2, row = int(top) + number / 2;
  MsdaCorner corner;
  corner.cell = column >= 0 && row >= 0 && column < width && row < height ? row * width + column : -1;
  corner.across = right ? x - left : 1.0f - (x - left);
  corner.down = below ? y - top : 1.0f - (y - top);
  corner.slope_x = right ? 1.0f : -1.0f;
  corner.slope_y = below ? 1.0f : -1.0f;
  return corner;
}
"""

_THREAD = """
  const int cells = value_shape[1], queries = locations_shape[1];
  const int channel = int(index % (DIM / 4)) * 4;
  const int row = int(index / (DIM / 4));  // of batch, queries and heads
  const int head = row % HEADS, batch = row / (HEADS * queries);
  if (batch >= value_shape[0]) { return; }  // CUDA fills the last block
"""

FORWARD = (
    _THREAD
    + """
  float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  for (int level = 0; level < LEVELS; ++level) {
    const int height = levels[3 * level], width = levels[3 * level + 1], first = levels[3 * level + 2];
    const int map = ((batch * cells + first) * HEADS + head) * DIM + channel;
    for (int point = 0; point < POINTS; ++point) {
      const int sample = (row * LEVELS + level) * POINTS + point;
      const float x = locations[2 * sample] * float(width) - 0.5f;
      const float y = locations[2 * sample + 1] * float(height) - 0.5f;
      if (isnan(x) || isnan(y)) { sum = (x + y) * sum; }
      if (!msda_touches(x, y, height, width)) { continue; }
      const float weight = float(weights[sample]);
      for (int number = 0; number < 4; ++number) {
        const MsdaCorner corner = msda_corner(x, y, height, width, number);
        if (corner.cell < 0) { continue; }
        sum = sum + (weight * corner.across * corner.down) * msda_load(value + (map + corner.cell * (HEADS * DIM)));
      }
    }
  }
  msda_store(out + (row * DIM + channel), sum);
"""
)

BACKWARD = (
    _THREAD
    + """
  const float4 gradient = msda_load(cotangent + (row * DIM + channel));
  for (int level = 0; level < LEVELS; ++level) {
    const int height = levels[3 * level], width = levels[3 * level + 1], first = levels[3 * level + 2];
    const int map = ((batch * cells + first) * HEADS + head) * DIM + channel;
    for (int point = 0; point < POINTS; ++point) {
      const int sample = (row * LEVELS + level) * POINTS + point;
      const float x = locations[2 * sample] * float(width) - 0.5f;
      const float y = locations[2 * sample + 1] * float(height) - 0.5f;
      float to_weight = 0.0f, to_x = 0.0f, to_y = 0.0f;
      if (isnan(x) || isnan(y)) { to_weight = to_x = to_y = x + y; }
      if (msda_touches(x, y, height, width)) {
        const float weight = float(weights[sample]);
        for (int number = 0; number < 4; ++number) {
          const MsdaCorner corner = msda_corner(x, y, height, width, number);
          if (corner.cell < 0) { continue; }
          const int place = map + corner.cell * (HEADS * DIM);
          const float4 to_value = (weight * corner.across * corner.down) * gradient;
          MSDA_ADD(grad_value, place, to_value.x);
          MSDA_ADD(grad_value, place + 1, to_value.y);
          MSDA_ADD(grad_value, place + 2, to_value.z);
          MSDA_ADD(grad_value, place + 3, to_value.w);
          const float product = dot(gradient, msda_load(value + place));
          to_weight += corner.across * corner.down * product;
          to_x += corner.slope_x * corner.down * product;
          to_y += corner.across * corner.slope_y * product;
        }
        to_x *= weight * float(width);
        to_y *= weight * float(height);
      }
      // Sum over the channels, which the DIM / 4 adjacent lanes of a head share; they all come here.
      for (int mask = DIM / 8; mask > 0; mask /= 2) {
        to_weight += MSDA_OF_LANE_XOR(mask, to_weight);
        to_x += MSDA_OF_LANE_XOR(mask, to_x);
        to_y += MSDA_OF_LANE_XOR(mask, to_y);
      }
      if (channel == 0) {
        MSDA_SET(grad_weights, sample, to_weight);
        MSDA_SET(grad_locations, 2 * sample, to_x);
        MSDA_SET(grad_locations, 2 * sample + 1, to_y);
      }
    }
  }
"""
)
