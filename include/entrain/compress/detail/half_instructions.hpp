// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <entrain/core/small_float.hpp>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__CUDACC__)
#define ENTRAIN_HALF_INSTRUCTIONS 1
#else
#define ENTRAIN_HALF_INSTRUCTIONS 0
#endif

// Sixteen conversions between float and float16 at a time, by the processor's own instructions (AVX-512F), where it has them: the arithmetic
// of core/small_float.hpp is vectorised too, but takes a dozen instructions where this takes four. The same bits, NaNs and saturation
// included. Found out at run time, so that programs compiled for any x86-64 gain.

namespace entrain::compress::detail {

#if ENTRAIN_HALF_INSTRUCTIONS
inline bool has_half_instructions() {
  static const bool found = __builtin_cpu_supports("avx512f");
  return found;
}

// Two instructions by name, the rest in vector types: <immintrin.h> would cost every program tens of thousands of lines.
using sixteen_floats [[gnu::vector_size(64)]] = float;
using sixteen_words [[gnu::vector_size(64)]] = std::int32_t;
using sixteen_halves [[gnu::vector_size(32)]] = std::int16_t;

[[gnu::target("avx512f")]] inline void to_16_halves(const float* in, float16* out) {
  sixteen_floats v;
  std::memcpy(&v, in, sizeof v);
  const sixteen_words nan = v != v, canonical = (reinterpret_cast<sixteen_words>(v) & std::int32_t(0x80000000u)) | 0x7fc00000;
  v = v > 65504.0f ? 65504.0f - sixteen_floats{} : v;
  v = v < -65504.0f ? -65504.0f - sixteen_floats{} : v;
  v = reinterpret_cast<sixteen_floats>((reinterpret_cast<sixteen_words>(v) & ~nan) | (canonical & nan));
  sixteen_halves codes;
  asm("vcvtps2ph $0, %1, %0" : "=v"(codes) : "v"(v));  // to nearest, ties to even
  std::memcpy(static_cast<void*>(out), &codes, sizeof codes);
}
[[gnu::target("avx512f")]] inline void to_halves_avx512(const float* in, std::size_t n, float16* out) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) to_16_halves(in + i, out + i);
  if (i == n) return;
  float values[16] = {};
  float16 codes[16];
  std::memcpy(values, in + i, (n - i) * sizeof(float));
  to_16_halves(values, codes);
  std::memcpy(static_cast<void*>(out + i), codes, (n - i) * sizeof(float16));
}

// A product that is rounded before the sum, as without contraction: the last values of a span, too, so that no result depends on where it ends.
[[gnu::target("avx512f")]] inline void add_16_halves(const float16* in, float scale, float* out) {
  sixteen_halves codes;
  sixteen_floats v, sum;
  std::memcpy(&codes, in, sizeof codes), std::memcpy(&sum, out, sizeof sum);
  asm("vcvtph2ps %1, %0" : "=v"(v) : "v"(codes));
  v *= scale;
  asm("" : "+v"(v));  // no fused multiply-add
  sum += v;
  std::memcpy(out, &sum, sizeof sum);
}
[[gnu::target("avx512f")]] inline void add_halves_avx512(const float16* in, std::size_t n, float scale, float* out) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) add_16_halves(in + i, scale, out + i);
  if (i == n) return;
  float values[16] = {};
  float16 codes[16] = {};
  std::memcpy(values, out + i, (n - i) * sizeof(float)), std::memcpy(static_cast<void*>(codes), in + i, (n - i) * sizeof(float16));
  add_16_halves(codes, scale, values);
  std::memcpy(out + i, values, (n - i) * sizeof(float));
}
#endif

// out[i] = in[i], and out[i] += scale * in[i]: true if done.
inline bool to_halves([[maybe_unused]] const float* in, [[maybe_unused]] std::size_t n, [[maybe_unused]] float16* out) {
#if ENTRAIN_HALF_INSTRUCTIONS
  if (has_half_instructions()) return to_halves_avx512(in, n, out), true;
#endif
  return false;
}
inline bool add_halves([[maybe_unused]] const float16* in, [[maybe_unused]] std::size_t n, [[maybe_unused]] float scale, [[maybe_unused]] float* out) {
#if ENTRAIN_HALF_INSTRUCTIONS
  if (has_half_instructions()) return add_halves_avx512(in, n, scale, out), true;
#endif
  return false;
}

}  // namespace entrain::compress::detail
