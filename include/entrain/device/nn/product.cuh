// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <entrain/device/launch.cuh>
#include <entrain/device/reduce.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/nn/ops.hpp>

// Matrix products by cuBLASLt (2 m n k flops; on an H200 at about 790 TFLOP/s in bfloat16, 50 in fp32, several times that with
// engine::cuda::tensor_float), and what surrounds them: sums of columns, which are gradients of biases, and sums of arrays.

namespace entrain::device {

template <class T>
void multiply(const engine::cuda_queue& queue, const nn::ops::gemm& op, const T* a, const T* b, T* c, const T* bias) {
  if (op.m == 0 || op.n == 0) return;
  if (op.k > 0) {
    engine::product_shape shape;
    shape.type = shape.out_type = engine::blas_type<T>();
    shape.transpose_a = op.transpose_a, shape.transpose_b = op.transpose_b, shape.has_bias = bias != nullptr, shape.tensor_float = queue.tensor_float();
    shape.m = std::int64_t(op.m), shape.n = std::int64_t(op.n), shape.k = std::int64_t(op.k);
    shape.lda = std::int64_t(op.lda), shape.ldb = std::int64_t(op.ldb), shape.ldc = std::int64_t(op.ldc);
    shape.alignment = std::min({engine::alignment_of(a), engine::alignment_of(b), engine::alignment_of(c), engine::alignment_of(bias)});
    const arithmetic<T> alpha = op.alpha, beta = op.beta;
    const auto& context = queue.context();
    context.plan(shape).run(context.blas(), queue.stream(), &alpha, a, b, &beta, c, bias, context.workspace().data(), context.workspace().size());
  }
}

// c[r, :] = beta * c[r, :] + bias: what a product over nothing leaves.
template <class T>
__global__ void scale_rows(T* c, const T* bias, std::size_t rows, std::size_t width, std::size_t ld, float beta) {
  for (std::size_t i = thread_index(); i < rows * width; i += thread_count()) {
    T& to = c[i / width * ld + i % width];
    const arithmetic<T> kept = beta == 0 ? arithmetic<T>(0) : arithmetic<T>(beta) * arithmetic<T>(to);
    to = T(kept + (bias ? arithmetic<T>(bias[i % width]) : arithmetic<T>(0)));
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

// Columns of [first, first + 32) by 8 warps, each taking every 8th row of its part of the rows; partial[part, column].
inline constexpr unsigned column_warps = 8;
template <class T>
__global__ void column_sums_of_parts(const T* in, arithmetic<T>* partial, std::size_t rows, std::size_t width, std::size_t rows_a_part) {
  __shared__ arithmetic<T> sums[column_warps][warp_size];
  const std::size_t column = std::size_t(blockIdx.x) * warp_size + threadIdx.x, first = std::size_t(blockIdx.y) * rows_a_part;
  const std::size_t last = first + rows_a_part < rows ? first + rows_a_part : rows;
  arithmetic<T> sum = 0;
  if (column < width)
    for (std::size_t r = first + threadIdx.y; r < last; r += column_warps) sum += arithmetic<T>(in[r * width + column]);
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= width) return;
  for (unsigned w = 1; w < column_warps; ++w) sum += sums[w][threadIdx.x];
  partial[blockIdx.y * width + column] = sum;
}
template <class T>
__global__ void column_sums_together(const arithmetic<T>* partial, T* out, std::size_t parts, std::size_t width, bool accumulate) {
  for (std::size_t j = thread_index(); j < width; j += thread_count()) {
    arithmetic<T> sum = accumulate ? arithmetic<T>(out[j]) : arithmetic<T>(0);
    for (std::size_t p = 0; p < parts; ++p) sum += partial[p * width + j];
    out[j] = T(sum);
  }
}

}  // namespace entrain::device

namespace entrain::nn::ops {

template <class T>
void run(const engine::cuda_queue& queue, const gemm& op, const T* a, const T* b, T* c) {
  if (op.k > 0) return device::multiply(queue, op, a, b, c, static_cast<const T*>(nullptr));
  device::launch(queue, device::scale_rows<T>, {device::grid_for(queue, op.m * op.n, 256), 256}, c, nullptr, op.m, op.n, op.ldc, op.beta);
}

template <class T>
void run(const engine::cuda_queue& queue, const affine& op, const T* in, const T* weight, const T* bias, T* out) {
  if (op.inputs > 0) return device::multiply(queue, gemm{false, false, op.rows, op.outputs, op.inputs, op.inputs, op.outputs, op.outputs, 1, 0}, in, weight, out, bias);
  device::launch(queue, device::scale_rows<T>, {device::grid_for(queue, op.rows * op.outputs, 256), 256}, out, bias, op.rows, op.outputs, op.outputs, 0.0f);
}

template <class T>
void run(const engine::cuda_queue& queue, const broadcast_rows& op, const T* bias, T* out) {
  device::launch(queue, device::broadcast<T>, {device::grid_for(queue, op.rows * op.width, 256), 256}, bias, out, op.rows, op.width);
}

// Bytes: two reads and a write an element.
template <class T>
void run(const engine::cuda_queue& queue, const add& op, const T* a, const T* b, T* out) {
  constexpr std::size_t each = device::pack<T>::count;
  const std::size_t packs = device::aligned(a) && device::aligned(b) && device::aligned(out) ? op.count / each : 0, done = packs * each;
  device::launch(queue, device::add_packs<T>, {device::grid_for(queue, packs, 256), 256}, a, b, out, packs);
  device::launch(queue, device::add_values<T>, {device::grid_for(queue, op.count - done, 256), 256}, a + done, b + done, out + done, op.count - done);
}

// Bytes: the matrix once. Parts of the rows are summed side by side, then the parts in their order.
template <class T>
void run(const engine::cuda_queue& queue, const column_sum& op, const T* in, T* out) {
  using A = device::arithmetic<T>;
  const std::size_t columns = device::ceil_div(op.width, device::warp_size), room = queue.context().workspace().size() / sizeof(A) / std::max<std::size_t>(1, op.width);
  const std::size_t wanted = std::max<std::size_t>(1, 4 * std::size_t(queue.context().multiprocessors()) / std::max<std::size_t>(1, columns));
  const std::size_t parts = std::max<std::size_t>(1, std::min({wanted, room, device::ceil_div(op.rows, 64) + std::size_t(0)}));
  const std::size_t each = device::ceil_div(op.rows, parts);
  auto* partial = reinterpret_cast<A*>(queue.context().workspace().data());
  device::launch(queue, device::column_sums_of_parts<T>, {dim3(unsigned(columns), unsigned(parts)), dim3(device::warp_size, device::column_warps)}, in, partial, op.rows, op.width, each);
  device::launch(queue, device::column_sums_together<T>, {device::grid_for(queue, op.width, 256), 256}, static_cast<const A*>(partial), out, parts, op.width, op.accumulate);
}

}  // namespace entrain::nn::ops
