// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <cuda_runtime.h>

#include <entrain/compress/detail/bits.hpp>
#include <entrain/device/compress/arithmetic.cuh>

// The packings of compress/detail/bits.hpp (and TernGrad's five trits a byte) by a warp. A whole chunk is `lanes` lanes of q neighbours and
// `planes` planes of q bytes: a thread takes four neighbours of every lane, as bytes of words, and so writes four bytes of every plane; no
// thread needs what another has. Chunks that are not whole go byte by byte.

namespace entrain::device {

inline constexpr std::uint32_t four_ones = 0x01010101u;

template <int Bits>
struct bit_packing {
  static constexpr int lanes = 8, planes = Bits;
  __host__ __device__ static std::size_t bytes(std::size_t n) { return (n * Bits + 7) / 8; }

  // Byte i of codes[j]: the code of neighbour i in lane j.
  __device__ static void pack(const std::uint32_t (&codes)[8], std::uint32_t (&words)[Bits]) {
    for (int k = 0; k < Bits; ++k) {
      words[k] = 0;
      for (int j = 8 * k / Bits; j <= (8 * k + 7) / Bits; ++j) {
        const int shift = j * Bits - 8 * k;
        words[k] |= shift >= 0 ? (codes[j] & (four_ones * (0xffu >> shift))) << shift : (codes[j] >> -shift) & (four_ones * (0xffu >> -shift));
      }
    }
  }
  __device__ static void unpack(const std::uint32_t (&words)[Bits], std::uint32_t (&codes)[8]) {
    for (int j = 0; j < 8; ++j) {
      const int low = j * Bits / 8, high = (j * Bits + Bits - 1) / 8, shift = j * Bits - 8 * low;
      std::uint32_t code = (words[low] >> shift) & (four_ones * (0xffu >> shift));
      if (high > low) code |= (words[high] & (four_ones * (0xffu >> (8 - shift)))) << (8 - shift);
      codes[j] = code & (four_ones * ((1u << Bits) - 1));
    }
  }

  // Byte k of a chunk of n codes.
  template <class Code>
  __device__ static std::uint8_t byte(std::size_t n, std::size_t k, const Code& code) {
    const std::size_t q = n / 8, whole = Bits * q;
    const std::size_t plane = k < whole ? k / q : k - whole, first = k < whole ? k % q : 8 * q, step = k < whole ? q : 1;
    unsigned out = 0;
    for (std::size_t j = 8 * plane / Bits; j <= (8 * plane + 7) / Bits; ++j) {
      const std::size_t at = first + j * step;
      if (at >= n) break;
      const int shift = int(j) * Bits - 8 * int(plane);
      out |= shift >= 0 ? unsigned(code(at)) << shift : unsigned(code(at)) >> -shift;
    }
    return std::uint8_t(out);
  }
  __device__ static std::uint8_t code(const std::uint8_t* in, std::size_t n, std::size_t i) {
    const std::size_t q = n / 8, lane = i < 8 * q ? i / q : i - 8 * q, step = i < 8 * q ? q : 1;
    const std::uint8_t* base = i < 8 * q ? in + i % q : in + Bits * q;
    const std::size_t low = lane * Bits / 8, high = (lane * Bits + Bits - 1) / 8, shift = lane * Bits - 8 * low;
    unsigned code = base[low * step] >> shift;
    if (high > low) code |= unsigned(base[high * step]) << (8 - shift);
    return std::uint8_t(code & ((1u << Bits) - 1));
  }
};

struct base3_packing {
  static constexpr int lanes = 5, planes = 1;
  __host__ __device__ static std::size_t bytes(std::size_t n) { return (n + 4) / 5; }

  __device__ static void pack(const std::uint32_t (&codes)[5], std::uint32_t (&words)[1]) {  // 242 at most: no byte reaches the next
    words[0] = codes[0] + 3 * (codes[1] + 3 * (codes[2] + 3 * (codes[3] + 3 * codes[4])));
  }
  __device__ static void unpack(const std::uint32_t (&words)[1], std::uint32_t (&codes)[5]) {
    for (int j = 0; j < 5; ++j) codes[j] = 0;
    for (int i = 0; i < 4; ++i) {
      std::uint32_t left = words[0] >> (8 * i) & 0xffu;
      for (int j = 0; j < 5; ++j) {
        const std::uint32_t third = left * 171u >> 9;
        codes[j] |= (left - 3 * third) << (8 * i);
        left = third;
      }
    }
  }
  template <class Code>
  __device__ static std::uint8_t byte(std::size_t n, std::size_t k, const Code& code) {
    const std::size_t q = (n + 4) / 5;
    unsigned out = 0;
    for (std::size_t j = 5; j-- > 0;) out = 3 * out + (k + j * q < n ? unsigned(code(k + j * q)) : 0u);
    return std::uint8_t(out);
  }
  __device__ static std::uint8_t code(const std::uint8_t* in, std::size_t n, std::size_t i) {
    const std::size_t q = (n + 4) / 5;
    unsigned left = in[i % q];
    for (std::size_t j = i / q; j > 0; --j) left /= 3;
    return std::uint8_t(left % 3);
  }
};

// A warp packs a chunk: codes4(i) are the codes of values i to i + 3, code(i) of one. Chunk: the size of a whole one.
template <class Packing, std::size_t Chunk, class Codes4, class Code>
__device__ inline void pack_chunk(std::size_t n, std::uint8_t* out, const Codes4& codes4, const Code& code) {
  const std::size_t lane = threadIdx.x % 32;
  if (n == Chunk) {
    constexpr std::size_t q = Chunk / Packing::lanes;
    for (std::size_t g = 4 * lane; g < q; g += 128) {
      std::uint32_t codes[Packing::lanes], words[Packing::planes];
      for (int j = 0; j < Packing::lanes; ++j) codes[j] = codes4(std::size_t(j) * q + g);
      Packing::pack(codes, words);
      for (int k = 0; k < Packing::planes; ++k) store_word(out + std::size_t(k) * q + g, words[k]);
    }
    return;
  }
  for (std::size_t k = lane; k < Packing::bytes(n); k += 32) out[k] = Packing::byte(n, k, code);
}

// The way back: take4(i, codes of values i to i + 3), take(i, code).
template <class Packing, std::size_t Chunk, class Take4, class Take>
__device__ inline void unpack_chunk(std::size_t n, const std::uint8_t* in, const Take4& take4, const Take& take) {
  const std::size_t lane = threadIdx.x % 32;
  if (n == Chunk) {
    constexpr std::size_t q = Chunk / Packing::lanes;
    for (std::size_t g = 4 * lane; g < q; g += 128) {
      std::uint32_t codes[Packing::lanes], words[Packing::planes];
      for (int k = 0; k < Packing::planes; ++k) words[k] = load_word(in + std::size_t(k) * q + g);
      Packing::unpack(words, codes);
      for (int j = 0; j < Packing::lanes; ++j) take4(std::size_t(j) * q + g, codes[j]);
    }
    return;
  }
  for (std::size_t i = lane; i < n; i += 32) take(i, Packing::code(in, n, i));
}

}  // namespace entrain::device
