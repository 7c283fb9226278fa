// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include <entrain/comm/watched/rank.hpp>

// A request whose end is written into its event. It holds the wrapped communicator's request and is otherwise four words:
// nothing is allocated.

namespace entrain::comm::watched_detail {

inline constexpr std::uint64_t no_event = std::uint64_t(-1);

// Where a rank's operations are written, and how an error of the wrapped communicator is told (comm/watched.hpp).
class seat;

template <class Inner>
class stamped {
 public:
  stamped() = default;
  // line: of a collective, which is its latest; else null. ticket no_event: only errors are looked after.
  stamped(Inner inner, seat& where, group_line* line, std::uint64_t ticket);
  stamped(stamped&& other) noexcept
      : inner_(std::move(other.inner_)),
        seat_(std::exchange(other.seat_, nullptr)),
        line_(other.line_),
        ticket_(other.ticket_),
        sequence_(other.sequence_) {}
  stamped& operator=(stamped&& other) noexcept {
    stamped old(std::move(*this));
    inner_ = std::move(other.inner_);
    seat_ = std::exchange(other.seat_, nullptr);
    line_ = other.line_, ticket_ = other.ticket_, sequence_ = other.sequence_;
    return *this;
  }
  ~stamped() {
    if (!seat_) return;
    await();
    { const Inner last(std::move(inner_)); }  // waits, or gives up while an exception passes
    finish();
  }

  bool test() {
    if (!seat_) return inner_.test();
    if (!guarded([this] { return inner_.test(); })) {
      if (line_) await();  // who asks for a collective needs it; a message may be asked for by a server that has time
      return false;
    }
    finish();
    return true;
  }
  void wait() {
    if (!seat_) return inner_.wait();
    await();
    guarded([this] {
      inner_.wait();
      return true;
    });
    finish();
  }

 private:
  template <class Call>
  bool guarded(Call call);
  void await();
  void finish();

  Inner inner_;
  seat* seat_ = nullptr;
  group_line* line_ = nullptr;
  std::uint64_t ticket_ = 0, sequence_ = 0;
};

}  // namespace entrain::comm::watched_detail
