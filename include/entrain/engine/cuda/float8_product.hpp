// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <entrain/core/memory.hpp>
#include <entrain/engine/cuda.hpp>
#include <entrain/engine/cuda/multiply.hpp>

// Products whose factors have 8 bits (float8_e4m3, float8_e5m2), twice as fast on tensor cores as those of 16. device/nn/float8.cuh makes
// the factors. cuBLASLt wants of them what Ada, Hopper and the small Blackwells have: k contiguous in both, that is A[m, k] and B
// transposed, [n, k]; sizes that are multiples of 16; not two of float8_e5m2. Each is worth its numbers times a float on the device.

namespace entrain::engine {

// Of a factor: what it is to be multiplied by, and the magnitude of the largest element before it had 8 bits, as bits of bfloat16.
struct alignas(16) float8_scale {
  float inverse = 1;
  unsigned largest = 0;
};

// Memory for the factors of one product at a time. It grows to the largest of them in the first pass: an allocation waits for the whole
// device, so that nothing still reads what is given back.
class float8_scratch {
 public:
  explicit float8_scratch(const cuda_context& context) : context_(context), scales_(2) {}

  float8_scale* scales() const { return scales_.data(); }  // of A, of B
  std::byte* reserve(std::size_t bytes) {
    if (bytes <= memory_.size()) return memory_.data();
    if (!memory_.empty()) context_.note_moved();
    memory_ = buffer<std::byte, cuda_space>(bytes);
    return memory_.data();
  }

 private:
  const cuda_context& context_;
  buffer<float8_scale, cuda_space> scales_;
  buffer<std::byte, cuda_space> memory_;
};

template <class F>
concept float8 = std::is_same_v<F, float8_e4m3> || std::is_same_v<F, float8_e5m2>;

// One product of 8-bit factors in the scratch of a context. Its place is known before the factors are made, so that what cuBLASLt has not
// costs nothing: for (float8_product<A, B, Out> x(...); x.possible();) make x.a(), x.b() and x.scales(), then x.run().
template <float8 A, float8 B, class Out>
  requires(!(std::is_same_v<A, float8_e5m2> && std::is_same_v<B, float8_e5m2>))
class float8_product {
 public:
  // p: sizes, ldc, alpha and beta; how its factors lie is decided here.
  float8_product(const cuda_queue& queue, const product& p, Out* c, const ending<Out>& end) : queue_(queue), p_(p), c_(c), end_(end) {
    auto& scratch = queue.context().template keep<float8_scratch>();
    const std::size_t bytes_a = (p.m * p.k + 255) / 256 * 256;
    std::byte* memory = scratch.reserve(bytes_a + p.n * p.k);
    a_ = reinterpret_cast<A*>(memory), b_ = reinterpret_cast<B*>(memory + bytes_a), scales_ = scratch.scales();
    p_.transpose_a = false, p_.transpose_b = true, p_.lda = p.k, p_.ldb = p.k;
    if (!detail::rows_fit(end)) return;
    blas_plan& plan = queue.context().plan(detail::shape_of(queue, p_, blas_type<A>(), blas_type<B>(), a_, b_, c, end), pointers());
    if (plan.supported()) plan_ = &plan;
  }

  // False where cuBLASLt has no such product with this ending; without one it is possible or thrown.
  bool possible() const { return plan_ != nullptr; }
  A* a() const { return a_; }                        // [m, k]
  B* b() const { return b_; }                        // [n, k]
  float8_scale* scales() const { return scales_; }  // of A, of B
  void run() const {
    const float alpha = float(p_.alpha), beta = float(p_.beta);
    const auto workspace = queue_.workspace();
    plan_->run(queue_.context().blas(), queue_.stream(), &alpha, a_, b_, &beta, c_, pointers(), workspace.data(), workspace.size());
  }

 private:
  product_pointers pointers() const { return {end_.vector, end_.kept, &scales_[0].inverse, &scales_[1].inverse}; }

  const cuda_queue& queue_;
  product p_;
  Out* c_;
  ending<Out> end_;
  A* a_ = nullptr;
  B* b_ = nullptr;
  float8_scale* scales_ = nullptr;
  blas_plan* plan_ = nullptr;
};

}  // namespace entrain::engine
