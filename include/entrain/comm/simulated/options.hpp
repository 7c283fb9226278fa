// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <entrain/comm/simulated/network.hpp>

// What comm::simulate is told and what it reports. All times are virtual seconds since the start.

namespace entrain::comm {

// Faults are a pure function of (seed, sender, number of the message among those of its sender), so they do not depend on
// who runs when. from, to: only messages of that sender, to that receiver; -1: any.
struct simulated_faults {
  struct delayed {
    double probability = 0;
    double seconds = 0;  // mean of the exponentially distributed extra latency of a delayed message
    int from = -1, to = -1;
  };
  struct dropped {  // the send completes as if nothing were wrong; the receive that it met never does
    double probability = 0;
    int from = -1, to = -1;
  };
  struct crashed {  // the rank stops at a time, or when it starts its at_call-th message (counted from 1), whichever is first
    int rank = 0;
    double at_time = std::numeric_limits<double>::infinity();
    std::uint64_t at_call = 0;  // 0: never
  };

  std::uint64_t seed = 0;
  delayed delay{};
  dropped drop{};
  std::vector<crashed> crashes{};
};

struct simulation_options {
  comm::network network = comm::network::uniform(1e-6, 1e10);
  double gamma = 0;  // seconds to combine one byte of a reduction: what computed(bytes) charges
  simulated_faults faults{};
  bool record_transfers = false;  // fill simulation_report::transfers
};

// One message on the wire.
struct simulated_transfer {
  int from = 0, to = 0, tag = 0;
  std::size_t bytes = 0;
  double ready = 0;           // both ends had been started
  double begin = 0, end = 0;  // on the wire
  bool lost = false;
  bool operator==(const simulated_transfer&) const = default;
};

struct simulated_rank {
  double finish = 0;                           // its body returned, or it crashed
  double computed = 0;                         // seconds of advance() and computed()
  std::uint64_t messages = 0, bytes = 0;       // that it sent and that went over a wire (not to itself)
  double send_busy = 0, receive_busy = 0;      // seconds that its ports were in use
  bool crashed = false;
  bool operator==(const simulated_rank&) const = default;
};

struct simulation_report {
  double finish = 0;  // of the last rank
  std::uint64_t messages = 0, bytes = 0;
  std::vector<simulated_rank> ranks;
  std::vector<simulated_transfer> transfers;  // when asked for, in the order in which they began
  bool operator==(const simulation_report&) const = default;
};

}  // namespace entrain::comm
