"""The text of the kernels that compute group normalization's statistics in one read: one body for Metal and CUDA.

A thread of the first takes ROWS pixels of one group and writes their mean and their summed squared distances from it;
adjacent threads take adjacent groups. Distances are taken from the first pixel, which is among them: so what cancels is
at most ROWS times what stays. A SIMD group of the second merges those of one group of a map (Chan, Golub and LeVeque
1979) and writes the scale and the shift of its channels. Sums are float32. T, P (the parameters' type), SIZE (channels
of a group) and ROWS are template arguments.
"""

PARTIAL = """
  const int groups = x_shape[3] / SIZE, pixels = x_shape[1] * x_shape[2];
  const int chunks = (pixels + ROWS - 1) / ROWS;
  const int group = int(index) % groups;
  const int chunk = int(index) / groups % chunks, batch = int(index) / (groups * chunks);
  if (batch >= x_shape[0]) { return; }  // CUDA fills the last block
  const int first = chunk * ROWS;
  const int count = pixels - first < ROWS ? pixels - first : ROWS;
  const int place = ((batch * pixels + first) * groups + group) * SIZE;
  float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  const float4 ones = make_float4(1.0f, 1.0f, 1.0f, 1.0f);
  for (int channel = 0; channel < SIZE; channel += 4) { sum = sum + lucid_load(x + (place + channel)); }
  const float start = dot(sum, ones) / float(SIZE);
  float squares = 0.0f;
  sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  for (int pixel = 0; pixel < count; ++pixel) {
    for (int channel = 0; channel < SIZE; channel += 4) {
      const float4 distance = lucid_load(x + (place + pixel * groups * SIZE + channel)) + (-start) * ones;
      sum = sum + distance;
      squares += dot(distance, distance);
    }
  }
  const float total = dot(sum, ones);
  partial[2 * index] = start + total / float(count * SIZE);
  partial[2 * index + 1] = squares - total * (total / float(count * SIZE));
"""

AFFINE = """
  const int chunks = partial_shape[1], groups = partial_shape[2];
  const int lane = int(index) % 32, group = int(index) / 32 % groups, batch = int(index) / (32 * groups);
  if (batch >= partial_shape[0]) { return; }  // CUDA fills the last block
  float mean = 0.0f, squares = 0.0f, numbers = 0.0f;
  for (int chunk = lane; chunk < chunks; chunk += 32) {
    const int first = chunk * ROWS;
    const float count = float((pixels[0] - first < ROWS ? pixels[0] - first : ROWS) * SIZE);
    const int place = 2 * ((batch * chunks + chunk) * groups + group);
    const float distance = partial[place] - mean, share = count / (numbers + count);
    mean += distance * share;
    squares += partial[place + 1] + distance * distance * numbers * share;
    numbers += count;
  }
  for (int mask = 16; mask > 0; mask /= 2) {
    const float other_mean = LUCID_OF_LANE_XOR(mask, mean), other_squares = LUCID_OF_LANE_XOR(mask, squares);
    const float count = LUCID_OF_LANE_XOR(mask, numbers);
    const float distance = other_mean - mean, share = count > 0.0f ? count / (numbers + count) : 0.0f;
    mean += distance * share;
    squares += other_squares + distance * distance * numbers * share;
    numbers += count;
  }
  const float variance = squares > 0.0f ? squares / numbers : squares - squares;
  const float inverse = 1.0f / sqrt(variance + eps[0]);
  for (int channel = group * SIZE + lane; channel < (group + 1) * SIZE; channel += 32) {
    const int place = batch * groups * SIZE + channel;
    scale[place] = inverse * float(weight[channel]);
    shift[place] = float(bias[channel]) - mean * inverse * float(weight[channel]);
  }
"""
