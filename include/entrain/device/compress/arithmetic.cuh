// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <cuda_runtime.h>

#include <entrain/core/memory.hpp>
#include <entrain/engine/cuda.hpp>

// What the compressors' kernels share. Their wire is the host's byte for byte; where sums stand behind a scale, those are in double in
// another order than the host's, so that a scale of floats may differ in its last bit about once in 10^8 blocks.

namespace entrain::device {

// a * b + c with both roundings, as the host's loops have them: compilers for the device would make one instruction with one rounding of it.
__device__ inline float multiply_then_add(float a, float b, float c) {
#if defined(__CUDACC__)
  return __fadd_rn(__fmul_rn(a, b), c);
#else
  return a * b + c;
#endif
}
__device__ inline double multiply_then_add(double a, double b, double c) {
#if defined(__CUDACC__)
  return __dadd_rn(__dmul_rn(a, b), c);
#else
  return a * b + c;
#endif
}

// Numbers within a wire of bytes lie anywhere.
template <class T>
__device__ inline T read_bytes(const std::uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}
template <class T>
__device__ inline void write_bytes(std::uint8_t* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}
// Four bytes of a wire in one access where they lie at a multiple of four.
__device__ inline std::uint32_t load_word(const std::uint8_t* from) {
  if (reinterpret_cast<std::uintptr_t>(from) % 4 == 0) return *reinterpret_cast<const std::uint32_t*>(from);
  return std::uint32_t(from[0]) | std::uint32_t(from[1]) << 8 | std::uint32_t(from[2]) << 16 | std::uint32_t(from[3]) << 24;
}
__device__ inline void store_word(std::uint8_t* to, std::uint32_t word) {
  if (reinterpret_cast<std::uintptr_t>(to) % 4 == 0) {
    *reinterpret_cast<std::uint32_t*>(to) = word;
    return;
  }
  for (int j = 0; j < 4; ++j) to[j] = std::uint8_t(word >> (8 * j));
}

// Device memory that an encoding needs while it runs: made once, as large as scratch_bytes(policy, n) says for the largest block; work
// that uses the same one belongs on one stream.
class compress_scratch {
 public:
  explicit compress_scratch(std::size_t bytes) : memory_((bytes + 255) / 256 * 256) {}
  std::byte* data() const { return memory_.data(); }
  std::size_t size() const { return memory_.size(); }

 private:
  buffer<std::byte, cuda_space> memory_;
};

// Arrays one behind the other in a scratch, each at a multiple of 256 bytes.
class scratch_cutter {
 public:
  explicit scratch_cutter(std::byte* memory = nullptr) : memory_(memory) {}
  template <class T>
  T* take(std::size_t n) {
    T* out = memory_ ? reinterpret_cast<T*>(memory_ + used_) : nullptr;
    used_ += (n * sizeof(T) + 255) / 256 * 256;
    return out;
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

}  // namespace entrain::device
