// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <entrain/comm/simulated/deadlock.hpp>
#include <entrain/comm/simulated/options.hpp>
#include <entrain/comm/simulated/rank.hpp>
#include <entrain/comm/simulated/wires.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>

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

class simulation {
 public:
  using state = virtual_rank::state;

  simulation(int ranks, const simulation_options& options) : options_(options), ranks_(check_count(ranks)), wires_(ranks, options_) {
    report_.ranks.resize(std::size_t(ranks));
    for (int r = 0; r < ranks; ++r) at(r).number = r;
    for (const auto& c : options_.faults.crashes) {
      if (c.rank < 0 || c.rank >= ranks)
        throw usage_error("comm::simulate", "a fault crashes a rank that is not there", entrain::detail::text("a rank in [0, ", ranks, ")"),
                          entrain::detail::text(c.rank));
      at(c.rank).crash_time = c.at_time, at(c.rank).crash_call = c.at_call;
    }
    everyone_ = std::make_shared<group>();
    for (int r = 0; r < ranks; ++r) everyone_->members.push_back(r);
  }

  const std::shared_ptr<group>& everyone() const { return everyone_; }
  int ranks_per_node() const { return options_.network.ranks_per_node; }

  simulation_report run(const std::function<void(int)>& body) {
    std::vector<std::thread> threads;
    threads.reserve(ranks_.size());
    try {
      for (auto& r : ranks_) threads.emplace_back([this, &r, &body] { live(r, body); });
    } catch (const std::exception& e) {  // no more threads: those that run find the job failed
      for (std::size_t r = threads.size(); r < ranks_.size(); ++r) ranks_[r].status = state::done;
      fail(std::current_exception(), e.what());
    }
    for (auto& r : ranks_)
      if (r.status == state::ready) ready_.push({0, &r});
    hand_over(nullptr);
    finished_.take();
    for (auto& t : threads) t.join();
    if (failure_) std::rethrow_exception(failure_);
    return std::move(report_);
  }

  // ---- what a rank calls while it holds the baton ----------------------------------------------------------------------

  double now(int rank) { return at(rank).clock; }

  void compute(int rank, double seconds) {
    virtual_rank& me = at(rank);
    check(me);
    if (!(seconds >= 0) || !std::isfinite(seconds))
      throw usage_error("comm::simulated advance", "wrong time", "seconds of at least 0", entrain::detail::text(seconds));
    report_.ranks[std::size_t(rank)].computed += seconds;
    ++changes_;
    pass_time(me, me.clock + seconds);
  }
  void compute_bytes(int rank, std::size_t bytes) { compute(rank, options_.gamma * double(bytes)); }

  operation& post(const operation& what) {
    virtual_rank& me = at(what.owner());
    check(me);
    if (++me.calls == me.crash_call) crash(me);
    operation& mine = me.take();
    mine = what;
    mine.posted = me.clock, mine.exceptions = std::uncaught_exceptions();
    if (mine.sends) inject(me, mine);
    ++me.moves, ++changes_;

    virtual_rank& receiver = at(mine.to);
    auto& others = mine.sends ? receiver.receives : receiver.sends;
    operation* other = others.first;
    while (other && !(other->group == mine.group && other->from == mine.from && other->tag == mine.tag)) other = other->next;
    if (!other) {
      (mine.sends ? receiver.sends : receiver.receives).append(mine);
      return mine;
    }
    others.remove(*other);
    if (other->bytes == mine.bytes && other->type == mine.type) {
      wires_.add(mine.sends ? mine : *other, mine.sends ? *other : mine);
    } else {
      mine.other_bytes = other->bytes, mine.other_type = other->type;
      other->other_bytes = mine.bytes, other->other_type = mine.type;
      const double time = std::max(mine.posted, other->posted);
      complete(mine, time, operation::outcome::mismatch);
      complete(*other, time, operation::outcome::mismatch);
    }
    return mine;
  }

  void wait(operation& op) {
    virtual_rank& me = at(op.owner());
    check(me);
    if (!op.is_complete()) {
      me.blocked_on = &op;
      block(me, state::waiting);
      check(me);
    }
    pass_time(me, op.completed);
  }

  // Is it complete at my time? The first answer no costs no time, so that a rank may look now and then while it computes.
  // Asked again with nothing done in between, the rank sleeps until one of its operations completes. When nothing is left
  // that could happen, it is woken once more for each operation it polls; polling the same one again proves that it is stuck.
  bool test(operation& op) {
    virtual_rank& me = at(op.owner());
    check(me);
    make_ready(me, me.clock);  // those who are behind first: what they do may complete it
    hand_over(&me);
    check(me);
    if (op.is_complete()) return true;
    if (op.polled != me.moves) {
      op.polled = me.moves;
      return false;
    }
    me.blocked_on = &op;
    block(me, state::polling);
    check(me);
    return op.is_complete();
  }

  // The memory must be free when this returns; throws nothing. Waits, unless the job or this rank ends or an exception is on its way.
  void drop(operation& op) noexcept {
    virtual_rank& me = at(op.owner());
    if (!op.is_complete() && !failure_ && !me.crashed && me.clock < me.crash_time && std::uncaught_exceptions() == op.exceptions) {
      me.blocked_on = &op;
      block(me, state::waiting);
    }
    if (!op.is_complete()) withdraw(op);
    else if (op.completed > me.clock) me.clock = std::min(op.completed, me.crash_time), ++me.moves;
    me.give_back(op);
  }
  void give_back(operation& op) { at(op.owner()).give_back(op); }

  // All ranks of `where` call it with their number-th split; returns the caller's new group and rank. Costs no time but that
  // of waiting for the last.
  std::pair<std::shared_ptr<group>, int> split(group& where, int rank, std::uint64_t number, int colour, int key) {
    virtual_rank& me = at(where.members[std::size_t(rank)]);
    check(me);
    ++changes_, ++me.moves;
    const auto [entry, is_new] = where.meetings.try_emplace(number);
    meeting& here = entry->second;
    if (is_new) here.said.resize(where.members.size()), here.here.resize(where.members.size()), here.missing = here.leaving = where.members.size();
    here.said[std::size_t(rank)] = {colour, key}, here.here[std::size_t(rank)] = true;
    here.time = std::max(here.time, me.clock);
    if (--here.missing > 0) {
      me.meets_in = &where, me.meets_at = &here;
      block(me, state::meeting);
      check(me);
    } else {
      form(where, here);
      for (const int member : where.members)
        if (at(member).status == state::meeting && at(member).meets_at == &here) make_ready(at(member), here.time);
    }
    pass_time(me, here.time);
    auto mine = here.made[std::size_t(rank)];
    if (--here.leaving == 0) where.meetings.erase(number);
    return mine;
  }

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
  virtual_rank& at(int rank) { return ranks_[std::size_t(rank)]; }

  // ---- the life of a rank ------------------------------------------------------------------------------------------------
  void live(virtual_rank& me, const std::function<void(int)>& body) noexcept {
    me.turn.take();
    try {
      if (!failure_) {
        pass_time(me, 0);
        body(me.number);
        check(me);  // a body that has swallowed the exception that told it so has not got away
      }
    } catch (const crash_signal&) {
    } catch (const std::exception& e) {
      fail(std::current_exception(), entrain::detail::text("rank ", me.number, " failed: ", e.what()));
    } catch (...) {
      fail(std::current_exception(), entrain::detail::text("rank ", me.number, " failed: it threw something that is no std::exception"));
    }
    auto& mine = report_.ranks[std::size_t(me.number)];
    mine.finish = me.clock, mine.crashed = me.crashed;
    report_.finish = std::max(report_.finish, me.clock);
    me.status = state::done;
    ++changes_;
    hand_over(nullptr);
  }

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

  // ---- handing the baton on ------------------------------------------------------------------------------------------------
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

  // ---- messages ------------------------------------------------------------------------------------------------------------
  void finish(transfer& t) {
    if (!t.send) return;
    if (t.send->drop) t.receive->lost = true, t.receive->carrier = nullptr;
    else if (t.send->bytes > 0) std::memcpy(t.receive->target, t.send->source, t.send->bytes);
    if (!t.send->drop) complete(*t.receive, t.end, operation::outcome::complete);
    complete(*t.send, t.end, operation::outcome::complete);
  }
  void complete(operation& op, double time, operation::outcome result) {
    op.result = result, op.completed = time, op.carrier = nullptr;
    ++changes_;
    virtual_rank& owner = at(op.owner());
    if (owner.status == state::polling || (owner.status == state::waiting && owner.blocked_on == &op)) make_ready(owner, time);
  }
  void withdraw(operation& op) {
    if (op.linked) (op.sends ? at(op.to).sends : at(op.to).receives).remove(op);
    else if (op.carrier) wires::abandon(op);
    ++changes_;
  }
  void inject(virtual_rank& me, operation& op) {
    const auto& faults = options_.faults;
    const random_stream random(faults.seed, purpose::user, std::uint32_t(me.number));
    op.number = me.sent++;
    const auto index = 4 * op.number;
    const auto meant = [&](const auto& fault, std::uint64_t at) {
      return fault.probability > 0 && (fault.from < 0 || fault.from == op.from) && (fault.to < 0 || fault.to == op.to) &&
             double(random.uniform(at)) < fault.probability;
    };
    op.drop = op.from != op.to && meant(faults.drop, index);
    if (meant(faults.delay, index + 1)) op.extra_latency = -faults.delay.seconds * std::log(1 - double(random.uniform(index + 2)));
  }

  // ---- groups, and the end ---------------------------------------------------------------------------------------------------
  void form(group& where, meeting& here) {
    std::vector<int> order(where.members.size());
    for (std::size_t r = 0; r < order.size(); ++r) order[r] = int(r);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return here.said[std::size_t(a)] < here.said[std::size_t(b)]; });
    here.made.resize(order.size());
    std::shared_ptr<group> part;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const auto r = std::size_t(order[i]);
      if (i == 0 || here.said[r][0] != here.said[std::size_t(order[i - 1])][0]) part = std::make_shared<group>(), part->number = ++groups_;
      here.made[r] = {part, int(part->members.size())};
      part->members.push_back(where.members[r]);
    }
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

  const simulation_options options_;
  std::deque<virtual_rank> ranks_;
  wires wires_;
  std::priority_queue<turn, std::vector<turn>, std::greater<>> ready_;
  std::shared_ptr<group> everyone_;
  simulation_report report_;
  baton finished_;
  double frontier_ = 0;        // time of the last event
  std::uint64_t changes_ = 1;  // whenever a rank does something or an operation completes
  int groups_ = 0;
  std::exception_ptr failure_;
  std::string message_;
};

}  // namespace entrain::comm::simulated_detail
