// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <thread>
#include <utility>

#include <entrain/core/error.hpp>

// Everything that this thread carries on step by step: collectives built from messages, in stages, with data-dependent sizes. Whoever
// waits for anything keeps all of it going, because another rank may wait for any of it; so ranks may wait in any order. Belongs to
// the thread and not to a communicator, so that it holds across groups and wrappers, too.

namespace entrain::comm {

// An operation under way: a member of the list of its thread from its start until its request lets it go.
struct in_flight {
  in_flight *previous = nullptr, *next = nullptr;
  bool (*move)(in_flight&) = nullptr;  // goes on as far as it can without waiting; true if anything happened
  bool busy = false;                   // is being moved: what it asks for progress meanwhile must not move it again

  class turn {
   public:
    explicit turn(in_flight& op) : op_(op) { op_.busy = true; }
    turn(const turn&) = delete;
    turn& operator=(const turn&) = delete;
    ~turn() { op_.busy = false; }

   private:
    in_flight& op_;
  };
};

class progress_list {
 public:
  static progress_list& of_this_thread() {
    thread_local progress_list all;
    return all;
  }
  bool empty() const { return !first_; }
  bool only(const in_flight& op) const { return first_ == &op && !op.next; }

  void add(in_flight& op) {
    op.previous = nullptr, op.next = first_;
    if (first_) first_->previous = &op;
    first_ = &op;
  }
  void remove(in_flight& op) noexcept {
    (op.previous ? op.previous->next : first_) = op.next;
    if (op.next) op.next->previous = op.previous;
    if (upcoming_ == &op) upcoming_ = op.next;
  }

  // True if anything happened. Asked for by an operation that is being moved itself it does nothing: the others' turns come.
  bool advance() {
    if (advancing_ || !first_) return false;
    advancing_ = true;
    const struct done_at_exit {
      bool& flag;
      ~done_at_exit() { flag = false; }
    } done{advancing_};
    bool moved = false;
    for (auto* op = first_; op; op = upcoming_) {
      upcoming_ = op->next;
      if (op->busy) continue;
      const in_flight::turn mine(*op);
      moved |= op->move(*op);
    }
    return moved;
  }

  // Keeps all going until done() is true. c: whose deadline() counts, where it has one; with none it may take for ever.
  template <class C, class Done>
  void wait(const C& c, Done&& done) {
    using clock = std::chrono::steady_clock;
    clock::time_point quiet_since{};
    while (!done()) {
      if (advance()) {
        quiet_since = {};
        continue;
      }
      std::this_thread::yield();
      if constexpr (requires { c.deadline(); }) {
        if (c.deadline().count() == 0) continue;
        const auto now = clock::now();
        if (quiet_since == clock::time_point{}) quiet_since = now;
        else if (now - quiet_since > c.deadline())
          throw communication_error(entrain::detail::text("comm, rank ", c.rank(), " of ", c.size()), "what is in flight made no progress within the deadline");
      }
    }
  }

 private:
  in_flight *first_ = nullptr, *upcoming_ = nullptr;
  bool advancing_ = false;
};

}  // namespace entrain::comm
