// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <cuda_runtime.h>

#include <entrain/device/launch.cuh>

// Matrices of numbers in shared memory and their products by all threads of a block: what kernels without tensor cores are made of.
// Rows lie an odd number of elements apart, so that a warp reads rows and columns without bank conflicts.

namespace entrain::device::attention {

template <class A>
struct shared_matrix {
  A* data;
  int row_step, column_step = 1;
  __device__ A& operator()(int r, int c) const { return data[r * row_step + c * column_step]; }
  __device__ shared_matrix transposed() const { return {data, column_step, row_step}; }
};

// Hands the block's dynamic shared memory out.
template <class A>
class shared_allocator {
 public:
  __device__ shared_allocator() : next_(dynamic_shared<A>()) {}
  __device__ A* vector(int n) {
    A* const mine = next_;
    next_ += n;
    return mine;
  }
  __device__ shared_matrix<A> matrix(int rows, int columns) { return {vector(rows * (columns | 1)), columns | 1}; }

  // Of `wide` matrices [side, width], `square` ones [side, side] and `vectors` of side elements.
  static constexpr std::size_t bytes(std::size_t wide, std::size_t square, std::size_t vectors, std::size_t side, std::size_t width) {
    return (wide * side * (width | 1) + square * side * (side | 1) + vectors * side) * sizeof(A);
  }

 private:
  A* next_;
};

// out[rows, columns] = (or +=) a[rows, inner] * b[inner, columns]; rows is a multiple of 4. A thread computes four rows of a column.
template <bool Add, class A>
__device__ void multiply(int rows, int columns, int inner, shared_matrix<A> a, shared_matrix<A> b, shared_matrix<A> out) {
  for (int i = int(threadIdx.x); i < rows / 4 * columns; i += int(blockDim.x)) {
    const int r = i / columns * 4, c = i % columns;
    A sum[4] = {0, 0, 0, 0};
    for (int k = 0; k < inner; ++k) {
      const A x = b(k, c);
      for (int u = 0; u < 4; ++u) sum[u] += a(r + u, k) * x;
    }
    for (int u = 0; u < 4; ++u) out(r + u, c) = Add ? out(r + u, c) + sum[u] : sum[u];
  }
}

// Rows first ... first + Rows - 1 of [length, width] elements; those beyond the length are zero.
template <int Rows, class T, class A>
__device__ void load_rows(const T* from, std::size_t step, int first, int length, int width, shared_matrix<A> to) {
  for (int i = int(threadIdx.x); i < Rows * width; i += int(blockDim.x)) {
    const int r = i / width, c = i % width;
    to(r, c) = first + r < length ? A(from[std::size_t(first + r) * step + c]) : A(0);
  }
}
template <int Rows, class T, class A>
__device__ void store_rows(shared_matrix<A> from, T* to, std::size_t step, int first, int length, int width) {
  for (int i = int(threadIdx.x); i < Rows * width; i += int(blockDim.x)) {
    const int r = i / width, c = i % width;
    if (first + r < length) to[std::size_t(first + r) * step + c] = T(from(r, c));
  }
}

}  // namespace entrain::device::attention
