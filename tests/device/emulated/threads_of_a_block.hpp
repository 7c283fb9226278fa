// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cuda_runtime_api.h"
#include "fiber.hpp"

// The threads of a block as fibers of one host thread. A fiber runs until it reaches a barrier that others have not reached.
// When none can go on though not all are done, the kernel's barriers do not match: run_grid() throws.

namespace entrain::emulated {

inline constexpr unsigned lanes = 32;

struct block_state {
  uint3 index{};
  dim3 threads, blocks;
};
// Where threads wait for each other: it opens when all that are not done have come.
struct barrier_state {
  unsigned alive = 0, arrived = 0;
  std::uint64_t openings = 0;

  void open_if_all_came() {
    if (arrived == alive) arrived = 0, ++openings;
  }
};
struct thread_state {
  uint3 index{};
  unsigned number = 0;
  bool done = false;
  fiber* runs_on = nullptr;
  const barrier_state* waits_at = nullptr;
  std::uint64_t seen_openings = 0;

  bool waits() const { return waits_at && waits_at->openings == seen_openings; }
};

class grid_runner {
 public:
  static grid_runner& current() {
    thread_local grid_runner one;
    return one;
  }
  thread_state& thread() { return *running_; }
  block_state& block() { return block_; }
  void* dynamic_shared() { return shared_.data(); }

  template <class Body>
  bool run(dim3 blocks, dim3 threads, std::size_t shared_bytes, Body&& body) {
    const std::size_t n = std::size_t(threads.x) * threads.y * threads.z;
    if (n == 0 || n > 1024 || shared_bytes > 227 * 1024) return false;
    body_ = [&] { body(); };
    block_.threads = threads, block_.blocks = blocks;
    while (fibers_.size() < n) fibers_.emplace_back(&grid_runner::run_threads, fibers_.size());
    for (unsigned z = 0; z < blocks.z; ++z)
      for (unsigned y = 0; y < blocks.y; ++y)
        for (unsigned x = 0; x < blocks.x; ++x) {
          block_.index = {x, y, z};
          // Shared memory is not initialised: NaNs show who relies on it.
          shared_.assign((shared_bytes + 255) / 128 * 128, aligned_bytes{});
          run_block(n);
        }
    return true;
  }

  // All threads of the block, or of the warp, that are not done have come here as often as this one.
  void block_barrier() { wait_at(block_barrier_); }
  void warp_barrier() { wait_at(warp_barriers_[running_->number / lanes]); }
  // Each lane leaves a value; each may then read those of its warp. The next exchange takes the other half of the slots, and the one after
  // it begins when all have come to the next, and so have read this one.
  template <class T, class Read>
  auto exchange(const T& value, Read&& read) {
    static_assert(sizeof(T) <= slot_bytes);
    const unsigned first = running_->number / lanes * lanes, half = unsigned(warp_barriers_[running_->number / lanes].openings & 1);
    std::memcpy(slot(running_->number, half), &value, sizeof(T));
    warp_barrier();
    return read([this, first, half](unsigned lane) {
      T out;
      std::memcpy(&out, slot(first + lane, half), sizeof(T));
      return out;
    });
  }
  int block_or(int predicate) {
    if (running_->number == 0) or_ = 0;
    block_barrier();
    or_ |= predicate;
    block_barrier();
    const int result = or_;
    block_barrier();
    return result;
  }

 private:
  static constexpr std::size_t slot_bytes = 64;
  struct alignas(128) aligned_bytes {
    unsigned char bytes[128];
    aligned_bytes() { std::memset(bytes, 0xff, sizeof bytes); }
  };
  unsigned char* slot(std::size_t thread, unsigned half) { return slots_.data() + (2 * thread + half) * slot_bytes; }

  void run_block(std::size_t n) {
    threads_.assign(n, {});
    slots_.assign((n + lanes) * 2 * slot_bytes, 0);
    block_barrier_ = {unsigned(n)};
    warp_barriers_.assign((n + lanes - 1) / lanes, {});
    for (std::size_t i = 0; i < n; ++i) {
      auto& t = threads_[i];
      t.number = unsigned(i), t.runs_on = &fibers_[i];
      t.index = {unsigned(i) % block_.threads.x, unsigned(i) / block_.threads.x % block_.threads.y, unsigned(i) / block_.threads.x / block_.threads.y};
      ++warp_barriers_[i / lanes].alive;
    }
    for (std::size_t left = n; left > 0;) {
      bool moved = false;
      for (auto& t : threads_) {
        if (t.done || t.waits()) continue;
        moved = true;
        running_ = &t;
        t.runs_on->enter();
        left -= t.done;
      }
      if (!moved) {
        fibers_.clear();  // they stand in the middle of a kernel
        throw std::logic_error("emulated kernel: threads wait at barriers that others never reach");
      }
    }
  }
  // A fiber runs the thread of its number in one block after the other.
  static void run_threads() {
    for (grid_runner& self = current();;) {
      self.body_();
      thread_state& me = *self.running_;
      me.done = true;
      for (barrier_state* at : {&self.block_barrier_, &self.warp_barriers_[me.number / lanes]}) {
        --at->alive;
        at->open_if_all_came();
      }
      me.runs_on->leave();
    }
  }
  void wait_at(barrier_state& at) {
    thread_state& me = *running_;
    me.waits_at = &at, me.seen_openings = at.openings;
    ++at.arrived;
    at.open_if_all_came();
    if (me.waits()) me.runs_on->leave();
  }

  block_state block_;
  std::vector<thread_state> threads_;
  barrier_state block_barrier_;
  std::vector<barrier_state> warp_barriers_;
  std::deque<fiber> fibers_;
  struct storage {
    std::vector<aligned_bytes> all;
    void assign(std::size_t bytes, const aligned_bytes& fill) { all.assign(bytes / 128 + 1, fill); }
    void* data() { return all.data(); }
  } shared_;
  std::vector<unsigned char> slots_;
  std::function<void()> body_;
  thread_state* running_ = nullptr;
  int or_ = 0;
};

inline thread_state& thread() { return grid_runner::current().thread(); }
inline block_state& block() { return grid_runner::current().block(); }
inline int lane() { return int(thread().number % lanes); }
inline void* dynamic_shared() { return grid_runner::current().dynamic_shared(); }
inline void block_barrier() { grid_runner::current().block_barrier(); }
inline void warp_barrier() { grid_runner::current().warp_barrier(); }
inline int block_or(int predicate) { return grid_runner::current().block_or(predicate); }

template <class T>
T from_lane(T value, int lane) {
  return grid_runner::current().exchange(value, [&](auto read) { return read(unsigned(lane)); });
}
// f(read): read(lane) is the value that this lane gave.
template <class T, class F>
auto with_values_of_warp(T value, F&& f) {
  return grid_runner::current().exchange(value, f);
}
inline unsigned ballot(int predicate) {
  const unsigned alive = std::min<unsigned>(lanes, unsigned(block().threads.x * block().threads.y * block().threads.z) - thread().number / lanes * lanes);
  return with_values_of_warp(predicate != 0, [&](auto read) {
    unsigned bits = 0;
    for (unsigned l = 0; l < alive; ++l) bits |= unsigned(read(l)) << l;
    return bits;
  });
}

template <class Body>
bool run_grid(dim3 blocks, dim3 threads, std::size_t shared_bytes, Body&& body) {
  return grid_runner::current().run(blocks, threads, shared_bytes, std::forward<Body>(body));
}

}  // namespace entrain::emulated
