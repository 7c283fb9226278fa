// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <entrain/device/launch.cuh>
#include <entrain/device/nn/float8.cuh>
#include <entrain/device/vector.cuh>
#include <entrain/engine/cuda/float8_product.hpp>
#include <entrain/nn/ops.hpp>

// Products whose factors are rounded to 8 bits on the way (precision::fp8_mixed; Micikevicius et al., "FP8 formats for deep learning",
// 2022): values to e4m3, gradients to e5m2, which has range instead of digits. The scale of a factor is found from its present
// elements ("current scaling"), on the device: nothing is kept from step to step, and the host waits for nothing.
//
// A factor of N elements costs 5 N bytes beside the product: 2 N read to find the scale, 2 N read and N written. On paper, at 4.3 TB/s and
// twice 790 TFLOP/s, an [m, k] x [k, n] product gains where m n / (m + n) is above about 920. GPT-2's 32768 x 768 times 768 x 3072: 196 us
// in bfloat16, 98 + 32 us here; back through it, with the 32768 x 3072 gradient rounded in 117 us, 98 + 120, and 98 + 147 for the weight's
// gradient. So GPT-2 124M comes out even, and models from a width of about 2000 on gain.

namespace entrain::device {

// What takes 8 bits: factors of bfloat16 that are dense, on the queue of the arithmetic, in sizes that cuBLASLt's 8-bit kernels have. The rest
// is computed in bfloat16, bit for bit as without the precision. Small sums over k are left, too: nothing is gained there.
template <class T, class Out>
bool fits_8_bits(const engine::cuda_queue& queue, nn::ops::eight_bits factors, const engine::product& p, const T* a, const T* b, const Out* c) {
  if (!std::is_same_v<T, bfloat16> || !queue.float8_products() || factors == nn::ops::eight_bits::no || queue.workspace().empty()) return false;
  const bool dense = p.lda == (p.transpose_a ? p.m : p.k) && p.ldb == (p.transpose_b ? p.k : p.n);
  const bool sized = p.m > 0 && p.n > 0 && p.k >= 64 && p.m % 16 == 0 && p.n % 16 == 0 && p.k % 16 == 0 && p.ldc % 16 == 0;
  return dense && sized && aligned(a) && aligned(b) && aligned(c);
}

template <class A, class B, class T, class Out>
bool multiply_as(const engine::cuda_queue& queue, const engine::product& p, const T* a, const T* b, Out* c, const engine::ending<Out>& end) {
  const engine::float8_product<A, B, Out> product(queue, p, c, end);
  if (!product.possible()) return false;
  engine::float8_scale* scales = product.scales();
  queue.zero(scales, 2);
  const std::size_t packs_a = p.m * p.k / pack<T>::count, packs_b = p.n * p.k / pack<T>::count;
  launch(queue, largest_magnitudes<T>, {dim3(grid_for(queue, std::max(packs_a, packs_b), 256, 4), 2), 256}, a, packs_a, b, packs_b, scales);
  write_in_8_bits(queue, a, product.a(), p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.transpose_a, scales);
  write_in_8_bits(queue, b, product.b(), p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, !p.transpose_b, scales + 1);
  product.run();
  return true;
}

// The product as engine::multiply would compute it, with factors of 8 bits. False, and nothing done, where the queue does not ask for it, the
// product does not fit, or cuBLASLt has none with this ending. Allocates only where a product is larger than all before.
template <class T, class Out>
[[nodiscard]] bool multiply_in_8_bits(const engine::cuda_queue& queue, nn::ops::eight_bits factors, const engine::product& p, const T* a, const T* b, Out* c,
                                      const std::type_identity_t<engine::ending<Out>>& end = {}) {
  using nn::ops::eight_bits;
  if constexpr (std::is_same_v<T, bfloat16>) {
    if (!fits_8_bits(queue, factors, p, a, b, c)) return false;
    if (factors == eight_bits::gradient_a) return multiply_as<float8_e5m2, float8_e4m3>(queue, p, a, b, c, end);
    if (factors == eight_bits::gradient_b) return multiply_as<float8_e4m3, float8_e5m2>(queue, p, a, b, c, end);
    return multiply_as<float8_e4m3, float8_e4m3>(queue, p, a, b, c, end);
  } else {
    return false;
  }
}

}  // namespace entrain::device
