// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include <entrain/core/error.hpp>

// Codes of variable length, one behind the other: bits from the lowest up, and Elias gamma codes of whole numbers x >= 1
// (Elias 1975): floor(log2 x) zeros, a one, and x's lower floor(log2 x) bits.

namespace entrain::compress::detail {

constexpr std::size_t gamma_bits(std::uint32_t x) { return 2 * std::size_t(std::bit_width(x)) - 1; }

class bit_writer {
 public:
  explicit bit_writer(std::uint8_t* out) : out_(out) {}

  // The `count` lower bits of value, which has no others; at most 32.
  void bits(std::uint32_t value, int count) {
    held_ |= std::uint64_t(value) << filled_;
    for (filled_ += count; filled_ >= 8; filled_ -= 8, held_ >>= 8) *out_++ = std::uint8_t(held_);
  }
  void gamma(std::uint32_t x) {
    const int low = std::bit_width(x) - 1;
    bits(0, low);
    bits(1, 1);
    bits(x ^ (1u << low), low);
  }
  // Fills the last byte with zeros; where the next writer begins.
  std::uint8_t* end() {
    if (filled_ > 0) *out_++ = std::uint8_t(held_);
    filled_ = 0, held_ = 0;
    return out_;
  }

 private:
  std::uint8_t* out_;
  std::uint64_t held_ = 0;
  int filled_ = 0;
};

// Reads no byte before it needs it, so none behind the last code. Throws communication_error where the bytes end before the codes do.
class bit_reader {
 public:
  bit_reader(const std::uint8_t* in, const std::uint8_t* last) : in_(in), last_(last) {}

  std::uint32_t bits(int count) {
    for (; filled_ < count; filled_ += 8) {
      if (in_ == last_) refuse();
      held_ |= std::uint64_t(*in_++) << filled_;
    }
    const std::uint32_t value = std::uint32_t(held_ & ((std::uint64_t(1) << count) - 1));
    held_ >>= count, filled_ -= count;
    return value;
  }
  std::uint32_t gamma() {
    int low = 0;
    while (bits(1) == 0)
      if (++low > 31) refuse();
    return (1u << low) | bits(low);
  }
  const std::uint8_t* end() const { return in_; }

 private:
  [[noreturn]] static void refuse() {
    throw communication_error("compress::elias_qsgd", "what arrived is no encoding of this block", "Elias codes", "bytes that end within one");
  }

  const std::uint8_t *in_, *last_;
  std::uint64_t held_ = 0;
  int filled_ = 0;
};

}  // namespace entrain::compress::detail
