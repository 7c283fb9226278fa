// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/engine/host.hpp>
#include <entrain/nn/host/layer_norm.hpp>
#include <entrain/nn/host/product.hpp>
#include <entrain/nn/ops.hpp>

// Convolution as a matrix product with the image's patches, a sample at a time: weight[filters, patch] * patches[patch, pixels].

namespace entrain::nn::host::detail {

// The output columns [first, last) whose input column x * stride + offset lies inside [0, width).
struct column_range {
  std::size_t first, last;
  column_range(const ops::convolution& d, std::size_t kernel_column) {
    first = kernel_column >= d.padding ? 0 : (d.padding - kernel_column + d.stride - 1) / d.stride;
    const std::size_t reach = d.width + d.padding;  // x * stride + kernel_column < reach
    last = reach > kernel_column ? std::min(d.out_width(), (reach - kernel_column - 1) / d.stride + 1) : 0;
    first = std::min(first, d.out_width());
    last = std::max(first, last);
  }
};

// Calls f(row of patches at this output row, input row or null, column range, kernel column) for all of a sample's patches.
template <class T, class Image, class F>
void for_patches(const ops::convolution& d, Image* image, T* patches, F&& f) {
  for (std::size_t c = 0; c < d.channels; ++c, image += d.height * d.width)
    for (std::size_t ky = 0; ky < d.kernel; ++ky)
      for (std::size_t kx = 0; kx < d.kernel; ++kx) {
        const column_range range(d, kx);
        for (std::size_t y = 0; y < d.out_height(); ++y, patches += d.out_width()) {
          const std::size_t row = y * d.stride + ky;
          const bool inside = row >= d.padding && row < d.height + d.padding;
          f(patches, inside ? image + (row - d.padding) * d.width : nullptr, range, kx);
        }
      }
}

template <class T>
void gather_patches(const ops::convolution& d, const T* image, T* patches) {
  for_patches(d, image, patches, [&](T* to, const T* row, const column_range& range, std::size_t kx) {
    if (!row) return void(std::fill_n(to, d.out_width(), T(0)));
    std::fill_n(to, range.first, T(0));
    if (d.stride == 1) std::copy_n(row + range.first + kx - d.padding, range.last - range.first, to + range.first);
    else
      for (std::size_t x = range.first; x < range.last; ++x) to[x] = row[x * d.stride + kx - d.padding];
    std::fill(to + range.last, to + d.out_width(), T(0));
  });
}

template <class T>
void scatter_patches(const ops::convolution& d, T* image, const T* patches) {
  std::fill_n(image, d.channels * d.height * d.width, T(0));
  for_patches(d, image, patches, [&](const T* from, T* row, const column_range& range, std::size_t kx) {
    if (!row) return;
    if (d.stride == 1) {
      T* const to = row + range.first + kx - d.padding;
      for_row<T>(range.last - range.first, [&](std::size_t i, std::size_t n) { store_some<T>(to + i, load_some(to + i, n) + load_some(from + range.first + i, n), n); });
    } else {
      for (std::size_t x = range.first; x < range.last; ++x) row[x * d.stride + kx - d.padding] += from[x];
    }
  });
}

}  // namespace entrain::nn::host::detail

namespace entrain::nn::ops {

template <class T>
void forward(const engine::host& engine, const convolution& d, const T* in, const T* weight, const T* bias, T* out, T* workspace) {
  const std::size_t patch = d.channels * d.kernel * d.kernel, pixels = d.out_height() * d.out_width();
  for (std::size_t s = 0; s < d.samples; ++s, in += d.channels * d.height * d.width, out += d.filters * pixels) {
    nn::host::detail::gather_patches(d, in, workspace);
    for (std::size_t f = 0; f < d.filters; ++f) std::fill_n(out + f * pixels, pixels, bias[f]);
    run(engine, gemm{.m = d.filters, .n = pixels, .k = patch, .lda = patch, .ldb = pixels, .ldc = pixels, .beta = 1}, weight, static_cast<const T*>(workspace), out);
  }
}

template <class T>
void backward_input(const engine::host& engine, const convolution& d, const T* weight, const T* dout, T* din, T* workspace) {
  const std::size_t patch = d.channels * d.kernel * d.kernel, pixels = d.out_height() * d.out_width();
  for (std::size_t s = 0; s < d.samples; ++s, din += d.channels * d.height * d.width, dout += d.filters * pixels) {
    run(engine, gemm{.transpose_a = true, .m = patch, .n = pixels, .k = d.filters, .lda = patch, .ldb = pixels, .ldc = pixels}, weight, dout, workspace);
    nn::host::detail::scatter_patches(d, din, static_cast<const T*>(workspace));
  }
}

template <class T>
void backward_parameters(const engine::host& engine, const convolution& d, const T* in, const T* dout, T* dweight, T* dbias, T* workspace) {
  const std::size_t patch = d.channels * d.kernel * d.kernel, pixels = d.out_height() * d.out_width();
  if (!d.accumulate) {
    std::fill_n(dweight, d.filters * patch, T(0));
    std::fill_n(dbias, d.filters, T(0));
  }
  for (std::size_t s = 0; s < d.samples; ++s, in += d.channels * d.height * d.width, dout += d.filters * pixels) {
    nn::host::detail::gather_patches(d, in, workspace);
    run(engine, gemm{.transpose_b = true, .m = d.filters, .n = patch, .k = pixels, .lda = pixels, .ldb = pixels, .ldc = patch, .beta = 1}, dout,
        static_cast<const T*>(workspace), dweight);
    for (std::size_t f = 0; f < d.filters; ++f)
      dbias[f] += nn::host::detail::row_sum<T>(pixels, [&](std::size_t i, std::size_t n) { return nn::host::detail::load_some(dout + f * pixels + i, n); });
  }
}

}  // namespace entrain::nn::ops
