// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <entrain/comm/simulated/deadlock.hpp>
#include <entrain/comm/simulated/options.hpp>
#include <entrain/comm/simulated/rank.hpp>
#include <entrain/comm/simulated/wires.hpp>
#include <entrain/core/error.hpp>

// The event loop under comm::simulate. There is no thread of its own: the rank that has to wait looks for what happens next
// and hands the baton on. What happens next is what has the smallest virtual time: a transfer that ends, a crash, a rank
// that can run (the smallest number first), a transfer that begins, in this order among equals, so that everything that
// could claim a port at a time has been heard before the port is given away.
//
// A rank that runs may be ahead of others in time: it only posts operations stamped with its clock, and which message meets
// which is fixed by the order of each rank's own calls. A transfer begins only when no rank is left whose clock is not
// beyond that time.
//
// The first failure wins: from then on every call of every rank throws, one rank after the other is unwound, and
// comm::simulate rethrows it.

namespace entrain::comm::simulated_detail {

class timeline {
 public:
  using state = virtual_rank::state;

  timeline(int ranks, const simulation_options& options) : options_(options), ranks_(check_count(ranks)), wires_(ranks, options_) {
    report_.ranks.resize(std::size_t(ranks));
    for (int r = 0; r < ranks; ++r) at(r).number = r;
    for (const auto& c : options_.faults.crashes) {
      if (c.rank < 0 || c.rank >= ranks)
        throw usage_error("comm::simulate", "a fault crashes a rank that is not there", entrain::detail::text("a rank in [0, ", ranks, ")"),
                          entrain::detail::text(c.rank));
      at(c.rank).crash_time = c.at_time, at(c.rank).crash_call = c.at_call;
    }
  }

 protected:
  virtual_rank& at(int rank) { return ranks_[std::size_t(rank)]; }

  void fail(std::exception_ptr error, std::string message) {
    if (failure_) return;
    failure_ = std::move(error), message_ = std::move(message);
  }
  void check(virtual_rank& me) {
    if (failure_) throw communication_error(entrain::detail::text("comm::simulated rank ", me.number), "the job has ended: " + message_);
    if (me.crashed || me.clock >= me.crash_time) crash(me);
  }
  [[noreturn]] void crash(virtual_rank& me) {
    me.crashed = true, ++changes_;
    throw crash_signal{};
  }
  void pass_time(virtual_rank& me, double time) {
    if (time > me.clock) me.clock = std::min(time, me.crash_time), ++me.moves;
    if (me.clock >= me.crash_time) crash(me);
  }

  void block(virtual_rank& me, state why) {
    me.status = why;
    hand_over(&me);
    me.blocked_on = nullptr, me.meets_in = nullptr, me.meets_at = nullptr;
  }
  void make_ready(virtual_rank& r, double time) {
    if (time > r.clock) r.clock = time, ++r.moves;
    r.status = state::ready;
    ready_.push({r.clock, &r});
  }
  // me: null when its thread ends or has none. Returns when it is this rank's turn again.
  void hand_over(virtual_rank* me) {
    virtual_rank* const next = choose();
    if (me && next == me) return;
    (next ? next->turn : finished_).pass();
    if (me) me->turn.take();
  }

  // Ends an operation, and wakes its rank where that sleeps for it.
  void complete(operation& op, double time, operation::outcome result) {
    op.result = result, op.completed = time, op.carrier = nullptr;
    ++changes_;
    virtual_rank& owner = at(op.owner());
    if (owner.status == state::polling || (owner.status == state::waiting && owner.blocked_on == &op)) make_ready(owner, time);
  }

  const simulation_options options_;
  std::deque<virtual_rank> ranks_;
  wires wires_;
  simulation_report report_;
  baton finished_;
  std::uint64_t changes_ = 1;  // whenever a rank does something or an operation completes
  std::exception_ptr failure_;
  std::string message_;

 private:
  struct turn {
    double time = 0;
    virtual_rank* who = nullptr;
    bool operator>(const turn& other) const { return std::tuple(time, who->number) > std::tuple(other.time, other.who->number); }
  };

  static std::size_t check_count(int ranks) {
    if (ranks < 1 || ranks >= 1 << 24)
      throw usage_error("comm::simulate", "wrong number of ranks", "at least 1", entrain::detail::text(ranks));
    return std::size_t(ranks);
  }

  // Lets virtual time go on until a rank can run. Null when all have ended.
  virtual_rank* choose() {
    while (!failure_) {
      const double end = wires_.next_end(), begin = wires_.next_begin(), run = ready_.empty() ? never : ready_.top().time;
      virtual_rank* const victim = next_crash();
      const double crash = victim ? victim->crash_time : never;
      if (end < never && end <= std::min({run, begin, crash})) {
        frontier_ = end;
        finish(wires_.end());
      } else if (victim && crash <= std::min(run, begin)) {
        frontier_ = crash;
        make_ready(*victim, crash);
      } else if (run < never && run <= begin) {
        virtual_rank* const next = ready_.top().who;
        ready_.pop();
        next->status = state::running;
        return next;
      } else if (begin < never) {
        frontier_ = begin;
        wires_.begin(report_);
      } else if (virtual_rank* const poller = next_poller()) {
        make_ready(*poller, frontier_);
      } else if (std::all_of(ranks_.begin(), ranks_.end(), [](const virtual_rank& r) { return r.status == state::done; })) {
        return nullptr;
      } else {
        fail(std::make_exception_ptr(deadlock_error(describe())), "all ranks wait and nothing can wake them");
      }
    }
    for (auto& r : ranks_)
      if (r.status != state::done) return r.status = state::running, &r;
    return nullptr;
  }

  // A rank that waits does not notice its time to crash by itself.
  virtual_rank* next_crash() {
    virtual_rank* first = nullptr;
    for (const auto& c : options_.faults.crashes) {
      virtual_rank& r = at(c.rank);
      const bool waits = r.status == state::waiting || r.status == state::polling || r.status == state::meeting;
      if (waits && r.crash_time < never && (!first || r.crash_time < first->crash_time)) first = &r;
    }
    return first;
  }
  virtual_rank* next_poller() {
    for (auto& r : ranks_)
      if (r.status == state::polling && r.blocked_on->excused != changes_) return r.blocked_on->excused = changes_, &r;
    return nullptr;
  }

  void finish(transfer& t) {
    if (!t.send) return;
    if (t.send->drop) t.receive->lost = true, t.receive->carrier = nullptr;
    else if (t.send->bytes > 0) std::memcpy(t.receive->target, t.send->source, t.send->bytes);
    if (!t.send->drop) complete(*t.receive, t.end, operation::outcome::complete);
    complete(*t.send, t.end, operation::outcome::complete);
  }

  deadlock_report describe() const {
    deadlock_report out;
    out.time = frontier_;
    for (const auto& r : ranks_) {
      if (r.crashed) out.crashed.push_back({r.number, r.clock});
      else if (r.status == state::done) out.returned.push_back(r.number);
      if (r.status == state::done) continue;
      out.time = std::max(out.time, r.clock);
      auto& w = out.waiting.emplace_back();
      w.rank = r.number, w.since = r.clock, w.polling = r.status == state::polling;
      if (r.meets_at) {
        w.operation = deadlock_report::what::split, w.group = r.meets_in->number;
        for (std::size_t k = 0; k < r.meets_at->here.size(); ++k)
          if (!r.meets_at->here[k]) w.missing.push_back(r.meets_in->members[k]);
      } else if (const operation* op = r.blocked_on) {
        w.operation = op->sends ? deadlock_report::what::send : deadlock_report::what::receive;
        w.peer = op->sends ? op->to : op->from;
        w.bytes = op->bytes, w.tag = op->tag, w.group = op->group, w.lost = op->lost, w.abandoned = op->abandoned;
      }
    }
    out.cycle = cycle_of(out.waiting, int(ranks_.size()));
    return out;
  }

  std::priority_queue<turn, std::vector<turn>, std::greater<>> ready_;
  double frontier_ = 0;  // time of the last event
};

}  // namespace entrain::comm::simulated_detail
