// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/device/launch.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Pooling: one thread an output forward, one thread an input backward, which looks at the windows that it lies in; no atomics. Bytes:
// forward reads the input and writes the output once (plus overlaps, from the caches), backward reads input, output and its gradient.

namespace entrain::device {

template <class T>
__global__ void pooling_forward(nn::ops::pooling op, const T* in, T* out) {
  const std::size_t oh = op.out_height(), ow = op.out_width(), total = op.samples * op.channels * oh * ow;
  const bool maximum = op.kind == nn::ops::pooling_kind::maximum;
  for (std::size_t i = thread_index(); i < total; i += thread_count()) {
    const T* window = in + (i / (oh * ow) * op.height + i / ow % oh * op.stride) * op.width + i % ow * op.stride;
    arithmetic<T> value = maximum ? arithmetic<T>(window[0]) : arithmetic<T>(0);
    for (std::size_t y = 0; y < op.window; ++y)
      for (std::size_t x = 0; x < op.window; ++x) {
        const auto found = arithmetic<T>(window[y * op.width + x]);
        value = maximum ? (value < found ? found : value) : value + found;
      }
    out[i] = T(maximum ? value : value / arithmetic<T>(op.window * op.window));
  }
}

template <class T>
__global__ void pooling_backward(nn::ops::pooling op, const T* in, const T* out, const T* dout, T* din) {
  const std::size_t oh = op.out_height(), ow = op.out_width(), image = op.height * op.width, total = op.samples * op.channels * image;
  const bool maximum = op.kind == nn::ops::pooling_kind::maximum;
  for (std::size_t i = thread_index(); i < total; i += thread_count()) {
    const std::size_t x = i % op.width, y = i / op.width % op.height, plane = i / image;
    const std::size_t first_y = y < op.window ? 0 : (y - op.window) / op.stride + 1, first_x = x < op.window ? 0 : (x - op.window) / op.stride + 1;
    arithmetic<T> sum = 0;
    for (std::size_t wy = first_y; wy < oh && wy * op.stride <= y; ++wy)
      for (std::size_t wx = first_x; wx < ow && wx * op.stride <= x; ++wx) {
        const std::size_t o = (plane * oh + wy) * ow + wx;
        if (!maximum) {
          sum += arithmetic<T>(dout[o]) / arithmetic<T>(op.window * op.window);
          continue;
        }
        // Mine if I am the first of the window that has the largest value.
        const T* window = in + (plane * op.height + wy * op.stride) * op.width + wx * op.stride;
        const std::size_t own = (y - wy * op.stride) * op.window + (x - wx * op.stride);
        bool mine = !(arithmetic<T>(in[i]) != arithmetic<T>(out[o]));
        for (std::size_t j = 0; mine && j < own; ++j) mine = arithmetic<T>(window[j / op.window * op.width + j % op.window]) != arithmetic<T>(out[o]);
        if (mine) sum += arithmetic<T>(dout[o]);
      }
    din[i] = T(sum);
  }
}

}  // namespace entrain::device

namespace entrain::nn::ops {

template <class T>
void forward(const engine::cuda_queue& queue, const pooling& op, const T* in, T* out) {
  const std::size_t n = op.samples * op.channels * op.out_height() * op.out_width();
  device::launch(queue, device::pooling_forward<T>, {device::grid_for(queue, n, 256), 256}, op, in, out);
}
template <class T>
void backward(const engine::cuda_queue& queue, const pooling& op, const T* in, const T* out, const T* dout, T* din) {
  const std::size_t n = op.samples * op.channels * op.height * op.width;
  device::launch(queue, device::pooling_backward<T>, {device::grid_for(queue, n, 256), 256}, op, in, out, dout, din);
}

}  // namespace entrain::nn::ops
