// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

// CRC-32C (Castagnoli, Braeuer, Herrmann, "Optimization of cyclic redundancy-check codes with 24 and 32 parity bits",
// 1993; polynomial 0x1EDC6F41, bits reflected): finds every burst of errors up to 32 bits. Eight bytes a step, by the
// processor's own instruction where it has one (SSE 4.2, found at run time), else by eight tables (Kounavis and Berry,
// "Novel table lookup-based algorithms for high-performance CRC generation", 2008). The result is the same.

namespace entrain::checkpoint {

namespace detail {
constexpr std::array<std::array<std::uint32_t, 256>, 8> make_crc32c_tables() {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1u) ? 0x82F63B78u : 0u);
    tables[0][byte] = value;
  }
  for (std::size_t table = 1; table < 8; ++table)
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[table - 1][byte];
      tables[table][byte] = (before >> 8) ^ tables[0][before & 255u];
    }
  return tables;
}
inline constexpr auto crc32c_tables = make_crc32c_tables();

inline std::uint32_t crc32c_by_tables(std::uint32_t sum, std::span<const std::byte> bytes) {
  const auto& table = crc32c_tables;
  const std::byte* p = bytes.data();
  std::size_t left = bytes.size();
  if constexpr (std::endian::native == std::endian::little) {
    for (; left >= 8; left -= 8, p += 8) {
      std::uint64_t word;
      std::memcpy(&word, p, 8);
      word ^= sum;
      sum = table[7][word & 255u] ^ table[6][(word >> 8) & 255u] ^ table[5][(word >> 16) & 255u] ^ table[4][(word >> 24) & 255u] ^
            table[3][(word >> 32) & 255u] ^ table[2][(word >> 40) & 255u] ^ table[1][(word >> 48) & 255u] ^ table[0][word >> 56];
    }
  }
  for (; left > 0; --left, ++p) sum = (sum >> 8) ^ table[0][(sum ^ std::uint32_t(*p)) & 255u];
  return sum;
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__CUDACC__)
__attribute__((target("sse4.2"))) inline std::uint32_t crc32c_by_instruction(std::uint32_t sum, std::span<const std::byte> bytes) {
  const std::byte* p = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t wide = sum;
  for (; left >= 8; left -= 8, p += 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  sum = std::uint32_t(wide);
  for (; left > 0; --left, ++p) sum = __builtin_ia32_crc32qi(sum, static_cast<unsigned char>(*p));
  return sum;
}
inline bool has_crc32c_instruction() { return __builtin_cpu_supports("sse4.2") != 0; }
#else
inline std::uint32_t crc32c_by_instruction(std::uint32_t sum, std::span<const std::byte> bytes) { return crc32c_by_tables(sum, bytes); }
inline bool has_crc32c_instruction() { return false; }
#endif
}  // namespace detail

// A checksum that is fed piece by piece: crc32c sum; sum.update(a); sum.update(b); sum.value().
class crc32c {
 public:
  void update(std::span<const std::byte> bytes) {
    state_ = detail::has_crc32c_instruction() ? detail::crc32c_by_instruction(state_, bytes) : detail::crc32c_by_tables(state_, bytes);
  }
  std::uint32_t value() const { return ~state_; }

 private:
  std::uint32_t state_ = 0xffffffffu;
};

}  // namespace entrain::checkpoint
