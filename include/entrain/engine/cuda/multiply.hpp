// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <entrain/core/error.hpp>
#include <entrain/engine/cuda.hpp>
#include <entrain/engine/cuda/product.hpp>

// Row-major matrix products on a queue, with what may follow them without another pass over memory: a bias, GELU, the slope of GELU, the sum
// that is a bias' gradient. 2 m n k flops; sums over k in float (double for double); with engine::cuda's tensor_float the factors of float
// products are rounded to 10-bit fractions. The same shape at the same alignment gets the same algorithm, so that its bits repeat.

namespace entrain::engine {

// C[m, n] = alpha * op(A)[m, k] * op(B)[k, n] + beta * C; ld*: elements from one row to the next, as the matrix is stored.
struct product {
  bool transpose_a = false, transpose_b = false;
  std::size_t m = 0, n = 0, k = 0;
  std::size_t lda = 0, ldb = 0, ldc = 0;
  double alpha = 1, beta = 0;
};

// A product_ending with what it needs; all of C's type.
template <class Out>
struct ending {
  product_ending kind = product_ending::none;
  const void *vector = nullptr, *kept = nullptr;
  std::size_t ld_kept = 0;

  static ending bias(const Out* bias) { return {product_ending::bias, bias, nullptr, 0}; }
  static ending bias_gelu(const Out* bias, Out* kept, std::size_t ld_kept) { return {product_ending::bias_gelu, bias, kept, ld_kept}; }
  static ending gelu_slope(const Out* kept, std::size_t ld_kept) { return {product_ending::gelu_slope, nullptr, kept, ld_kept}; }
  static ending bias_gradient(Out* sums) { return {product_ending::bias_gradient, sums, nullptr, 0}; }
};

// In which types cuBLASLt multiplies: C is of the factors' type, or float where they have 16 bits.
template <class T, class Out>
concept multipliable = (std::is_same_v<T, Out> && (std::is_same_v<T, float> || std::is_same_v<T, double>)) ||
                       ((std::is_same_v<T, bfloat16> || is_half<T>) && (std::is_same_v<T, Out> || std::is_same_v<Out, float>));

namespace detail {

// a, b: of the types that are named.
template <class Out>
product_shape shape_of(const cuda_queue& queue, const product& p, cudaDataType_t type_a, cudaDataType_t type_b, const void* a, const void* b, const Out* c, const ending<Out>& end) {
  if (p.m == 0 || p.n == 0 || p.k == 0) throw usage_error("engine::multiply", "a product of nothing", "m, n, k >= 1", entrain::detail::text(p.m, ", ", p.n, ", ", p.k));
  product_shape shape;
  shape.type_a = type_a, shape.type_b = type_b, shape.out_type = blas_type<Out>();
  shape.transpose_a = p.transpose_a, shape.transpose_b = p.transpose_b;
  shape.with_workspace = !queue.workspace().empty(), shape.ending = end.kind;
  shape.m = std::int64_t(p.m), shape.n = std::int64_t(p.n), shape.k = std::int64_t(p.k);
  shape.lda = std::int64_t(p.lda), shape.ldb = std::int64_t(p.ldb), shape.ldc = std::int64_t(p.ldc), shape.ld_kept = std::int64_t(end.ld_kept);
  shape.alignment_a = alignment_of(a), shape.alignment_b = alignment_of(b), shape.alignment_c = alignment_of(c);
  shape.alignment_vector = alignment_of(end.vector), shape.alignment_kept = alignment_of(end.kept);
  return shape;
}

// Rows of the ending's matrix are as cuBLASLt wants them.
template <class Out>
bool rows_fit(const ending<Out>& end) {
  const bool keeps = end.kind == product_ending::bias_gelu || end.kind == product_ending::gelu_slope;
  return !keeps || (end.ld_kept % 8 == 0 && alignment_of(end.kept) >= 16);
}

}  // namespace detail

// False, and nothing done, where cuBLASLt has no product with this ending: for double all but the bias, kept matrices whose rows are no
// multiple of 8 elements apart or that do not begin at 16 bytes, and what its heuristic refuses. Without an ending it is done or thrown. No size may be zero.
// Nothing is created when the shape has been here before.
template <class T, class Out>
  requires multipliable<T, Out>
[[nodiscard]] bool multiply(const cuda_queue& queue, const product& p, const T* a, const T* b, Out* c, const std::type_identity_t<ending<Out>>& end = {}) {
  product_shape shape = detail::shape_of(queue, p, blas_type<T>(), blas_type<T>(), a, b, c, end);
  shape.tensor_float = std::is_same_v<T, float> && queue.tensor_float();
  if (std::is_same_v<T, double> && end.kind > product_ending::bias) return false;
  if (!detail::rows_fit(end)) return false;

  const cuda_context& context = queue.context();
  const product_pointers with{.vector = end.vector, .kept = end.kept};
  blas_plan& plan = context.plan(shape, with);
  if (!plan.supported()) return false;
  const auto workspace = queue.workspace();
  using scale = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const scale alpha = scale(p.alpha), beta = scale(p.beta);
  plan.run(context.blas(), queue.stream(), &alpha, a, b, &beta, c, with, workspace.data(), workspace.size());
  return true;
}

}  // namespace entrain::engine
