// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/comm/rendezvous/address.hpp>

// What ranks say to each other at a rendezvous. Numbers are of 4 bytes, the most significant first.
//
//   another rank -> rank 0:  "entrain hello 1" 0, rank, size, key (64 bytes, filled up with 0)
//   rank 0 -> that rank:     "entrain reply 1" 0, 0 or 1, length, then so many bytes: what is shared, or why not (three texts, each with a 0 behind it)

namespace entrain::comm::rendezvous_detail {

inline constexpr std::string_view hello_magic{"entrain hello 1\0", 16}, reply_magic{"entrain reply 1\0", 16};
inline constexpr std::size_t longest_refusal = 4096;

// What is wrong, for both sides of a connection.
struct refusal {
  std::string wrong, expected, found;
};

inline void put(std::byte* to, std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) to[i] = std::byte(text[i]);
}
inline void put(std::byte* to, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) to[i] = std::byte(value >> (24 - 8 * i));
}
inline std::uint32_t number_at(const std::byte* from) {
  std::uint32_t out = 0;
  for (int i = 0; i < 4; ++i) out = out << 8 | std::to_integer<std::uint32_t>(from[i]);
  return out;
}
inline bool begins_with(std::span<const std::byte> data, std::string_view magic) {
  for (std::size_t i = 0; i < std::min(data.size(), magic.size()); ++i)
    if (data[i] != std::byte(magic[i])) return false;
  return true;
}
// Somebody else's bytes, for people: 'GET / HTTP'.
inline std::string quoted(std::span<const std::byte> data) {
  std::string out = "'";
  for (const auto b : data.first(std::min<std::size_t>(data.size(), 16))) out += std::to_integer<int>(b) >= 32 && std::to_integer<int>(b) < 127 ? char(b) : '.';
  return out + "'";
}

struct hello {
  static constexpr std::size_t bytes = 16 + 4 + 4 + job_address::longest_key;
  std::uint32_t rank = 0, size = 0;
  std::string key;

  std::array<std::byte, bytes> write() const {
    std::array<std::byte, bytes> out{};
    put(out.data(), hello_magic);
    put(out.data() + 16, rank), put(out.data() + 20, size), put(out.data() + 24, std::string_view(key));
    return out;
  }
  static hello read(std::span<const std::byte, bytes> from) {
    hello out{number_at(from.data() + 16), number_at(from.data() + 20), {}};
    for (const auto b : from.subspan(24)) {
      if (b == std::byte{}) break;
      out.key += char(b);
    }
    return out;
  }
};

struct reply {
  static constexpr std::size_t head_bytes = 16 + 4 + 4;
  bool refused = false;
  std::uint32_t length = 0;

  static std::vector<std::byte> write(std::span<const std::byte> data, bool refused = false) {
    std::vector<std::byte> out(head_bytes + data.size());
    put(out.data(), reply_magic);
    put(out.data() + 16, std::uint32_t(refused)), put(out.data() + 20, std::uint32_t(data.size()));
    std::copy(data.begin(), data.end(), out.begin() + head_bytes);
    return out;
  }
  static std::vector<std::byte> write(const refusal& why) {
    std::string all;
    for (const auto* part : {&why.wrong, &why.expected, &why.found}) all.append(*part, 0, longest_refusal / 4), all += '\0';
    return write(std::as_bytes(std::span(all)), true);
  }
  static reply read(std::span<const std::byte, head_bytes> from) { return {number_at(from.data() + 16) != 0, number_at(from.data() + 20)}; }
  static refusal read_refusal(std::span<const std::byte> from) {
    refusal out;
    std::string* parts[] = {&out.wrong, &out.expected, &out.found};
    std::size_t part = 0;
    for (const auto b : from) {
      if (b == std::byte{}) ++part;
      else if (part < 3) *parts[part] += char(b);
    }
    return out;
  }
};

}  // namespace entrain::comm::rendezvous_detail
