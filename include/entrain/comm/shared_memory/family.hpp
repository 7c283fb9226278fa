// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <vector>

#include <entrain/comm/shared_memory/engine.hpp>
#include <entrain/comm/shared_memory/waiting.hpp>

// The engines of one rank that make progress together: a group and all that were split from it. A rank that waits in one
// group so still does its part in the others, and two ranks that wait for two groups in opposite order do not hang.

namespace entrain::comm::shared_memory {

class family {
 public:
  // crowded: the largest group has more ranks than cores. The same on all ranks.
  explicit family(bool crowded) : crowded_(crowded) {}

  bool crowded() const { return crowded_; }  // one that waits must let another run
  void join(engine& one) { engines_.push_back(&one); }
  void part(engine& one) noexcept { engines_.erase(std::remove(engines_.begin(), engines_.end(), &one), engines_.end()); }
  bool idle() const {
    return std::all_of(engines_.begin(), engines_.end(), [](const engine* e) { return e->idle(); });
  }
  bool progress() {
    bool moved = false;
    for (engine* e : engines_)
      if (!e->idle()) moved |= e->progress();
    return moved;
  }

 private:
  bool crowded_;
  std::vector<engine*> engines_;
};

}  // namespace entrain::comm::shared_memory
