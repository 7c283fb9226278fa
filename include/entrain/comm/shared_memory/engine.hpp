// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/shared_memory/arenas.hpp>
#include <entrain/comm/shared_memory/foreign.hpp>
#include <entrain/comm/shared_memory/operation.hpp>
#include <entrain/comm/shared_memory/segment.hpp>
#include <entrain/comm/shared_memory/stages.hpp>
#include <entrain/core/error.hpp>

// Collectives of one group of ranks that share memory, as one rank sees them. It knows nothing of MPI: whoever has the
// segments of all ranks mapped can drive it (processes with a shared window, threads with plain memory).
//
// Operations are cut into rounds (operation.hpp) that all ranks pass in the same order, that of the calls. Three cursors
// run over them, one a stage (stages.hpp): while a rank waits for the others' operands of one round it stages its own of
// the next, up to the number of slots ahead, also across operations. progress() does what can be done and never waits, so
// operations are stepwise nonblocking and need no helper thread; they complete in the order in which they were started.
//
// Ranks meet in the first round of every operation, and compare there what each has been asked for.

namespace entrain::comm::shared_memory {

class engine {
 public:
  // base: every rank's segment in this process; all have been constructed (segment::construct) before. where: for errors.
  engine(int rank, const std::vector<std::byte*>& base, const shape& s, const cutting& limits, std::string where)
      : rank_(rank), shape_(s), limits_(limits), where_(std::move(where)), all_(see(base, s)), stages_(rank, all_) {}
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  // Whether elements of this width can be staged at all.
  bool takes(std::size_t width) const { return width * all_.size() <= limits_.chunk; }
  arenas& places() { return arenas_; }
  // All ranks may read each other's memory, and these are their processes; all say so, or none.
  void allow_fetching(std::vector<int> processes) { processes_ = std::move(processes); }
  bool idle() const { return !leave_.current; }

  // Enters the operation in the queue; it completes by progress(). Give it back when it is done.
  operation& start(const call& what) {
    operation& op = take();
    static_cast<call&>(op) = what;
    op.done = false, op.next = nullptr, op.number = started_++;
    cut(op, all_.size(), limits_, !processes_.empty() && arenas_.empty());
    if (fetchable(op)) op.what.out = reinterpret_cast<std::uintptr_t>(op.in);
    if (op.how != operation::way::fetch) look_in_arenas(op);
    if (last_) last_->next = &op;
    last_ = &op;
    for (cursor* c : {&stage_, &work_, &leave_})
      if (!c->current) c->current = &op;
    progress();
    return op;
  }
  void give_back(operation& op) {
    op.next = free_;
    free_ = &op;
  }

  // At most one round of each stage. True if there was one. Throws communication_error where ranks disagree; nothing
  // moves any more then.
  bool progress() {
    if (failed_) return false;
    bool moved = stage_.current && try_stage();
    if (work_.current && work_.slot < stage_.slot && try_work()) moved = true;
    if (leave_.current && leave_.slot < work_.slot && try_leave()) moved = true;
    return moved;
  }

  // This rank, whose number in the whole job this is, has failed, or met one that had: the others hear of the first. All that waits
  // for it here ends.
  void give_up(int rank_of_job) {
    if (lost_ < 0) lost_ = rank_of_job;
    own().gone.store(std::uint64_t(lost_) + 1, std::memory_order_release);
  }
  // The number in the whole job of a rank that has, or -1. Ask before progress(): what it did before it failed is then seen.
  int lost_rank() const {
    for (const segment& s : all_)
      if (const std::uint64_t gone = s.progress().gone.load(std::memory_order_acquire); gone != 0) return int(gone - 1);
    return -1;
  }
  [[noreturn]] void raise_lost(int rank_of_job) {
    failed_ = true, lost_ = rank_of_job;
    throw communication_error(where_, entrain::detail::text("rank ", rank_of_job, " of the job has failed and takes no further part"));
  }

 private:
  // Where a stage is: its next round, in the count of the group and in that of the operation.
  struct cursor {
    operation* current = nullptr;
    std::uint64_t slot = 0, round = 0;
    void advance() {
      ++slot;
      if (++round < current->rounds) return;
      current = current->next, round = 0;
    }
  };

  static segments see(const std::vector<std::byte*>& base, const shape& s) {
    segments out;
    for (std::byte* b : base) out.emplace_back(b, s);
    return out;
  }
  operation& take() {
    if (!free_) return pool_.emplace_back();
    return *std::exchange(free_, free_->next);
  }
  const notice& notice_of(std::size_t rank, std::uint64_t slot) const { return all_[rank].post(slot); }
  counters& own() const { return all_[std::size_t(rank_)].progress(); }

  // Whether all ranks have come past `round`. What was seen once is remembered: the others' lines are not touched again.
  bool all_past(std::uint64_t round, std::atomic<std::uint64_t> counters::*which, std::uint64_t& seen) const {
    if (seen > round) return true;
    std::uint64_t least = ~std::uint64_t{0};
    for (const segment& s : all_) {
      least = std::min(least, (s.progress().*which).load(std::memory_order_acquire));
      if (least <= round) return false;
    }
    seen = least;
    return true;
  }

  bool try_stage() {
    operation& op = *stage_.current;
    if (op.undecided && stage_.round > 0) return false;  // how many rounds there are is known when all have met
    if (stage_.slot >= shape_.slots && !all_past(stage_.slot - shape_.slots, &counters::left, all_left_)) return false;
    if (stage_.round == 0) static_cast<notice&>(all_[std::size_t(rank_)].post(stage_.slot)) = op.what;
    if (op.what.in == nowhere && op.how != operation::way::fetch) stages_.stage(op, stage_.slot, stage_.round);
    own().entered.store(stage_.slot + 1, std::memory_order_release);
    stage_.advance();
    return true;
  }

  bool try_work() {
    operation& op = *work_.current;
    if (!all_past(work_.slot, &counters::entered, all_entered_)) return false;
    if (work_.round == 0) meet(op, work_.slot);
    if (op.how == operation::way::arena) stages_.work_in_arenas(op);
    else if (op.how == operation::way::fetch) fetch(op, work_.slot);
    else stages_.work(op, work_.slot, work_.round);
    if (op.twice) own().worked.store(work_.slot + 1, std::memory_order_release);
    work_.advance();
    return true;
  }

  bool try_leave() {
    operation& op = *leave_.current;
    if (op.twice && !all_past(leave_.slot, &counters::worked, all_worked_)) return false;
    if (refills(op)) {
      stages_.collect_and_stage(op, leave_.slot, leave_.round, stage_.round);
      own().left.store(leave_.slot + 1, std::memory_order_release);
      own().entered.store(stage_.slot + 1, std::memory_order_release);
      stage_.advance(), leave_.advance();
      return true;
    }
    if (op.twice) stages_.collect(op, leave_.slot, leave_.round);
    own().left.store(leave_.slot + 1, std::memory_order_release);
    leave_.advance();
    if (leave_.current == &op) return true;
    if (last_ == &op) last_ = nullptr;
    op.done = true;
    return true;
  }

  // Whether the slot that is left now is the one that is staged next, for the same operation, and nobody else touches it
  // any more: in shares others read and write it only until they have worked.
  bool refills(const operation& op) const {
    return op.how == operation::way::shares && op.what.kind == collective::all_reduce && op.what.in == nowhere &&
           stage_.current == &op && stage_.slot == leave_.slot + shape_.slots && stage_.round > 0;
  }

  // Names this rank's operands where they lie in arenas and are long enough to be read there.
  void look_in_arenas(operation& op) {
    op.undecided = !arenas_.empty() && op.piece > limits_.direct && may_lie_in_arenas(op.what.kind);
    if (!op.undecided || (op.what.kind == collective::broadcast && op.what.root != rank_)) return;
    const std::size_t in_bytes = op.what.kind == collective::reduce_scatter ? op.piece * all_.size() : op.piece;
    op.what.in = arenas_.name_of(op.in, in_bytes, rank_);
    if (op.what.kind == collective::all_reduce) op.what.out = arenas_.name_of(op.out, op.piece, rank_);
  }

  bool fetchable(const operation& op) const { return !processes_.empty() && may_be_fetched(op.what.kind, all_.size()) && op.piece > limits_.fetch; }
  // Reads the others' operands straight from their memory into its output.
  void fetch(const operation& op, std::uint64_t slot) {
    const auto from = [&](std::size_t q, std::byte* to) {
      if (const int why = read_foreign(processes_[q], notice_of(q, slot).out, to, op.piece)) {
        failed_ = true;
        throw communication_error(where_, entrain::detail::text("cannot read the memory of rank ", q, ": ", std::strerror(why)));
      }
    };
    const std::size_t own = std::size_t(rank_);
    copy_bytes(op.in, op.out + own * op.piece, op.piece);
    for (std::size_t next = 1; next < all_.size(); ++next) {
      const std::size_t q = (own + next) % all_.size();
      from(q, op.out + q * op.piece);
    }
  }

  void meet(operation& op, std::uint64_t slot) {
    for (std::size_t r = 0; r < all_.size(); ++r)
      if (!notice_of(r, slot).agrees_with(op.what)) disagree(op, r, slot);
    if (op.undecided) decide(op, slot);
  }

  // Now that all have met: the whole at once if everything that others touch lies in arenas; else round by round, but
  // what lies there is read there, and who shows it stays until he has been read. What can be fetched is.
  void decide(operation& op, std::uint64_t slot) {
    const auto kind = op.what.kind;
    bool all = true, some = false;
    for (std::size_t r = 0; r < all_.size(); ++r) {
      const notice& theirs = notice_of(r, slot);
      const bool reads = kind != collective::broadcast || op.what.root == int(r), writes = kind == collective::all_reduce;
      stages_.found(r, theirs.in == nowhere ? nullptr : arenas_.address_of(theirs.in, int(r)),
                    !writes || theirs.out == nowhere ? nullptr : arenas_.address_of(theirs.out, int(r)));
      some |= theirs.in != nowhere;
      all &= (!reads || theirs.in != nowhere) && (!writes || theirs.out != nowhere);
    }
    if (all || fetchable(op)) {
      if (stage_.current == &op) stage_.current = op.next, stage_.round = 0;  // it would have had more rounds to stage
      op.how = all ? operation::way::arena : operation::way::fetch, op.rounds = 1;
      some = true;
    }
    op.some_in_arenas = some;
    op.twice |= some;
    op.undecided = false;
  }

  [[noreturn]] void disagree(const operation& op, std::size_t rank, std::uint64_t slot) {
    failed_ = true;
    const notice& theirs = notice_of(rank, slot);
    const auto name = [](std::size_t r) { return " (rank " + std::to_string(r) + ")"; };
    throw communication_error(where_, entrain::detail::text("collective ", op.number, " of the group: two ranks do not call the same"),
                              op.what.text() + name(std::size_t(rank_)), theirs.text() + name(rank) +
                              (theirs.layout != op.what.layout ? ", with other counts" : ""));
  }

  int rank_;
  shape shape_;
  cutting limits_;
  std::string where_;
  segments all_;
  stages stages_;
  arenas arenas_;
  std::vector<int> processes_;  // empty: their memory is their own
  bool failed_ = false;
  int lost_ = -1;  // the number in the whole job of the rank that failed first, once this one takes no further part
  cursor stage_, work_, leave_;
  std::uint64_t all_entered_ = 0, all_worked_ = 0, all_left_ = 0;  // rounds past which all have been seen
  std::uint64_t started_ = 0;
  operation* last_ = nullptr;  // the youngest that is not complete
  std::deque<operation> pool_;
  operation* free_ = nullptr;
};

}  // namespace entrain::comm::shared_memory
