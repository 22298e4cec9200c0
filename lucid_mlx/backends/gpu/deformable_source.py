"""The text of the fused multi-scale deformable attention kernels: one body for Metal and CUDA.

A thread computes four channels of one batch entry, query and head, so that the DIM / 4 threads of a head read and
write adjacent memory. Sums are float32. MLX writes the signatures; T, HEADS, DIM, LEVELS and POINTS are template
arguments, and `levels` holds height, width and first cell of each level.
"""

GEOMETRY = """
// Whether a sample at (x, y), in cells from the center of the first one, touches the map. Not if a number is NaN.
LUCID_FUNCTION bool msda_touches(float x, float y, int height, int width) {
  return x > -1.0f && y > -1.0f && x < float(width) && y < float(height);
}

struct MsdaCorner {
  int cell;                // its number in the map, -1 outside
  float across, down;      // its shares of the sample, whose product is its weight
  float slope_x, slope_y;  // how the shares grow with x and y
};

// One of the four cells around a sample that touches the map.
LUCID_FUNCTION MsdaCorner msda_corner(float x, float y, int height, int width, int number) {
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
        sum = sum + (weight * corner.across * corner.down) * lucid_load(value + (map + corner.cell * (HEADS * DIM)));
      }
    }
  }
  lucid_store(out + (row * DIM + channel), sum);
"""
)

BACKWARD = (
    _THREAD
    + """
  const float4 gradient = lucid_load(cotangent + (row * DIM + channel));
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
          LUCID_ADD(grad_value, place, to_value.x);
          LUCID_ADD(grad_value, place + 1, to_value.y);
          LUCID_ADD(grad_value, place + 2, to_value.z);
          LUCID_ADD(grad_value, place + 3, to_value.w);
          const float product = dot(gradient, lucid_load(value + place));
          to_weight += corner.across * corner.down * product;
          to_x += corner.slope_x * corner.down * product;
          to_y += corner.across * corner.slope_y * product;
        }
        to_x *= weight * float(width);
        to_y *= weight * float(height);
      }
      // Sum over the channels, which the DIM / 4 adjacent lanes of a head share; they all come here.
      for (int mask = DIM / 8; mask > 0; mask /= 2) {
        to_weight += LUCID_OF_LANE_XOR(mask, to_weight);
        to_x += LUCID_OF_LANE_XOR(mask, to_x);
        to_y += LUCID_OF_LANE_XOR(mask, to_y);
      }
      if (channel == 0) {
        LUCID_SET(grad_weights, sample, to_weight);
        LUCID_SET(grad_locations, 2 * sample, to_x);
        LUCID_SET(grad_locations, 2 * sample + 1, to_y);
      }
    }
  }
"""
)
