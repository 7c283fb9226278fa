// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <entrain/device/launch.cuh>
#include <entrain/device/nn/column_sum.cuh>
#include <entrain/device/nn/float8_product.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/engine/cuda/multiply.hpp>
#include <entrain/nn/ops.hpp>

// Matrix products by cuBLASLt (2 m n k flops; on an H200 at about 790 TFLOP/s in bfloat16, 50 in fp32, several times that with
// engine::cuda::tensor_float), and what surrounds them: rows of biases and sums of arrays.

namespace entrain::device {

// c[r, :] *= beta: what a product over nothing leaves.
template <class T>
__global__ void scale_rows(T* c, std::size_t rows, std::size_t width, std::size_t ld, float beta) {
  for (std::size_t i = thread_index(); i < rows * width; i += thread_count()) {
    T& to = c[i / width * ld + i % width];
    to = beta == 0 ? T(0) : T(arithmetic<T>(beta) * arithmetic<T>(to));
  }
}

template <class T>
__global__ void broadcast(const T* bias, T* out, std::size_t rows, std::size_t width) {
  for (std::size_t i = thread_index(); i < rows * width; i += thread_count()) out[i] = bias[i % width];
}

template <class T>
__global__ void add_packs(const T* a, const T* b, T* out, std::size_t packs) {
  for (std::size_t i = thread_index(); i < packs; i += thread_count()) {
    const auto x = load(a + i * pack<T>::count), y = load(b + i * pack<T>::count);
    pack<T> sum;
    for (int j = 0; j < pack<T>::count; ++j) sum.set(j, x[j] + y[j]);
    store(out + i * pack<T>::count, sum);
  }
}
template <class T>
__global__ void add_values(const T* a, const T* b, T* out, std::size_t n) {
  for (std::size_t i = thread_index(); i < n; i += thread_count()) out[i] = T(arithmetic<T>(a[i]) + arithmetic<T>(b[i]));
}

}  // namespace entrain::device

namespace entrain::nn::ops {

template <class T>
void run(const engine::cuda_queue& queue, const broadcast_rows& op, const T* bias, T* out) {
  device::launch(queue, device::broadcast<T>, {device::grid_for(queue, op.rows * op.width, 256), 256}, bias, out, op.rows, op.width);
}

// C may be float where A and B are of 16 bits.
template <class T, class Out>
  requires engine::multipliable<T, Out>
void run(const engine::cuda_queue& queue, const gemm& op, const T* a, const T* b, Out* c) {
  if (op.m == 0 || op.n == 0) return;
  if (op.k == 0) return device::launch(queue, device::scale_rows<Out>, {device::grid_for(queue, op.m * op.n, 256), 256}, c, op.m, op.n, op.ldc, op.beta);
  const engine::product p{op.transpose_a, op.transpose_b, op.m, op.n, op.k, op.lda, op.ldb, op.ldc, double(op.alpha), double(op.beta)};
  if (!device::multiply_in_8_bits(queue, op.factors, p, a, b, c)) (void)engine::multiply(queue, p, a, b, c);  // without an ending: done or thrown
}

template <class T>
void run(const engine::cuda_queue& queue, const affine& op, const T* in, const T* weight, const T* bias, T* out) {
  if (op.rows == 0 || op.outputs == 0) return;
  const engine::product p{false, false, op.rows, op.outputs, op.inputs, op.inputs, op.outputs, op.outputs, 1, 0};
  if (device::multiply_in_8_bits(queue, eight_bits::values, p, in, weight, out, engine::ending<T>::bias(bias))) return;
  if (op.inputs > 0 && engine::multiply(queue, p, in, weight, out, engine::ending<T>::bias(bias))) return;
  run(queue, broadcast_rows{op.rows, op.outputs}, bias, out);
  run(queue, gemm{false, false, op.rows, op.outputs, op.inputs, op.inputs, op.outputs, op.outputs, 1, 1, eight_bits::values}, in, weight, out);
}

// Bytes: two reads and a write an element.
template <class T>
void run(const engine::cuda_queue& queue, const add& op, const T* a, const T* b, T* out) {
  constexpr std::size_t each = device::pack<T>::count;
  const std::size_t packs = device::aligned(a) && device::aligned(b) && device::aligned(out) ? op.count / each : 0, done = packs * each;
  device::launch(queue, device::add_packs<T>, {device::grid_for(queue, packs, 256), 256}, a, b, out, packs);
  device::launch(queue, device::add_values<T>, {device::grid_for(queue, op.count - done, 256), 256}, a + done, b + done, out + done, op.count - done);
}

}  // namespace entrain::nn::ops
