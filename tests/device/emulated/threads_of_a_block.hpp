// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#include "cuda_runtime_api.h"

// The threads of a block as fibers of one host thread. A fiber runs until it reaches a barrier that others have not reached.
// When none can go on though not all are done, the kernel's barriers do not match: run_grid() throws.

namespace entrain::emulated {

inline constexpr unsigned lanes = 32;

struct block_state {
  uint3 index{};
  dim3 threads, blocks;
};
struct thread_state {
  uint3 index{};
  unsigned number = 0;
  std::uint64_t block_arrivals = 0, warp_arrivals = 0;
  bool done = false;
  ucontext_t context{};
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
    while (stacks_.size() < n) stacks_.push_back(std::make_unique<unsigned char[]>(stack_bytes));
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

  // All threads of the block that are not done have come here as often as this one.
  void block_barrier() {
    ++running_->block_arrivals;
    const auto mine = running_->block_arrivals;
    wait([this, mine] { return std::all_of(threads_.begin(), threads_.end(), [&](const auto& t) { return t.done || t.block_arrivals >= mine; }); });
  }
  void warp_barrier() {
    ++running_->warp_arrivals;
    const auto mine = running_->warp_arrivals;
    const unsigned first = running_->number / lanes * lanes, end = std::min(first + lanes, unsigned(threads_.size()));
    wait([this, mine, first, end] { return std::all_of(threads_.begin() + first, threads_.begin() + end, [&](const auto& t) { return t.done || t.warp_arrivals >= mine; }); });
  }
  // Each lane leaves a value; each may then read those of its warp.
  template <class T, class Read>
  auto exchange(const T& value, Read&& read) {
    static_assert(sizeof(T) <= slot_bytes);
    std::memcpy(slot(running_->number), &value, sizeof(T));
    warp_barrier();
    const auto result = read([this](unsigned lane) {
      T out;
      std::memcpy(&out, slot(running_->number / lanes * lanes + lane), sizeof(T));
      return out;
    });
    warp_barrier();
    return result;
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
  static constexpr std::size_t stack_bytes = 128 * 1024, slot_bytes = 64;
  struct alignas(128) aligned_bytes {
    unsigned char bytes[128];
    aligned_bytes() { std::memset(bytes, 0xff, sizeof bytes); }
  };
  unsigned char* slot(std::size_t thread) { return slots_.data() + thread * slot_bytes; }

  void run_block(std::size_t n) {
    threads_.assign(n, {});
    waiting_.assign(n, nullptr);
    slots_.assign(n * slot_bytes, 0);
    for (std::size_t i = 0; i < n; ++i) {
      auto& t = threads_[i];
      t.number = unsigned(i);
      t.index = {unsigned(i) % block_.threads.x, unsigned(i) / block_.threads.x % block_.threads.y, unsigned(i) / block_.threads.x / block_.threads.y};
      getcontext(&t.context);
      t.context.uc_stack.ss_sp = stacks_[i].get(), t.context.uc_stack.ss_size = stack_bytes, t.context.uc_link = nullptr;
      makecontext(&t.context, reinterpret_cast<void (*)()>(&grid_runner::start), 0);
    }
    for (std::size_t left = n; left > 0;) {
      bool moved = false;
      for (auto& t : threads_) {
        if (t.done || (waiting_[t.number] && !waiting_[t.number]())) continue;
        waiting_[t.number] = nullptr;
        moved = true;
        running_ = &t;
        enter(t);
        left -= t.done;
      }
      if (!moved) throw std::logic_error("emulated kernel: threads wait at barriers that others never reach");
    }
  }
  static void start() {
    auto& self = current();
    self.finish_switch(nullptr);
    self.body_();
    self.running_->done = true;
    self.leave(true);
  }
  template <class Ready>
  void wait(Ready&& ready) {
    if (ready()) return;
    waiting_[running_->number] = std::forward<Ready>(ready);
    leave(false);
  }
  void enter(thread_state& t) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler_fake_, stacks_[t.number].get(), stack_bytes);
#endif
    swapcontext(&scheduler_, &t.context);
    finish_switch(scheduler_fake_);
  }
  void leave([[maybe_unused]] bool for_ever) {
    auto* mine = running_;
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(for_ever ? nullptr : &fake, scheduler_stack_, scheduler_bytes_);
#endif
    swapcontext(&mine->context, &scheduler_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, &scheduler_stack_, &scheduler_bytes_);
#endif
  }
  void finish_switch([[maybe_unused]] void* fake) {
#if defined(__SANITIZE_ADDRESS__)
    if (fake) __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
    else __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack_, &scheduler_bytes_);
#endif
  }

  block_state block_;
  std::vector<thread_state> threads_;
  std::vector<std::function<bool()>> waiting_;
  std::vector<std::unique_ptr<unsigned char[]>> stacks_;
  struct storage {
    std::vector<aligned_bytes> all;
    void assign(std::size_t bytes, aligned_bytes fill) { all.assign(bytes / 128 + 1, fill); }
    void* data() { return all.data(); }
  } shared_;
  std::vector<unsigned char> slots_;
  std::function<void()> body_;
  ucontext_t scheduler_{};
  void* scheduler_fake_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  std::size_t scheduler_bytes_ = 0;
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
