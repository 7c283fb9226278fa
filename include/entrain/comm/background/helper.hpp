// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <new>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <entrain/comm/pending.hpp>

// The thread that communicates for its rank, in all groups: takes what the rank hands over, in order, starts it and tests what is
// under way in turn. Sleeps while there is nothing.

namespace entrain::comm::background_detail {

template <communicator C>
class helper {
 public:
  // One operation handed over. The rank fills it in and takes it back; the thread touches it in between.
  struct slot {
    static constexpr std::size_t room = 192;
    alignas(std::max_align_t) std::byte call[room];
    pending<C> (*start)(C&, const std::byte*) = nullptr;
    C* on = nullptr;
    pending<C> running;
    std::exception_ptr error;
    std::atomic<int> done{1};  // of the size that the system can wait for by itself
  };

  helper() : thread_([this] { run(); }) {}
  helper(const helper&) = delete;
  helper& operator=(const helper&) = delete;
  ~helper() {
    stop_.store(true, std::memory_order_release);
    wake();
    thread_.join();
  }

  // call(on) starts the operation and is copied as bytes: it may hold views, numbers and operations.
  template <class Call>
  slot& hand_over(C& on, Call call) {
    static_assert(std::is_trivially_copyable_v<Call> && sizeof(Call) <= slot::room);
    slot& s = take();
    ::new (static_cast<void*>(s.call)) Call(call);
    s.start = [](C& c, const std::byte* memory) -> pending<C> { return (*std::launder(reinterpret_cast<const Call*>(memory)))(c); };
    s.on = &on;
    s.done.store(0, std::memory_order_relaxed);
    const auto at = posted_.load(std::memory_order_relaxed);
    while (at - taken_.load(std::memory_order_acquire) == queue_.size()) std::this_thread::yield();
    queue_[at % queue_.size()] = &s;
    posted_.store(at + 1, std::memory_order_release);
    wake();
    return s;
  }
  void give_back(slot& s) { free_.push_back(&s); }

 private:
  static constexpr std::size_t queue_length = 256;

  slot& take() {
    if (free_.empty()) {
      slots_.emplace_back();
      free_.reserve(slots_.size());
      return slots_.back();
    }
    slot& s = *free_.back();
    free_.pop_back();
    return s;
  }
  void wake() {
    signal_.fetch_add(1, std::memory_order_release);
    signal_.notify_one();
  }

  void run() {
    std::vector<slot*> active;
    active.reserve(queue_length);
    for (;;) {
      const auto seen = signal_.load(std::memory_order_acquire);
      bool moved = false;
      for (auto at = taken_.load(std::memory_order_relaxed); at != posted_.load(std::memory_order_acquire); ++at) {
        slot* s = queue_[at % queue_.size()];
        taken_.store(at + 1, std::memory_order_release);
        if (guarded(*s, [&] { s->running = s->start(*s->on, s->call); })) active.push_back(s);
        moved = true;
      }
      for (std::size_t i = 0; i < active.size();) {
        bool complete = false;
        if (!guarded(*active[i], [&] { complete = active[i]->running.test(); }) || complete) {
          if (complete) finish(*active[i]);
          active.erase(active.begin() + std::ptrdiff_t(i));
          moved = true;
        } else {
          ++i;
        }
      }
      if (moved) continue;
      if (!active.empty()) std::this_thread::yield();
      else if (stop_.load(std::memory_order_acquire)) return;
      else signal_.wait(seen, std::memory_order_acquire);
    }
  }
  // Runs it; false: it threw, and the rank will hear of it.
  template <class Work>
  bool guarded(slot& s, Work&& work) noexcept {
    try {
      work();
      return true;
    } catch (...) {
      s.error = std::current_exception();
      const pending<C> dropped(std::move(s.running));  // here and now: the communicator may not outlive this
    }
    finish(s);
    return false;
  }
  static void finish(slot& s) noexcept {
    s.done.store(1);  // sequentially consistent: notify_one looks for waiters, and must not look before this is seen
    s.done.notify_one();
  }

  std::deque<slot> slots_;
  std::vector<slot*> free_;
  std::array<slot*, queue_length> queue_{};
  std::atomic<std::size_t> posted_{0}, taken_{0};
  std::atomic<unsigned> signal_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;  // last: starts when all else exists
};

// Complete when the helper says so.
template <communicator C>
class request {
 public:
  request() = default;
  request(std::shared_ptr<helper<C>> by, typename helper<C>::slot& s) : by_(std::move(by)), slot_(&s) {}
  request(request&& other) noexcept : by_(std::move(other.by_)), slot_(std::exchange(other.slot_, nullptr)) {}
  request& operator=(request&& other) noexcept {
    std::swap(by_, other.by_);
    std::swap(slot_, other.slot_);
    return *this;
  }
  ~request() {
    if (!slot_) return;
    slot_->done.wait(0, std::memory_order_acquire);  // the helper still uses the memory
    slot_->error = nullptr;
    by_->give_back(*slot_);
  }

  bool test() {
    if (!slot_) return true;
    if (!slot_->done.load(std::memory_order_acquire)) return false;
    finish();
    return true;
  }
  void wait() {
    if (!slot_) return;
    slot_->done.wait(0, std::memory_order_acquire);
    finish();
  }

 private:
  void finish() {
    auto error = std::exchange(slot_->error, nullptr);
    by_->give_back(*std::exchange(slot_, nullptr));
    by_.reset();
    if (error) std::rethrow_exception(error);
  }
  std::shared_ptr<helper<C>> by_;
  typename helper<C>::slot* slot_ = nullptr;
};

}  // namespace entrain::comm::background_detail
