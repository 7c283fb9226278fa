// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include <entrain/comm/cost_model/profile.hpp>

// The profile for a machine that nobody has measured: one link a kind of communicator, of the order of magnitude that a server of
// today shows. Which algorithm is best depends little on the exact figures, so this is a fair choice; bench/run.sh calibrate makes a
// better one in a minute.

namespace entrain::comm {

namespace detail {

struct built_in_link {
  std::string_view communicator, algorithm;
  cost_range ranges[4];
};

// Ranges: fits the first cache, the second, the shared one, none. Seconds: message, byte sent, byte combined.
inline constexpr built_in_link built_in_links[] = {
    {"threads", "*", {{0, {0.8e-6, 2.5e-10, 0.7e-10}}, {4096, {1.3e-6, 1.0e-10, 0.7e-10}}, {65536, {1.5e-6, 0.8e-10, 0.8e-10}}, {4194304, {3.0e-6, 1.2e-10, 1.5e-10}}}},
    {"threads", "native", {{0, {0.5e-6, 1.4e-10, 0.7e-10}}, {4096, {0.8e-6, 0.6e-10, 0.7e-10}}, {65536, {1.0e-6, 0.6e-10, 0.8e-10}}, {4194304, {2.0e-6, 0.9e-10, 1.2e-10}}}},
    {"mpi", "*", {{0, {0.5e-6, 5.0e-10, 0.7e-10}}, {4096, {1.3e-6, 2.0e-10, 0.7e-10}}, {65536, {3.5e-6, 1.3e-10, 0.8e-10}}, {4194304, {1.0e-5, 1.6e-10, 1.5e-10}}}},
    {"mpi", "native", {{0, {0.7e-6, 5.0e-10, 0.7e-10}}, {4096, {1.6e-6, 2.0e-10, 0.7e-10}}, {65536, {4.5e-6, 1.5e-10, 1.0e-10}}, {4194304, {1.0e-5, 1.8e-10, 2.0e-10}}}},
    {"mpi", "shared memory", {{0, {0.4e-6, 3.0e-10, 0.7e-10}}, {4096, {0.9e-6, 1.0e-10, 0.7e-10}}, {65536, {1.5e-6, 1.0e-10, 0.8e-10}}, {4194304, {3.0e-6, 1.3e-10, 1.2e-10}}}},
    // Between nodes: 25 Gbit/s and a switch.
    {"mpi over a network", "*", {{0, {1.5e-5, 4.0e-10, 0.5e-10}}, {4096, {2.0e-5, 3.5e-10, 0.5e-10}}, {65536, {3.0e-5, 3.3e-10, 0.8e-10}}, {4194304, {3.0e-5, 3.2e-10, 1.5e-10}}}},
    {"mpi over a network", "native", {{0, {1.5e-5, 4.0e-10, 0.5e-10}}, {4096, {2.0e-5, 3.5e-10, 0.5e-10}}, {65536, {3.0e-5, 3.3e-10, 0.8e-10}}, {4194304, {3.0e-5, 3.2e-10, 1.5e-10}}}},
    // The network that comm::simulate takes when none is given.
    {"simulated", "*", {{0, {1.0e-6, 1.0e-10, 0}}, {4096, {1.0e-6, 1.0e-10, 0}}, {65536, {1.0e-6, 1.0e-10, 0}}, {4194304, {1.0e-6, 1.0e-10, 0}}}},
    {"*", "*", {{0, {1.0e-5, 3.0e-10, 1.0e-10}}, {4096, {1.0e-5, 3.0e-10, 1.0e-10}}, {65536, {1.0e-5, 3.0e-10, 1.0e-10}}, {4194304, {1.0e-5, 3.0e-10, 1.5e-10}}}},
    // A back-end that takes the trouble to do a collective natively does it better.
    {"*", "native", {{0, {0.5e-5, 2.0e-10, 1.0e-10}}, {4096, {0.5e-5, 2.0e-10, 1.0e-10}}, {65536, {0.5e-5, 2.0e-10, 1.0e-10}}, {4194304, {0.5e-5, 2.0e-10, 1.5e-10}}}},
};

}  // namespace detail

inline const profile& built_in_profile() {
  static const profile it = [] {
    std::vector<cost_entry> entries;
    for (const auto& link : detail::built_in_links)
      entries.push_back({std::string(link.communicator), "*", std::string(link.algorithm), 0, {std::begin(link.ranges), std::end(link.ranges)}});
    return profile(std::move(entries), "built-in");
  }();
  return it;
}

}  // namespace entrain::comm
