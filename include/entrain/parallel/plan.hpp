// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/core/dtype.hpp>

// The plan: what one training step of a rank will send, known before it runs. Its bytes are those that the communicator
// will count (comm::traffic's rule), byte for byte; its signature is compared across ranks when they meet.

namespace entrain::parallel {

struct planned {
  std::string_view operation;  // a collective's name, or "message"
  std::string_view phase;      // "gradient", "metrics", "parameters", "activation", ...
  std::size_t element_bytes = 0;
  std::size_t count = 0;       // elements of this rank's operand
  int peer = -1;               // for messages
  bool at_most = false;        // the length depends on the data: count is the most it can be
  bool on_device = false;      // straight from and to a device's memory
};

using plan = std::vector<planned>;

inline std::uint64_t bytes_sent(const plan& p) {
  std::uint64_t total = 0;
  for (const auto& entry : p) total += std::uint64_t(entry.element_bytes) * entry.count;
  return total;
}

// FNV-1a over what all ranks must agree on.
class signature {
 public:
  void add(std::string_view text) {
    for (const char c : text) byte(std::uint8_t(c));
    byte(0);
  }
  void add(std::uint64_t value) {
    for (int i = 0; i < 8; ++i) byte(std::uint8_t(value >> (8 * i)));
  }
  std::uint64_t value() const { return hash_; }

 private:
  void byte(std::uint8_t b) { hash_ = (hash_ ^ b) * 0x100000001b3ull; }
  std::uint64_t hash_ = 0xcbf29ce484222325ull;
};

}  // namespace entrain::parallel
