// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/engine/host.hpp>
#include <entrain/nn/ops.hpp>
#include <entrain/nn/reference/gemm.hpp>

// Convolution as one matrix product a sample over an unfolded image (Chellapilla, Puri, Simard, 2006), and pooling. The
// product is `run(engine, gemm, ...)`, so the functions in detail serve any engine on the host that has its own product.

namespace entrain::nn::ops {

namespace detail {

// Calls visit(position in the unfolded image, position in the image) for every pair that is not padding; the rest of the
// unfolded image is left alone.
template <class F>
void for_each_unfolded(const convolution& op, F&& visit) {
  const std::size_t out_height = op.out_height(), out_width = op.out_width();
  std::size_t row = 0;
  for (std::size_t c = 0; c < op.channels; ++c)
    for (std::size_t ky = 0; ky < op.kernel; ++ky)
      for (std::size_t kx = 0; kx < op.kernel; ++kx, ++row)
        for (std::size_t y = 0; y < out_height; ++y) {
          const std::size_t padded_y = y * op.stride + ky;
          if (padded_y < op.padding || padded_y - op.padding >= op.height) continue;
          const std::size_t image_row = (c * op.height + padded_y - op.padding) * op.width;
          for (std::size_t x = 0; x < out_width; ++x) {
            const std::size_t padded_x = x * op.stride + kx;
            if (padded_x < op.padding || padded_x - op.padding >= op.width) continue;
            visit((row * out_height + y) * out_width + x, image_row + padded_x - op.padding);
          }
        }
}

template <class T>
void unfold(const convolution& op, const T* image, T* columns) {
  if (op.padding > 0) std::fill_n(columns, op.workspace_size(), T(0));
  for_each_unfolded(op, [&](std::size_t to, std::size_t from) { columns[to] = image[from]; });
}

struct convolution_sizes {
  std::size_t depth, pixels, image, output;
  explicit convolution_sizes(const convolution& op)
      : depth(op.channels * op.kernel * op.kernel),
        pixels(op.out_height() * op.out_width()),
        image(op.channels * op.height * op.width),
        output(op.filters * pixels) {}
};

template <class Engine, class T>
void convolution_forward(const Engine& e, const convolution& op, const T* in, const T* weight, const T* bias, T* out, T* workspace) {
  const convolution_sizes n(op);
  for (std::size_t s = 0; s < op.samples; ++s) {
    unfold(op, in + s * n.image, workspace);
    T* y = out + s * n.output;
    for (std::size_t f = 0; f < op.filters; ++f) std::fill_n(y + f * n.pixels, n.pixels, bias[f]);
    run(e, gemm{false, false, op.filters, n.pixels, n.depth, n.depth, n.pixels, n.pixels, 1, 1}, weight, static_cast<const T*>(workspace),
        y);
  }
}

template <class Engine, class T>
void convolution_backward_input(const Engine& e, const convolution& op, const T* weight, const T* dout, T* din, T* workspace) {
  const convolution_sizes n(op);
  std::fill_n(din, op.samples * n.image, T(0));
  for (std::size_t s = 0; s < op.samples; ++s) {
    run(e, gemm{true, false, n.depth, n.pixels, op.filters, n.depth, n.pixels, n.pixels, 1, 0}, weight, dout + s * n.output, workspace);
    T* image = din + s * n.image;
    for_each_unfolded(op, [&](std::size_t from, std::size_t to) { image[to] += workspace[from]; });
  }
}

template <class Engine, class T>
void convolution_backward_parameters(const Engine& e, const convolution& op, const T* in, const T* dout, T* dweight, T* dbias,
                                     T* workspace) {
  const convolution_sizes n(op);
  if (!op.accumulate) std::fill_n(dweight, op.filters * n.depth, T(0)), std::fill_n(dbias, op.filters, T(0));
  for (std::size_t s = 0; s < op.samples; ++s) {
    unfold(op, in + s * n.image, workspace);
    const T* dy = dout + s * n.output;
    run(e, gemm{false, true, op.filters, n.depth, n.pixels, n.pixels, n.pixels, n.depth, 1, 1}, dy, static_cast<const T*>(workspace),
        dweight);
    for (std::size_t f = 0; f < op.filters; ++f) {
      T sum = 0;
      for (std::size_t i = 0; i < n.pixels; ++i) sum += dy[f * n.pixels + i];
      dbias[f] += sum;
    }
  }
}

// Calls visit(position of the output, positions of its window...) by window start.
template <class F>
void for_each_window(const pooling& op, F&& visit) {
  std::size_t out = 0;
  for (std::size_t plane = 0; plane < op.samples * op.channels; ++plane)
    for (std::size_t y = 0; y < op.out_height(); ++y)
      for (std::size_t x = 0; x < op.out_width(); ++x) visit(out++, (plane * op.height + y * op.stride) * op.width + x * op.stride);
}

}  // namespace detail

template <class T>
void forward(const engine::reference& e, const convolution& op, const T* in, const T* weight, const T* bias, T* out, T* workspace) {
  detail::convolution_forward(e, op, in, weight, bias, out, workspace);
}
template <class T>
void backward_input(const engine::reference& e, const convolution& op, const T* weight, const T* dout, T* din, T* workspace) {
  detail::convolution_backward_input(e, op, weight, dout, din, workspace);
}
template <class T>
void backward_parameters(const engine::reference& e, const convolution& op, const T* in, const T* dout, T* dweight, T* dbias,
                         T* workspace) {
  detail::convolution_backward_parameters(e, op, in, dout, dweight, dbias, workspace);
}

template <class T>
void forward(const engine::reference&, const pooling& op, const T* in, T* out) {
  const bool maximum = op.kind == pooling_kind::maximum;
  detail::for_each_window(op, [&](std::size_t to, std::size_t first) {
    T value = maximum ? in[first] : T(0);
    for (std::size_t y = 0; y < op.window; ++y)
      for (std::size_t x = 0; x < op.window; ++x) {
        const T found = in[first + y * op.width + x];
        value = maximum ? std::max(value, found) : value + found;
      }
    out[to] = maximum ? value : value / T(op.window * op.window);
  });
}

template <class T>
void backward(const engine::reference&, const pooling& op, const T* in, const T* out, const T* dout, T* din) {
  std::fill_n(din, op.samples * op.channels * op.height * op.width, T(0));
  const bool maximum = op.kind == pooling_kind::maximum;
  detail::for_each_window(op, [&](std::size_t from, std::size_t first) {
    const T share = maximum ? dout[from] : dout[from] / T(op.window * op.window);
    for (std::size_t y = 0; y < op.window; ++y)
      for (std::size_t x = 0; x < op.window; ++x) {
        const std::size_t i = first + y * op.width + x;
        if (maximum && in[i] != out[from]) continue;
        din[i] += share;
        if (maximum) return;
      }
  });
}

}  // namespace entrain::nn::ops
