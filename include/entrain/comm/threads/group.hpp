// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/threads/job.hpp>
#include <entrain/comm/threads/slot.hpp>

// What the ranks of one group share: the ring of slots for collectives, a channel for every (sender, receiver) pair, and
// the sub-groups that are being made.
//
// Messages are a rendezvous: whoever comes second, sender or receiver, finds the other's half in the channel and copies
// the bytes straight from the sender's memory to the receiver's.

namespace entrain::comm::threads_detail {

class group;
class rank_state;

// An operation in flight. Belongs to the pool of the rank that started it; a rank touches another's only as the second
// half of its message, and for the last time when it sets `outcome`.
struct operation {
  enum class phase : std::uint8_t { arriving, finishing, complete };
  // When it is complete: after my own work, when all tasks are done, when all ranks have read my memory.
  enum class ending : std::uint8_t { alone, tasks, exposed };
  enum class message_outcome : std::uint8_t { waiting, complete, mismatch };

  rank_state* owner = nullptr;
  group* where = nullptr;
  operation *previous = nullptr, *next = nullptr;  // in the rank's list of collectives in flight, a channel, or the free list
  int rank = 0;                                    // mine, in the group
  int exceptions = 0;                              // in flight in this thread when it was started
  bool is_message = false;

  // collective
  phase step = phase::arriving;
  ending end = ending::alone;
  std::uint64_t sequence = 0;
  void (*work)(operation&) = nullptr;
  const std::size_t* receive = nullptr;  // all_gather_v, all_to_all_v: what I expect from each rank

  // message
  bool sends = false, linked = false;
  int peer = 0, tag = 0;
  dtype type = dtype::bytes;
  const void* from = nullptr;
  void* to = nullptr;
  std::size_t bytes = 0, other_bytes = 0;
  dtype other_type = dtype::bytes;
  std::atomic<message_outcome> outcome{message_outcome::waiting};

  bool is_complete() const {
    return is_message ? outcome.load(std::memory_order_acquire) != message_outcome::waiting : step == phase::complete;
  }
};

struct operation_list {
  operation *first = nullptr, *last = nullptr;
  void append(operation& op) {
    op.previous = last, op.next = nullptr;
    (last ? last->next : first) = &op;
    last = &op;
  }
  void remove(operation& op) {
    (op.previous ? op.previous->next : first) = op.next;
    (op.next ? op.next->previous : last) = op.previous;
    op.previous = op.next = nullptr;
  }
};

struct alignas(buffer_alignment) channel {
  std::mutex mutex;  // held to find and link, not while copying
  operation_list sends, receives;
};

class group {
 public:
  static constexpr std::uint64_t ring = 64;  // collectives that a rank may have in flight; one more waits for the oldest

  group(std::shared_ptr<job> work, std::vector<int> members)
      : work_(std::move(work)),
        members_(std::move(members)),
        slots_(new slot[ring]),
        entries_(new slot_entry[ring * members_.size()]),
        channels_(new channel[members_.size() * members_.size()]) {}

  job& work() { return *work_; }
  int size() const { return int(members_.size()); }
  int member(int rank) const { return members_[std::size_t(rank)]; }  // its rank in the job
  slot& slot_of(std::uint64_t sequence) { return slots_[sequence % ring]; }
  slot_entry& entry(std::uint64_t sequence, int rank) { return entries_[(sequence % ring) * members_.size() + std::size_t(rank)]; }
  channel& between(int sender, int receiver) { return channels_[std::size_t(sender) * members_.size() + std::size_t(receiver)]; }

  // "rank 2", or "rank 1 (of the job: 2)" in a sub-group.
  std::string name(int rank) const {
    std::string out = entrain::detail::text("rank ", rank);
    return member(rank) == rank && size() == work_->ranks() ? out : out + entrain::detail::text(" (of the job: ", member(rank), ")");
  }

  // The last to arrive compares.
  void verify(std::uint64_t sequence, int rank) {
    const auto& first = entry(sequence, 0).what;
    for (int r = 1; r < size(); ++r) {
      const auto& other = entry(sequence, r).what;
      if (!(other == first))
        work_->raise(member(rank), entrain::detail::text("comm::threads, collective ", sequence, " of the group"),
                     "two ranks do not call the same", entrain::detail::text(first.text(), " (", name(0), ")"),
                     entrain::detail::text(other.text(), " (", name(r), ")"));
    }
  }

  void post(operation& mine) {
    auto& line = mine.sends ? between(mine.rank, mine.peer) : between(mine.peer, mine.rank);
    operation* other = nullptr;
    {
      const std::lock_guard lock(line.mutex);
      auto& waiting = mine.sends ? line.receives : line.sends;
      for (other = waiting.first; other && other->tag != mine.tag;) other = other->next;
      if (!other) {
        mine.linked = true;
        (mine.sends ? line.sends : line.receives).append(mine);
        return;
      }
      waiting.remove(*other);
      other->linked = false;
    }
    meet(mine.sends ? mine : *other, mine.sends ? *other : mine);
  }

  // After a failure: nobody will touch the message's memory when this returns.
  void withdraw(operation& mine) {
    {
      auto& line = mine.sends ? between(mine.rank, mine.peer) : between(mine.peer, mine.rank);
      const std::lock_guard lock(line.mutex);
      if (mine.linked) return (mine.sends ? line.sends : line.receives).remove(mine);
    }
    while (!mine.is_complete()) std::this_thread::yield();
  }

  // The sub-group of `members`, the same object for all of them.
  std::shared_ptr<group> sub_group(std::uint64_t number, int colour, std::vector<int> members) {
    const std::lock_guard lock(mutex_);
    const auto [at, is_new] = forming_.try_emplace({number, colour});
    if (is_new) at->second = {members.size(), nullptr};
    if (is_new) at->second.second = std::make_shared<group>(work_, std::move(members));
    auto made = at->second.second;
    if (--at->second.first == 0) forming_.erase(at);
    return made;
  }

 private:
  static void meet(operation& out, operation& in) {
    const bool fits = out.bytes == in.bytes && out.type == in.type;
    if (fits && out.bytes > 0) std::memcpy(in.to, out.from, out.bytes);
    out.other_bytes = in.bytes, out.other_type = in.type;
    in.other_bytes = out.bytes, in.other_type = out.type;
    const auto result = fits ? operation::message_outcome::complete : operation::message_outcome::mismatch;
    out.outcome.store(result, std::memory_order_release);
    in.outcome.store(result, std::memory_order_release);
  }

  std::shared_ptr<job> work_;
  std::vector<int> members_;
  std::unique_ptr<slot[]> slots_;
  std::unique_ptr<slot_entry[]> entries_;
  std::unique_ptr<channel[]> channels_;
  std::mutex mutex_;
  std::map<std::pair<std::uint64_t, int>, std::pair<std::size_t, std::shared_ptr<group>>> forming_;
};

}  // namespace entrain::comm::threads_detail
