// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <entrain/core/config.hpp>

// Codes of 1 to 8 bits and signs, packed into bytes and back: n codes of b bits take exactly ceil(n b / 8) bytes.
//
// Order: values go in chunks of 1024. A chunk of n values is eight lanes of q = n / 8 neighbours each, and byte k q + g holds bits
// [8 k, 8 k + 8) of the 8 b bits that the g-th codes of the eight lanes make when laid end to end. All loads and stores are
// contiguous and the shifts are constants, so that plain loops pack a register's worth of values at a time. What n / 8
// leaves over, at most seven values at the end of the last chunk, lies end to end behind.

namespace entrain::compress::detail {

inline constexpr std::size_t bit_chunk = 1024;  // values; a multiple of 8, small enough for their codes to stay in L1

constexpr std::size_t packed_bytes(std::size_t n, int bits) { return (n * std::size_t(bits) + 7) / 8; }

// Calls f(first, count) for each chunk of n values; all but the last hold bit_chunk.
template <class F>
void for_each_chunk(std::size_t n, F&& f) {
  for (std::size_t first = 0; first < n; first += bit_chunk) f(first, std::min(bit_chunk, n - first));
}

template <int Bits>
struct packing {
  // The eight lanes of q codes each.
  static void pack_lanes(const std::uint8_t* codes, std::size_t q, std::uint8_t* out) {
    each<Bits>([&]<int K>() {
      constexpr int first = 8 * K / Bits, last = (8 * K + 7) / Bits;
      std::uint8_t* plane = out + K * q;
      ENTRAIN_VECTORISE
      for (std::size_t g = 0; g < q; ++g) {
        std::uint8_t byte = 0;
        for (int j = first; j <= last; ++j) {
          const int shift = j * Bits - 8 * K;
          byte |= std::uint8_t(shift >= 0 ? codes[std::size_t(j) * q + g] << shift : codes[std::size_t(j) * q + g] >> -shift);
        }
        plane[g] = byte;
      }
    });
  }

  static void unpack_lanes(const std::uint8_t* in, std::size_t q, std::uint8_t* codes) {
    each<8>([&]<int J>() {
      constexpr int low = J * Bits / 8, high = (J * Bits + Bits - 1) / 8, shift = J * Bits - 8 * low;
      constexpr std::uint8_t mask = std::uint8_t((1u << Bits) - 1);
      std::uint8_t* lane = codes + J * q;
      ENTRAIN_VECTORISE
      for (std::size_t g = 0; g < q; ++g) {
        std::uint8_t code = std::uint8_t(in[low * q + g] >> shift);
        if constexpr (high > low) code |= std::uint8_t(in[high * q + g] << (8 - shift));
        lane[g] = code & mask;
      }
    });
  }

  // One chunk of n <= bit_chunk codes, each below 2^Bits.
  static void pack(const std::uint8_t* codes, std::size_t n, std::uint8_t* out) {
    const std::size_t q = n / 8, left = n % 8;
    pack_lanes(codes, q, out);
    if (left == 0) return;
    std::uint8_t last[8] = {}, bytes[Bits];
    std::copy_n(codes + 8 * q, left, last);
    pack_lanes(last, 1, bytes);
    std::copy_n(bytes, packed_bytes(left, Bits), out + Bits * q);
  }
  static void unpack(const std::uint8_t* in, std::size_t n, std::uint8_t* codes) {
    const std::size_t q = n / 8, left = n % 8;
    unpack_lanes(in, q, codes);
    if (left == 0) return;
    std::uint8_t last[8], bytes[Bits] = {};
    std::copy_n(in + Bits * q, packed_bytes(left, Bits), bytes);
    unpack_lanes(bytes, 1, last);
    std::copy_n(last, left, codes + 8 * q);
  }

 private:
  template <int N, class F>
  static void each(F&& f) {
    [&]<int... K>(std::integer_sequence<int, K...>) { (f.template operator()<K>(), ...); }(std::make_integer_sequence<int, N>{});
  }
};

// Calls f.operator()<Bits>() for bits in [1, 8].
template <class F>
void with_bits(int bits, F&& f) {
  switch (bits) {
    case 1: return f.template operator()<1>();
    case 2: return f.template operator()<2>();
    case 3: return f.template operator()<3>();
    case 4: return f.template operator()<4>();
    case 5: return f.template operator()<5>();
    case 6: return f.template operator()<6>();
    case 7: return f.template operator()<7>();
    default: return f.template operator()<8>();
  }
}

// One chunk, the number of bits known at run time.
inline void pack(int bits, const std::uint8_t* codes, std::size_t n, std::uint8_t* out) {
  with_bits(bits, [&]<int Bits>() { packing<Bits>::pack(codes, n, out); });
}
inline void unpack(int bits, const std::uint8_t* in, std::size_t n, std::uint8_t* codes) {
  with_bits(bits, [&]<int Bits>() { packing<Bits>::unpack(in, n, codes); });
}

// Bit 1 for negative values, 0 for all others (so both zeros count as positive). n values to packed_bytes(n, 1) bytes.
template <class T>
void pack_signs(const T* values, std::size_t n, std::uint8_t* out) {
  for_each_chunk(n, [&](std::size_t first, std::size_t count) {
    const T* v = values + first;
    std::uint8_t* bytes = out + first / 8;
    const std::size_t q = count / 8;
    ENTRAIN_VECTORISE
    for (std::size_t g = 0; g < q; ++g) {
      unsigned byte = 0;
      for (unsigned j = 0; j < 8; ++j) byte |= unsigned(v[j * q + g] < T(0)) << j;
      bytes[g] = std::uint8_t(byte);
    }
    if (count % 8 == 0) return;
    bytes[q] = 0;
    for (std::size_t j = 8 * q; j < count; ++j) bytes[q] = std::uint8_t(bytes[q] | (v[j] < T(0)) << (j % 8));
  });
}

// Calls f(i, bit i ? minus : plus), chosen by arithmetic on the bits: a select here is not vectorised by every compiler.
template <class T, class F>
void for_each_sign(const std::uint8_t* in, std::size_t n, T plus, T minus, F&& f) {
  using word = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  const word base = std::bit_cast<word>(plus), change = base ^ std::bit_cast<word>(minus);
  const auto of = [=](std::uint8_t byte, std::size_t j) { return std::bit_cast<T>(base ^ (change & (word(0) - (word(byte) >> j & 1u)))); };
  for_each_chunk(n, [&](std::size_t first, std::size_t count) {
    const std::uint8_t* bytes = in + first / 8;
    const std::size_t q = count / 8;
    for (std::size_t j = 0; j < 8; ++j) {
      const std::size_t lane = first + j * q;
      ENTRAIN_VECTORISE
      for (std::size_t g = 0; g < q; ++g) f(lane + g, of(bytes[g], j));
    }
    for (std::size_t j = 8 * q; j < count; ++j) f(first + j, of(bytes[q], j % 8));
  });
}

// out[i] += bit i ? minus : plus.
template <class T>
void add_signs(const std::uint8_t* in, std::size_t n, T plus, T minus, T* out) {
  for_each_sign(in, n, plus, minus, [out](std::size_t i, T x) { out[i] += x; });
}

}  // namespace entrain::compress::detail
