// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <entrain/comm/simulated/wires.hpp>

// A virtual rank: a thread that runs only while it holds the baton, with a clock of its own; and the groups of ranks.

namespace entrain::comm::simulated_detail {

// Thrown to unwind the body of a rank that crashes: no std::exception, so that no handler for errors takes it for one.
struct crash_signal {};

// Where a thread waits for the baton. All that ranks share is touched only by who holds it, so nothing else needs a lock.
class baton {
 public:
  void pass() {
    {
      const std::lock_guard lock(mutex_);
      here_ = true;
    }
    arrived_.notify_one();
  }
  void take() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return here_; });
    here_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  bool here_ = false;
};

struct group;

// A split that not all ranks of a group have called yet.
struct meeting {
  std::vector<std::array<int, 2>> said;  // colour, key
  std::vector<bool> here;
  std::size_t missing = 0, leaving = 0;
  double time = 0;  // when the last one came
  std::vector<std::pair<std::shared_ptr<group>, int>> made;
};

struct group {
  int number = 0;            // 0: all ranks
  std::vector<int> members;  // their ranks in the job
  std::map<std::uint64_t, meeting> meetings;
};

struct virtual_rank {
  enum class state : std::uint8_t { ready, running, waiting, polling, meeting, done };

  int number = 0;
  state status = state::ready;
  double clock = 0;
  baton turn;
  operation* blocked_on = nullptr;  // waiting, polling
  group* meets_in = nullptr;        // meeting
  const meeting* meets_at = nullptr;
  double crash_time = never;
  std::uint64_t crash_call = 0, calls = 0, sent = 0;
  std::uint64_t moves = 1;  // changes whenever this rank does something or its time goes on
  bool crashed = false;
  operation_list sends, receives;  // to this rank, not met yet

  operation& take() {
    if (free_.empty()) free_.push_back(&store_.emplace_back());
    auto& op = *free_.back();
    free_.pop_back();
    op = {};
    return op;
  }
  void give_back(operation& op) { free_.push_back(&op); }

 private:
  std::deque<operation> store_;
  std::vector<operation*> free_;
};

}  // namespace entrain::comm::simulated_detail
