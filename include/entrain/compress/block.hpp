// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <entrain/core/layout.hpp>

// What a compressor may know of a parameter block before the first step. A compressor for which only the number of values
// matters writes `std::size_t n` instead: a block converts to its count, and a count to a block of one row.

namespace entrain::compress {

struct block {
  std::size_t count = 0;
  std::size_t rows = 1, columns = 0;  // the first dimension, and the product of the others; a vector is one row
  std::size_t ranks = 1;              // of the group that exchanges it
  std::uint32_t index = 0;
  block_kind kind = block_kind::weight;
  std::string_view name;

  constexpr block() = default;
  constexpr block(std::size_t n) : count(n), columns(n) {}
  constexpr block(std::size_t a, std::size_t b) : count(a * b), rows(a), columns(b) {}
  block(const parameter_block& of, std::size_t at, std::size_t p)
      : count(of.count),
        rows(of.dims.size() > 1 ? of.dims.front() : 1),
        columns(rows > 0 ? of.count / rows : 0),
        ranks(p),
        index(std::uint32_t(at)),
        kind(of.kind),
        name(of.name) {}
  constexpr operator std::size_t() const { return count; }
  constexpr bool matrix() const { return rows > 1 && columns > 1; }
};

}  // namespace entrain::compress
