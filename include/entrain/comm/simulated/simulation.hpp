// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <entrain/comm/simulated/options.hpp>
#include <entrain/comm/simulated/rank.hpp>
#include <entrain/comm/simulated/timeline.hpp>
#include <entrain/comm/simulated/wires.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>

// What ranks ask of a simulated job: to start, wait for and give up operations, to compute, to split; and their threads.

namespace entrain::comm::simulated_detail {

class simulation : timeline {
 public:
  simulation(int ranks, const simulation_options& options) : timeline(ranks, options) {
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
      if (r.status == state::ready) make_ready(r, 0);
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

  // ---- messages ------------------------------------------------------------------------------------------------------------
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

  // ---- groups --------------------------------------------------------------------------------------------------------------
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

  const std::shared_ptr<group> everyone_ = std::make_shared<group>();
  int groups_ = 0;
};

}  // namespace entrain::comm::simulated_detail
