// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <entrain/core/config.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/compress/concepts.hpp>
#include <entrain/compress/detail/random_bits.hpp>
#include <entrain/compress/detail/scan.hpp>

// Count sketch (Charikar, Chen, Farach-Colton, "Finding frequent items in data streams", ICALP 2002): row r adds s_r(i) x_i to
// column h_r(i), and the median over rows of s_r(i) * table[r][h_r(i)] estimates x_i, off by about |x|_2 / sqrt(columns). Linear: the
// table of a sum is the sum of the tables. All ranks hash alike; every step hashes anew, so that no pair collides for ever.

namespace entrain::compress::detail {

inline constexpr int most_sketch_rows = 9;

// Columns of a table for n values: `wanted`, or twice the k that are looked for; never so many that the table is longer than
// the values.
inline std::size_t sketch_columns(std::size_t wanted, std::size_t k, int rows, std::size_t n) {
  return std::min(wanted > 0 ? wanted : 2 * k, std::max<std::size_t>(1, n / std::size_t(std::max(1, rows))));
}

inline void check_sketch(const char* who, int rows, std::size_t columns) {
  if (rows < 1 || rows > most_sketch_rows) throw usage_error(who, "a number of rows that is not kept", "1 <= rows <= 9", std::to_string(rows));
  if (columns >= std::size_t(1) << 31) throw usage_error(who, "too many columns", "below 2^31", std::to_string(columns));
}

class sketch_hash {
 public:
  sketch_hash(const context& where, int rows, std::size_t columns) : rows_(rows), columns_(std::uint32_t(columns)) {
    constexpr std::uint32_t shared = 4095;  // the last number of a rank's stream: every rank takes this one
    const random_stream stream(where.seed, purpose::compress, where.block * 4096 + shared, where.step);
    for (int r = 0; r < rows; ++r) words_[std::size_t(r)] = random_words(stream, std::uint64_t(r));
  }
  int rows() const { return rows_; }
  std::size_t columns() const { return columns_; }

  // Columns and sign bits of values first, first + 1, ... in row r.
  void columns_of(int r, std::size_t first, std::size_t count, std::uint32_t* column, std::uint32_t* sign) const {
    const random_words words = words_[std::size_t(r)];
    const std::uint64_t columns = columns_;
    ENTRAIN_VECTORISE
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t word = words[std::uint32_t(first + i)];
      column[i] = std::uint32_t((std::uint64_t(word >> 1) * columns) >> 31);
      sign[i] = word << 31;
    }
  }

 private:
  int rows_;
  std::uint32_t columns_;
  std::array<random_words, most_sketch_rows> words_;
};

template <class T>
T with_sign(T x, std::uint32_t sign) {
  using bits = magnitude_bits<T>;
  return std::bit_cast<T>(std::bit_cast<bits>(x) ^ (bits(sign) << (8 * sizeof(T) - 32)));
}

// table (rows x columns, one row after the other) = sketch of the values.
template <class T>
void write_sketch(const sketch_hash& hash, std::span<const T> values, std::span<T> table) {
  std::fill(table.begin(), table.end(), T(0));
  std::array<std::uint32_t, scan_chunk> column, sign;
  for (int r = 0; r < hash.rows(); ++r) {
    T* const row = table.data() + std::size_t(r) * hash.columns();
    for (std::size_t first = 0; first < values.size(); first += scan_chunk) {
      const std::size_t count = std::min(scan_chunk, values.size() - first);
      hash.columns_of(r, first, count, column.data(), sign.data());
      for (std::size_t i = 0; i < count; ++i) row[column[i]] += with_sign(values[first + i], sign[i]);
    }
  }
}

// The estimates of n values as a source of scan() and kth_largest(): computed as they are read.
template <class T>
class sketch_estimates {
 public:
  using value_type = T;
  sketch_estimates(const sketch_hash& hash, std::span<const T> table, std::size_t n) : hash_(hash), table_(table), n_(n) {}
  std::size_t size() const { return n_; }

  const T* chunk(std::size_t first, std::size_t count) {
    std::array<std::uint32_t, scan_chunk> column, sign;
    for (int r = 0; r < hash_.rows(); ++r) {
      const T* const row = table_.data() + std::size_t(r) * hash_.columns();
      hash_.columns_of(r, first, count, column.data(), sign.data());
      for (std::size_t i = 0; i < count; ++i) rows_[std::size_t(r)][i] = with_sign(row[column[i]], sign[i]);
    }
    sort_columns(count);
    return median(count);
  }

 private:
  // Sorts the estimates of each value, by exchanges that are the same for all: this loop vectorises.
  void sort_columns(std::size_t count) {
    const std::size_t rows = std::size_t(hash_.rows());
    for (std::size_t last = rows; last > 1; --last)
      for (std::size_t r = 0; r + 1 < last; ++r) {
        T *a = rows_[r].data(), *b = rows_[r + 1].data();
        ENTRAIN_VECTORISE
        for (std::size_t i = 0; i < count; ++i) {
          const T x = a[i], y = b[i];
          a[i] = x < y ? x : y;
          b[i] = x < y ? y : x;
        }
      }
  }
  // The middle one, or the mean of the two in the middle.
  const T* median(std::size_t count) {
    const std::size_t rows = std::size_t(hash_.rows());
    T *high = rows_[rows / 2].data(), *low = rows_[(rows - 1) / 2].data();
    if (high == low) return high;
    for (std::size_t i = 0; i < count; ++i) high[i] = high[i] / 2 + low[i] / 2;
    return high;
  }

  sketch_hash hash_;
  std::span<const T> table_;
  std::size_t n_;
  std::array<std::array<T, scan_chunk>, most_sketch_rows> rows_;
};

}  // namespace entrain::compress::detail
