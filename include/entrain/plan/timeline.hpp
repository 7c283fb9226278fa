// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

#include <entrain/core/layout.hpp>

// A training step of data parallelism as a timeline of two lanes, the processor and the wires:
//
//   processor   forward | backward, from the last block to the first, encoding each message when its blocks are ready | decoding
//   wires                         message after message, each from when it is encoded and the one before has ended
//
// The backward pass takes a fixed share of the computing, in proportion to parameters. A message is decoded when it has arrived
// and the backward pass has ended. What is left out: other ranks that are late, contention of computing and wires for memory,
// and later phases of two-phase and multi-round payloads that wait for the backward pass.

namespace entrain::plan {

struct workload {
  double compute = 0;                               // seconds of a step on one rank without any exchange
  double backward = 2.0 / 3;                        // share of it in which gradients become ready
  bool overlap = true;                              // messages travel during the backward pass
  std::size_t bucket_bytes = std::size_t(4) << 20;  // as of parallel::data
  double least_gain = 0.05;                         // of the dense step, for what is called to pay: what is lossy may need more steps
};

struct message {
  std::size_t begin = 0;  // where its blocks begin in the arena: ready when the backward pass has come there
  double encode = 0, wires = 0, decode = 0, bytes = 0;
};

struct timeline {
  double step = 0, coding = 0, waiting = 0, wires = 0, bytes = 0;
};

// messages: in the order in which they start. Pure.
inline timeline step_time(const std::vector<message>& messages, const parameter_layout& layout, const workload& work) {
  timeline out;
  const double forward = (1 - work.backward) * work.compute, all = double(std::max<std::size_t>(layout.trainable_size(), 1));
  double encoded = 0, free = 0;
  for (const auto& m : messages) encoded += m.encode;
  const double ends = work.compute + encoded;  // of the backward pass
  std::vector<double> arrived;
  encoded = 0;
  for (const auto& m : messages) {
    encoded += m.encode;
    const double done = double(layout.size() - std::min(layout.size(), m.begin)) / all;
    const double ready = work.overlap ? forward + work.backward * work.compute * std::min(done, 1.0) + encoded : ends;
    free = std::max(free, ready) + m.wires;
    arrived.push_back(free);
    out.coding += m.encode + m.decode, out.wires += m.wires, out.bytes += m.bytes;
  }
  out.step = ends;
  for (std::size_t i = 0; i < messages.size(); ++i) out.step = std::max(out.step, arrived[i]) + messages[i].decode;
  out.waiting = std::max(0.0, out.step - work.compute - out.coding);
  return out;
}

namespace timeline_detail {
inline std::string padded(std::string text, std::size_t width, bool right = true) {
  if (text.size() < width) text.insert(right ? 0 : text.size(), width - text.size(), ' ');
  return text;
}
inline std::string printed(double value, const char* unit) {
  char text[48];
  std::snprintf(text, sizeof text, "%.3g%s", value, unit);
  return text;
}
inline std::string number(double value) { return printed(value, ""); }
inline std::string time(double s) { return s < 1e-3 ? printed(s * 1e6, " us") : s < 1 ? printed(s * 1e3, " ms") : printed(s, " s"); }
inline std::string bytes(double b) { return b < 1024 ? printed(b, " B") : b < 1048576 ? printed(b / 1024, " KiB") : printed(b / 1048576, " MiB"); }
}  // namespace timeline_detail

}  // namespace entrain::plan
