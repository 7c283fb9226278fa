// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/device/launch.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Convolutions computed directly, for the small images and kernels of small networks: neighbouring threads take neighbouring pixels, so
// accesses to images are coalesced and weights are the same for a warp. 2 k^2 c f flops an output pixel at the rate of plain fused
// multiply-adds (at best 60 TFLOP/s on an H200), no workspace, fixed order of sums. Large networks want tensor cores and cuDNN.

namespace entrain::device {

// out[s, f, y, x]: one thread each.
template <class T>
__global__ void convolution_forward(nn::ops::convolution op, const T* in, const T* weight, const T* bias, T* out) {
  const std::size_t oh = op.out_height(), ow = op.out_width(), pixels = oh * ow, total = op.samples * op.filters * pixels;
  for (std::size_t i = thread_index(); i < total; i += thread_count()) {
    const std::size_t x = i % ow, y = i / ow % oh, f = i / pixels % op.filters, s = i / (pixels * op.filters);
    arithmetic<T> sum = arithmetic<T>(bias[f]);
    for (std::size_t c = 0; c < op.channels; ++c)
      for (std::size_t ky = 0; ky < op.kernel; ++ky) {
        const std::size_t py = y * op.stride + ky;
        if (py < op.padding || py - op.padding >= op.height) continue;
        const T* row = in + ((s * op.channels + c) * op.height + py - op.padding) * op.width;
        const T* w = weight + ((f * op.channels + c) * op.kernel + ky) * op.kernel;
        for (std::size_t kx = 0; kx < op.kernel; ++kx) {
          const std::size_t px = x * op.stride + kx;
          if (px >= op.padding && px - op.padding < op.width) sum += arithmetic<T>(row[px - op.padding]) * arithmetic<T>(w[kx]);
        }
      }
    out[i] = T(sum);
  }
}

// din[s, c, y, x]: one thread each, over the outputs that it took part in.
template <class T>
__global__ void convolution_backward_input(nn::ops::convolution op, const T* weight, const T* dout, T* din) {
  const std::size_t oh = op.out_height(), ow = op.out_width(), image = op.height * op.width, total = op.samples * op.channels * image;
  for (std::size_t i = thread_index(); i < total; i += thread_count()) {
    const std::size_t x = i % op.width, y = i / op.width % op.height, c = i / image % op.channels, s = i / (image * op.channels);
    arithmetic<T> sum = 0;
    for (std::size_t f = 0; f < op.filters; ++f)
      for (std::size_t ky = 0; ky < op.kernel; ++ky) {
        const std::size_t py = y + op.padding;
        if (py < ky || (py - ky) % op.stride != 0 || (py - ky) / op.stride >= oh) continue;
        const T* row = dout + ((s * op.filters + f) * oh + (py - ky) / op.stride) * ow;
        const T* w = weight + ((f * op.channels + c) * op.kernel + ky) * op.kernel;
        for (std::size_t kx = 0; kx < op.kernel; ++kx) {
          const std::size_t px = x + op.padding;
          if (px >= kx && (px - kx) % op.stride == 0 && (px - kx) / op.stride < ow) sum += arithmetic<T>(row[(px - kx) / op.stride]) * arithmetic<T>(w[kx]);
        }
      }
    din[i] = T(sum);
  }
}

// dweight[f, c, ky, kx]: one block each, over samples and pixels; the blocks behind them take the biases.
template <class T>
__global__ void convolution_backward_parameters(nn::ops::convolution op, const T* in, const T* dout, T* dweight, T* dbias) {
  const std::size_t oh = op.out_height(), ow = op.out_width(), pixels = oh * ow, weights = op.filters * op.channels * op.kernel * op.kernel;
  const std::size_t which = blockIdx.x;
  const bool is_bias = which >= weights;
  const std::size_t kx = which % op.kernel, ky = which / op.kernel % op.kernel, c = which / (op.kernel * op.kernel) % op.channels;
  const std::size_t f = is_bias ? which - weights : which / (op.kernel * op.kernel * op.channels);
  arithmetic<T> sum = 0;
  for (std::size_t i = threadIdx.x; i < op.samples * pixels; i += blockDim.x) {
    const std::size_t x = i % ow, y = i / ow % oh, s = i / pixels;
    const arithmetic<T> d = arithmetic<T>(dout[((s * op.filters + f) * oh + y) * ow + x]);
    if (is_bias) {
      sum += d;
      continue;
    }
    const std::size_t py = y * op.stride + ky, px = x * op.stride + kx;
    if (py < op.padding || py - op.padding >= op.height || px < op.padding || px - op.padding >= op.width) continue;
    sum += d * arithmetic<T>(in[((s * op.channels + c) * op.height + py - op.padding) * op.width + px - op.padding]);
  }
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  T& to = is_bias ? dbias[f] : dweight[which];
  to = T(sum + (op.accumulate ? arithmetic<T>(to) : arithmetic<T>(0)));
}

}  // namespace entrain::device

namespace entrain::nn::ops {

template <class T>
void forward(const engine::cuda_queue& queue, const convolution& op, const T* in, const T* weight, const T* bias, T* out, T*) {
  const std::size_t n = op.samples * op.filters * op.out_height() * op.out_width();
  device::launch(queue, device::convolution_forward<T>, {device::grid_for(queue, n, 256), 256}, op, in, weight, bias, out);
}
template <class T>
void backward_input(const engine::cuda_queue& queue, const convolution& op, const T* weight, const T* dout, T* din, T*) {
  const std::size_t n = op.samples * op.channels * op.height * op.width;
  device::launch(queue, device::convolution_backward_input<T>, {device::grid_for(queue, n, 256), 256}, op, weight, dout, din);
}
template <class T>
void backward_parameters(const engine::cuda_queue& queue, const convolution& op, const T* in, const T* dout, T* dweight, T* dbias, T*) {
  const std::size_t blocks = op.filters * op.channels * op.kernel * op.kernel + op.filters;
  device::launch(queue, device::convolution_backward_parameters<T>, {unsigned(blocks), 256}, op, in, dout, dweight, dbias);
}

}  // namespace entrain::nn::ops
