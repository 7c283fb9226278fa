// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <entrain/comm/progress.hpp>
#include <entrain/comm/schedule/execution.hpp>
#include <entrain/comm/traits.hpp>

// What comm::start_... returns: a message or collective under way. test() does not block; wait() returns when it is complete;
// both make progress with everything that this thread has in flight (comm/progress.hpp), so requests may be waited for in any order. A
// default one is complete. Destroying an incomplete one waits, unless an exception is passing.

namespace entrain::comm {

template <communicator C>
class pending {
 public:
  pending() = default;
  pending(typename C::request native) : native_(std::move(native)) {}  // NOLINT: what the back-end does natively is one of these
  explicit pending(schedule::execution<C>& built) : built_(&built) {}
  pending(pending&& other) noexcept : native_(std::move(other.native_)), built_(std::exchange(other.built_, nullptr)) {}
  pending& operator=(pending&& other) noexcept {
    pending old(std::move(*this));
    native_ = std::move(other.native_);
    built_ = std::exchange(other.built_, nullptr);
    return *this;
  }
  ~pending() {
    if (built_) drop();
  }

  bool test() {
    progress_list::of_this_thread().advance();
    if (!built_) return native_.test();
    if (!built_->complete()) return false;
    finish();
    return true;
  }

  void wait() {
    auto& all = progress_list::of_this_thread();
    if (!built_) {
      if (!all.empty()) all.wait(unlimited{}, [&] { return native_.test(); });
      return native_.wait();
    }
    while (!built_->complete()) {
      if (all.only(*built_)) built_->block();
      else all.wait(built_->comm(), [&] { return built_->complete(); });
    }
    finish();
  }

 private:
  struct unlimited {};

  void finish() {
    auto& done = *std::exchange(built_, nullptr);
    done.finish();
    schedule::executions<C>::give_back(done);
  }
  void drop() noexcept {
    try {
      if (!built_->unwinding()) return wait();
    } catch (...) {}  // the group has failed, and says so at its next call
    if (!built_) return;
    built_->abandon();
    schedule::executions<C>::give_back(*std::exchange(built_, nullptr));
  }

  typename C::request native_{};
  schedule::execution<C>* built_ = nullptr;
};

// Where nothing is ever built from messages.
template <communicator C>
  requires native_always<C>
class pending<C> {
 public:
  pending() = default;
  pending(typename C::request native) : native_(std::move(native)) {}  // NOLINT
  bool test() {
    progress_list::of_this_thread().advance();
    return native_.test();
  }
  void wait() {
    auto& others = progress_list::of_this_thread();
    if (!others.empty()) others.wait(*this, [&] { return native_.test(); });
    native_.wait();
  }

 private:
  typename C::request native_{};
};

}  // namespace entrain::comm
