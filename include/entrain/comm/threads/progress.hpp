// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <exception>
#include <string>
#include <utility>

#include <entrain/comm/threads/group.hpp>

// A rank's own side: its operations in flight, over all its groups, how they move on, and the request that stands for one.
// Nothing runs in the background: a rank's collectives move on when it tests or waits for any of its operations. (Tasks
// of a reduction may be done by whichever rank comes by first, so a rank that computes delays nobody once it has arrived.)

namespace entrain::comm::threads_detail {

class rank_state {
 public:
  // How many operations are in flight at once is a matter of timing, so room for a full ring of collectives and as many
  // messages is made at the start: no later step allocates because a neighbour was late.
  rank_state(job& work, int rank) : work_(work), rank_(rank) {
    for (std::uint64_t i = 0; i < 2 * group::ring; ++i) give_back(pool_.emplace_back());
  }
  rank_state(const rank_state&) = delete;
  rank_state& operator=(const rank_state&) = delete;

  job& work() { return work_; }
  int rank() const { return rank_; }  // in the job

  operation& take(group& where, int rank) {
    if (!free_) free_ = &pool_.emplace_back();
    operation& op = *std::exchange(free_, free_->next);
    op.owner = this, op.where = &where, op.rank = rank;
    op.previous = op.next = nullptr;
    op.exceptions = std::uncaught_exceptions();
    op.is_message = false, op.linked = false;
    op.step = operation::phase::arriving;
    op.outcome.store(operation::message_outcome::waiting, std::memory_order_relaxed);
    return op;
  }
  void give_back(operation& op) noexcept { op.next = std::exchange(free_, &op); }

  // Waits until the slot's former use is over, which is so unless `ring` collectives are in flight.
  void reserve(group& where, std::uint64_t sequence) {
    work_.check(rank_);
    const auto before = sequence / group::ring * std::uint64_t(where.size());
    auto& place = where.slot_of(sequence);
    const auto free = [&] { return place.done.load(std::memory_order_acquire) == before; };
    if (free()) return;
    work_.wait(
        rank_, "starting a collective while too many are in flight", [&] { return free() || (progress(), free()); },
        [&](bool expired) { return missing(where, sequence - group::ring, expired); });
  }

  // The entry has been filled: count this rank in.
  void arrive(operation& op, std::uint64_t tasks) {
    group& where = *op.where;
    const auto p = std::uint64_t(where.size()), round = op.sequence / group::ring;
    auto& place = where.slot_of(op.sequence);
    in_flight_.append(op);
    op.linked = true;
    where.entry(op.sequence, op.rank).arrivals.store(op.sequence + 1, std::memory_order_release);
    if (place.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == (round + 1) * p) {
      where.verify(op.sequence, rank_);
      place.tasks = tasks;
      place.next_task.store(0, std::memory_order_relaxed);
      place.finished_tasks.store(0, std::memory_order_relaxed);
      place.open.store(round + 1, std::memory_order_release);
    }
    advance(op);
  }

  bool poll(operation& op) {
    if (op.is_complete()) return true;
    progress();
    return op.is_complete();
  }
  void wait(operation& op) {
    if (op.is_complete()) return;
    const auto name =
        op.is_message ? std::string_view(op.sends ? "send" : "receive") : name_of(op.where->entry(op.sequence, op.rank).what.kind);
    work_.wait(
        rank_, name, [&] { return poll(op); },
        [&](bool expired) { return op.is_message ? alone(op, expired) : missing(*op.where, op.sequence, expired); });
  }
  // After a failure: makes sure that nobody will touch the operands.
  void abandon(operation& op) noexcept {
    if (op.is_message) {
      op.where->withdraw(op);
    } else {
      if (op.linked) in_flight_.remove(op);
      op.linked = false;
      work_.drain(rank_);
    }
  }

 private:
  void progress() {
    for (operation* op = in_flight_.first; op;) {
      operation* next = op->next;
      advance(*op);
      op = next;
    }
  }

  void advance(operation& op) {
    using phase = operation::phase;
    using ending = operation::ending;
    auto& place = op.where->slot_of(op.sequence);
    const auto p = std::uint64_t(op.where->size()), round = op.sequence / group::ring;
    if (op.step == phase::arriving) {
      if (place.open.load(std::memory_order_acquire) != round + 1) return;
      if (op.work) {
        const job_access inside(work_, rank_);
        op.work(op);
      }
      if (op.end != ending::tasks) place.done.fetch_add(1, std::memory_order_acq_rel);
      op.step = phase::finishing;
    }
    if (op.step == phase::finishing) {
      if (op.end == ending::tasks) {
        if (place.finished_tasks.load(std::memory_order_acquire) != place.tasks) return;
        place.done.fetch_add(1, std::memory_order_acq_rel);
      } else if (op.end == ending::exposed && place.done.load(std::memory_order_acquire) < (round + 1) * p) {
        return;
      }
      op.step = phase::complete;
      in_flight_.remove(op);
      op.linked = false;
    }
  }

  // Why a collective cannot complete; empty: it still can.
  std::string missing(group& where, std::uint64_t sequence, bool expired) {
    std::string absent;
    for (int r = 0; r < where.size(); ++r) {
      const bool returned = work_.returned(where.member(r));  // asked first: what it did before it returned is then seen
      if (where.entry(sequence, r).arrivals.load(std::memory_order_acquire) > sequence) continue;
      if (returned) return where.name(r) + " has returned and will never take part";
      absent += (absent.empty() ? "" : ", ") + where.name(r);
    }
    if (!expired) return {};
    return entrain::detail::text("not complete within the deadline of ", work_.deadline_seconds(), " s; ",
                                 absent.empty() ? "all ranks have arrived, but some do not wait for it" : "not arrived: " + absent);
  }
  std::string alone(operation& op, bool expired) {
    const auto peer = op.where->name(op.peer);
    if (work_.returned(op.where->member(op.peer)) && !op.is_complete())
      return entrain::detail::text(peer, " has returned and will never ", op.sends ? "receive" : "send", " this message (tag ", op.tag,
                                   ")");
    if (!expired) return {};
    return entrain::detail::text("not complete within the deadline of ", work_.deadline_seconds(), " s; ", peer, " has not started to ",
                                 op.sends ? "receive" : "send", " it (tag ", op.tag, ")");
  }

  job& work_;
  int rank_;
  std::deque<operation> pool_;
  operation* free_ = nullptr;
  operation_list in_flight_;
};

class request {
 public:
  request() = default;
  explicit request(operation& op) : operation_(&op) {}
  request(request&& other) noexcept : operation_(std::exchange(other.operation_, nullptr)) {}
  request& operator=(request&& other) noexcept {
    std::swap(operation_, other.operation_);
    return *this;
  }
  ~request() {
    if (operation_) drop();
  }

  bool test() {
    if (!operation_) return true;
    auto& state = *operation_->owner;
    if (!state.poll(*operation_)) {
      state.work().check(state.rank());
      return false;
    }
    finish();
    return true;
  }
  void wait() {
    if (!operation_) return;
    operation_->owner->wait(*operation_);
    finish();
  }

 private:
  void finish() {
    operation& op = *std::exchange(operation_, nullptr);
    const bool mismatch = op.is_message && op.outcome.load(std::memory_order_relaxed) == operation::message_outcome::mismatch;
    op.owner->give_back(op);
    if (!mismatch) return;
    const auto own = entrain::detail::text(op.bytes / size_of(op.type), " ", name_of(op.type));
    const auto other = entrain::detail::text(op.other_bytes / size_of(op.other_type), " ", name_of(op.other_type));
    throw usage_error(entrain::detail::text("comm::threads ", op.where->name(op.rank), op.sends ? ", send to " : ", receive from ",
                                            op.where->name(op.peer), " (tag ", op.tag, ")"),
                      "the message has another size or type there", own, other);
  }
  // The memory must be free when this returns. An exception that is on its way out of the rank's body ends the job, so
  // that nobody waits for what this rank will not do.
  void drop() noexcept {
    operation& op = *operation_;
    auto& state = *op.owner;
    try {
      if (!op.is_complete() && std::uncaught_exceptions() > op.exceptions) state.work().begin_failing(state.rank());
      else state.wait(op);
    } catch (...) { state.work().begin_failing(state.rank()); }
    if (!op.is_complete()) state.abandon(op);
    state.give_back(op);
    operation_ = nullptr;
  }

  operation* operation_ = nullptr;
};

}  // namespace entrain::comm::threads_detail
