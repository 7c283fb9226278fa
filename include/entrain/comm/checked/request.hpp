// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <entrain/core/error.hpp>

// Waiting with a deadline. A wait that is given up must not wait again when the request is destroyed: the request is destroyed
// while the exception passes, when no communicator waits (comm/concepts.hpp, 3), but marks its group as failed.

namespace entrain::comm::checked_detail {

using clock = std::chrono::steady_clock;
using duration = std::chrono::milliseconds;

// Keeps memory that a partner may still write for as long as the process lives. Only on the way to an error.
template <class Thing>
void abandon(Thing&& thing) {
  struct cellar {
    std::mutex lock;
    std::vector<std::shared_ptr<void>> things;
  };
  static cellar& kept = *new cellar;  // never destroyed, but reachable: no leak to a leak checker
  auto owner = std::make_shared<std::decay_t<Thing>>(std::forward<Thing>(thing));
  const std::lock_guard guard(kept.lock);
  kept.things.push_back(std::move(owner));
}

// "2 s", "1500 ms"
inline std::string text_of(duration time) {
  return time.count() % 1000 == 0 ? std::to_string(time.count() / 1000) + " s" : std::to_string(time.count()) + " ms";
}

// Destroys what it refers to at the end of its scope; as a local of a scope that throws, while the exception passes.
template <class Thing>
class destroyed_on_exit {
 public:
  explicit destroyed_on_exit(Thing& thing) : thing_(thing) {}
  destroyed_on_exit(const destroyed_on_exit&) = delete;
  destroyed_on_exit& operator=(const destroyed_on_exit&) = delete;
  ~destroyed_on_exit() { Thing last(std::move(thing_)); }

 private:
  Thing& thing_;
};

// Polls done() until it is true or `limit` has passed; false if it has.
template <class Done>
bool poll(Done done, duration limit) {
  const auto end = clock::now() + limit;
  while (!done()) {
    if (clock::now() >= end) return done();
    std::this_thread::yield();
  }
  return true;
}

// A request whose wait() ends with communication_error at the deadline. It hides what it guards (a message's request, or
// that of a collective), so that a checked communicator has one type of request. `who` and `what` are for the message.
class guarded {
 public:
  guarded() = default;
  template <class Inner>
  guarded(Inner inner, std::string who, std::string what, duration limit)
      : inner_(std::make_unique<holder<Inner>>(std::move(inner))), who_(std::move(who)), what_(std::move(what)), limit_(limit) {}
  guarded(guarded&&) noexcept = default;
  guarded& operator=(guarded&& other) noexcept {
    finish();
    inner_ = std::move(other.inner_);
    who_.swap(other.who_), what_.swap(other.what_);
    limit_ = other.limit_;
    return *this;
  }
  ~guarded() { finish(); }

  bool test() {
    if (inner_ && inner_->test()) inner_.reset();
    return !inner_;
  }
  void wait() {
    if (poll([this] { return test(); }, limit_)) return;
    const destroyed_on_exit dropped(inner_);
    throw communication_error(who_, what_ + " did not complete within " + text_of(limit_));
  }

 private:
  struct held {
    virtual ~held() = default;
    virtual bool test() = 0;
  };
  template <class Inner>
  struct holder final : held {
    explicit holder(Inner request) : inner(std::move(request)) {}
    bool test() override { return inner.test(); }
    Inner inner;
  };
  void finish() noexcept {
    if (!inner_ || std::uncaught_exceptions() > 0) return;  // while an exception passes, the inner request knows what to do
    try {
      wait();
    } catch (...) {  // wait() has dropped it
    }
  }
  std::unique_ptr<held> inner_;
  std::string who_, what_;
  duration limit_{};
};

}  // namespace entrain::comm::checked_detail
