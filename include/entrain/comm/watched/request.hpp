// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include <entrain/comm/watched/rank.hpp>

// A request whose end is written into its event. It holds the wrapped communicator's request and is otherwise a few words:
// nothing is allocated.

namespace entrain::comm::watched_detail {

// Where a rank's operations are written, and how an error of the wrapped communicator is told (comm/watched.hpp).
class seat;

template <class Inner>
class stamped {
 public:
  stamped() = default;
  // line: of a collective, which is its latest; else null.
  stamped(Inner inner, seat& where, group_line* line, std::uint64_t ticket);
  // A message of a collective that is built from messages and has this ticket.
  static stamped part_of(Inner inner, seat& where, std::uint64_t ticket) {
    stamped out(std::move(inner), where, nullptr, ticket);
    out.is_part_ = true;
    return out;
  }
  stamped(stamped&& other) noexcept
      : inner_(std::move(other.inner_)),
        seat_(std::exchange(other.seat_, nullptr)),
        line_(other.line_),
        ticket_(other.ticket_),
        sequence_(other.sequence_),
        is_part_(other.is_part_) {}
  stamped& operator=(stamped&& other) noexcept {
    stamped old(std::move(*this));
    inner_ = std::move(other.inner_);
    seat_ = std::exchange(other.seat_, nullptr);
    line_ = other.line_, ticket_ = other.ticket_, sequence_ = other.sequence_, is_part_ = other.is_part_;
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
      if (line_ || is_part_) await();  // who asks for a collective needs it; a message may be asked for by a server that has time
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
  bool is_part_ = false;
};

}  // namespace entrain::comm::watched_detail
