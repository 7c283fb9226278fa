// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "threads_of_a_block.hpp"

// The warp-wide matrix instructions, written from the layout tables of the PTX ISA ("Matrix Fragments for mma.m16n8k16 with
// floating point type", "Warp-level matrix load instruction: ldmatrix") and from nothing that a kernel does: each lane gives its
// registers, and gets those that the tables say.

namespace entrain::emulated {

// Element `half` of a register that holds two 16-bit numbers.
template <class T>
float half_of(std::uint32_t word, int half) {
  return float(std::bit_cast<T>(std::uint16_t(word >> (16 * half))));
}
template <class T>
std::uint32_t two_halves(float low, float high) {
  return std::uint32_t(std::bit_cast<std::uint16_t>(T(low))) | std::uint32_t(std::bit_cast<std::uint16_t>(T(high))) << 16;
}

// c[16, 8] += a[16, 16] * b[16, 8]. Element (row, column) of a: lane 4 (row mod 8) + (column mod 8) / 2, register row / 8 + 2 (column / 8),
// half column mod 2. Element (row, column) of b: lane 4 column + (row mod 8) / 2, register row / 8, half row mod 2. Element (row, column)
// of c: lane 4 (row mod 8) + column / 2, register 2 (row / 8) + column mod 2.
template <class T>
void mma_16816(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  struct registers { std::uint32_t a[4], b[2]; };
  const registers mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  const int self = lane();
  const auto sums = with_values_of_warp(mine, [self](auto read) {
    std::array<float, 4> out{};
    for (int i = 0; i < 4; ++i) {
      const int row = self / 4 + 8 * (i / 2), column = 2 * (self % 4) + i % 2;
      for (int k = 0; k < 16; ++k) {
        const registers of_a = read(unsigned(4 * (row % 8) + (k % 8) / 2)), of_b = read(unsigned(4 * column + (k % 8) / 2));
        out[std::size_t(i)] += half_of<T>(of_a.a[row / 8 + 2 * (k / 8)], k % 2) * half_of<T>(of_b.b[k / 8], k % 2);
      }
    }
    return out;
  });
  for (int i = 0; i < 4; ++i) c[i] += sums[std::size_t(i)];
}

// Four matrices of 8 rows of 8 16-bit elements; lanes 8 i to 8 i + 7 say where the rows of matrix i stand. Register i of lane l: elements
// 2 (l mod 4) and the next of row l / 4 of matrix i; transposed: of column l / 4.
inline void load_four_matrices(const void* row, std::uint32_t (&to)[4], bool transposed) {
  const int self = lane();
  const auto words = with_values_of_warp(row, [self, transposed](auto read) {
    std::array<std::uint32_t, 4> out{};
    for (int i = 0; i < 4; ++i)
      for (int half = 0; half < 2; ++half) {
        const int along = 2 * (self % 4) + half, across = self / 4, r = transposed ? along : across, c = transposed ? across : along;
        std::uint16_t element;
        std::memcpy(&element, static_cast<const unsigned char*>(read(unsigned(8 * i + r))) + 2 * c, sizeof element);
        out[std::size_t(i)] |= std::uint32_t(element) << (16 * half);
      }
    return out;
  });
  for (int i = 0; i < 4; ++i) to[i] = words[std::size_t(i)];
}

}  // namespace entrain::emulated
