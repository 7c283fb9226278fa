// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/device/nn/activation.cuh>
#include <entrain/device/nn/column_sum.cuh>
#include <entrain/device/nn/float8_product.cuh>
#include <entrain/device/nn/product.cuh>
#include <entrain/engine/cuda/multiply.hpp>
#include <entrain/nn/ops.hpp>

// A linear layer with what stands beside it, where cuBLASLt does both in one kernel, else one after the other. What it saves, for 32768
// rows of 3072 in bfloat16 at 4.3 TB/s:
//   GELU in the product before it     one read of 201 MB, 47 us: the product still leaves GELU's input for the way back
//   its slope in the product after    a read and a write, 94 us
//   the bias' gradient                one read, 47 us
// The two with GELU are used from compute capability 9.0 on: before, cuBLASLt's kernels that have them lose more than they save. A
// product with the bias' gradient cannot cut its long sum into parts that run side by side, so it must fill the device with what it writes.
// Products in 8 bits (precision::fp8_mixed) come before these endings: with them where cuBLASLt has both, else in parts; the bias' gradient
// is always a sum of what had 16 bits.

namespace entrain::nn::ops {

namespace detail {

inline bool gelu_in_products(const engine::cuda_queue& queue) { return queue.context().capability() >= 90; }
// Tiles of 128 x 128, which a multiprocessor computes at a time.
inline bool fills_device(const engine::cuda_queue& queue, std::size_t rows, std::size_t columns) {
  return (rows + 127) / 128 * ((columns + 127) / 128) >= std::size_t(queue.context().multiprocessors());
}

// In 8 bits where they are wanted and fit, else in T's; false where there is none with this ending.
template <class T>
bool multiply_at_best(const engine::cuda_queue& queue, eight_bits factors, const engine::product& p, const T* a, const T* b, T* c, const engine::ending<T>& end) {
  if (device::fits_8_bits(queue, factors, p, a, b, c)) return device::multiply_in_8_bits(queue, factors, p, a, b, c, end);
  return engine::multiply(queue, p, a, b, c, end);
}

}  // namespace detail

template <class T>
void run(const engine::cuda_queue& queue, const affine_gelu& op, const T* in, const T* weight, const T* bias, T* kept, T* out) {
  if (op.rows == 0 || op.outputs == 0) return;
  const engine::product p{false, false, op.rows, op.outputs, op.inputs, op.inputs, op.outputs, op.outputs, 1, 0};
  if (op.inputs > 0 && detail::gelu_in_products(queue) && detail::multiply_at_best(queue, eight_bits::values, p, in, weight, out, engine::ending<T>::bias_gelu(bias, kept, op.outputs))) return;
  run(queue, affine{op.rows, op.inputs, op.outputs}, in, weight, bias, kept);
  forward(queue, activation{activation_kind::gelu, op.rows * op.outputs}, static_cast<const T*>(kept), out);
}

template <class T>
void run(const engine::cuda_queue& queue, const affine_gelu_slope& op, const T* dout, const T* weight, const T* kept, T* din) {
  if (op.rows == 0 || op.inputs == 0) return;
  const engine::product p{false, true, op.rows, op.inputs, op.outputs, op.outputs, op.outputs, op.inputs, 1, 0};
  if (op.outputs > 0 && detail::gelu_in_products(queue) && detail::multiply_at_best(queue, eight_bits::gradient_a, p, dout, weight, din, engine::ending<T>::gelu_slope(kept, op.inputs))) return;
  run(queue, gemm{false, true, op.rows, op.inputs, op.outputs, op.outputs, op.outputs, op.inputs, 1, 0, eight_bits::gradient_a}, dout, weight, din);
  backward(queue, activation{activation_kind::gelu, op.rows * op.inputs}, kept, static_cast<const T*>(din), din);
}

template <class T>
void run(const engine::cuda_queue& queue, const affine_gradient& op, const T* in, const T* dout, T* dweight, T* dbias) {
  const engine::product p{true, false, op.inputs, op.outputs, op.rows, op.inputs, op.outputs, op.outputs, 1, 0};
  if (op.rows > 0 && op.inputs > 0 && op.outputs > 0 && !op.accumulate && detail::fills_device(queue, op.inputs, op.outputs) &&
      !device::fits_8_bits(queue, eight_bits::gradient_b, p, in, dout, dweight) && engine::multiply(queue, p, in, dout, dweight, engine::ending<T>::bias_gradient(dbias)))
    return;
  run(queue, gemm{true, false, op.inputs, op.outputs, op.rows, op.inputs, op.outputs, op.outputs, 1, op.accumulate ? 1.0f : 0.0f, eight_bits::gradient_b}, in, dout, dweight);
  run(queue, column_sum{op.rows, op.outputs, op.accumulate}, dout, dbias);
}

}  // namespace entrain::nn::ops
