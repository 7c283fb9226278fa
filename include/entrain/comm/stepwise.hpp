// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <entrain/comm/concepts.hpp>
#include <entrain/comm/schedule/execution.hpp>
#include <entrain/core/error.hpp>

// What collectives share that no fixed program (comm/schedule/program.hpp) can describe, because what they send depends on
// the data: the sparse ones (comm/sparse_all_reduce.hpp, comm/ok_topk.hpp), and comm/reproducible.hpp. A request that moves
// a small state machine on, the list of those in flight, a pool of them, tags, and counting.
//
// An operation derives from stepwise::operation<C> and has
//
//   bool advance()             goes on as far as it can without waiting; true when all is done
//   void block()               after advance() gave false: waits for a message without which nothing goes on
//   void forget() noexcept     drops its messages (their requests wait, or give up when the group has failed)
//   std::size_t bytes() const  memory that it keeps for reuse

namespace entrain::comm {

// What a rank has put on the wire for one operation, exactly.
struct sent_messages {
  std::uint64_t messages = 0, bytes = 0;
  friend bool operator==(const sent_messages&, const sent_messages&) = default;
};

namespace stepwise {

// First of four tags of this call: differs from all others in flight, the same on all ranks of the group.
template <class C>
int next_tag(C& c) {
  constexpr int first = schedule::tag_of(0) + schedule::tags_in_rotation + 64, tags = 4, rotation = 1900;
  return first + tags * int(c.sequence()++ % std::uint64_t(rotation));
}

template <communicator C>
class operation {
 public:
  operation *previous = nullptr, *next = nullptr;  // in the thread's list
  bool (*move)(operation&) = nullptr;
  bool complete = false;
  std::uint64_t moves = 0;  // grows whenever something has happened
  sent_messages sent;

  C& comm() const { return *comm_; }

 protected:
  void begin(C& c) {
    comm_ = &c, tag_ = next_tag(c), complete = false, sent = {};
  }
  template <class T>
  typename C::request send(view<const T> data, int peer, int which = 0) {
    ++sent.messages, sent.bytes += data.size_bytes();
    traffic& counted = comm_->counters();
    ++counted.wire_messages, counted.wire_bytes += data.size_bytes();
    return comm_->start_send(data, peer, tag_ + which);
  }
  template <class T>
  typename C::request receive(view<T> data, int peer, int which = 0) {
    return comm_->start_receive(data, peer, tag_ + which);
  }
  void computed([[maybe_unused]] std::size_t bytes) {
    if constexpr (requires(C& c) { c.computed(bytes); }) comm_->computed(bytes);
  }

 private:
  C* comm_ = nullptr;
  int tag_ = 0;
};

// This thread's operations in flight. Waiting for one moves all of them on (and the programs of comm/schedule), so ranks
// may wait for theirs in any order.
template <communicator C>
class in_flight {
 public:
  static in_flight& of_this_thread() {
    thread_local in_flight all;
    return all;
  }
  void add(operation<C>& op) {
    op.previous = nullptr, op.next = first_;
    if (first_) first_->previous = &op;
    first_ = &op;
  }
  void remove(operation<C>& op) noexcept {
    (op.previous ? op.previous->next : first_) = op.next;
    if (op.next) op.next->previous = op.previous;
  }
  bool empty() const { return first_ == nullptr; }
  bool only(const operation<C>& op) const { return first_ == &op && !op.next && schedule::executions<C>::of_this_thread().empty(); }

  // True if anything happened.
  bool advance() {
    bool moved = schedule::executions<C>::of_this_thread().advance();
    for (auto* op = first_; op; op = op->next) {
      const auto before = op->moves;
      if (!op->complete) op->complete = op->move(*op);
      moved |= op->moves != before || op->complete;
    }
    return moved;
  }

  void wait(const operation<C>& op) {
    using clock = std::chrono::steady_clock;
    clock::time_point quiet_since{};
    while (advance(), !op.complete) {
      std::this_thread::yield();
      if constexpr (requires(C& c) { c.deadline(); }) {
        const auto deadline = op.comm().deadline();
        const auto now = clock::now();
        if (quiet_since == clock::time_point{} || op.moves != seen_) quiet_since = now, seen_ = op.moves;
        else if (deadline.count() > 0 && now - quiet_since > deadline)
          throw communication_error(entrain::detail::text("comm, rank ", op.comm().rank(), " of ", op.comm().size()),
                                    "collectives in flight made no progress within the deadline");
      }
    }
  }

 private:
  operation<C>* first_ = nullptr;
  std::uint64_t seen_ = 0;
};

// Operations are reused: once as many have been in flight, with as much memory, as the program ever has, nothing is
// allocated. One pool a thread and type; the smallest that is large enough is taken, else the largest.
template <class Operation>
class pooled {
 public:
  pooled() = default;
  explicit pooled(std::size_t bytes) {
    auto& free = pool();
    std::size_t best = free.size();
    for (std::size_t i = 0; i < free.size(); ++i) {
      const auto have = free[i]->bytes();
      if (best == free.size()) best = i;
      else if (const auto kept = free[best]->bytes(); kept < bytes ? have > kept : have >= bytes && have < kept) best = i;
    }
    if (best == free.size()) {
      held_ = std::make_unique<Operation>();
    } else {
      held_ = std::move(free[best]);
      free[best] = std::move(free.back());
      free.pop_back();
    }
  }
  pooled(pooled&& other) noexcept : held_(std::move(other.held_)) {}
  pooled& operator=(pooled&& other) noexcept {
    std::swap(held_, other.held_);
    return *this;
  }
  ~pooled() { give_back(); }

  explicit operator bool() const { return held_ != nullptr; }
  Operation* operator->() const { return held_.get(); }
  Operation& operator*() const { return *held_; }
  void give_back() noexcept {
    if (!held_) return;
    try {
      pool().push_back(std::move(held_));
    } catch (...) {
      held_.reset();
    }
  }

 private:
  static std::vector<std::unique_ptr<Operation>>& pool() {
    thread_local std::vector<std::unique_ptr<Operation>> free;
    if (free.capacity() == 0) free.reserve(64);
    return free;
  }
  std::unique_ptr<Operation> held_;
};

// An operation in flight. Movable; default: complete. test() does not block; wait() returns when it is complete; both move
// on everything of this kind that the thread has in flight, so requests may be waited for in any order. Destroying an
// incomplete one waits, unless an exception is passing.
template <communicator C, class Operation>
class request {
 public:
  request() = default;
  explicit request(pooled<Operation> started) : operation_(std::move(started)), exceptions_(std::uncaught_exceptions()) {
    operation_->move = [](operation<C>& op) { return static_cast<Operation&>(op).advance(); };
    in_flight<C>::of_this_thread().add(*operation_);
  }
  request(request&&) noexcept = default;
  request& operator=(request&& other) noexcept {
    std::swap(operation_, other.operation_);
    std::swap(exceptions_, other.exceptions_);
    std::swap(sent_, other.sent_);
    return *this;
  }
  ~request() {
    if (!operation_) return;
    try {
      if (std::uncaught_exceptions() == exceptions_) wait();
    } catch (...) {}  // the group has failed, and says so at its next call
    if (operation_) leave();
  }

  bool test() {
    if (!operation_) return true;
    in_flight<C>::of_this_thread().advance();
    if (!operation_->complete) return false;
    leave();
    return true;
  }
  void wait() {
    if (!operation_) return;
    auto& all = in_flight<C>::of_this_thread();
    if (all.only(*operation_)) {
      while (!operation_->complete && !(operation_->complete = operation_->advance())) operation_->block();
    } else {
      all.wait(*operation_);
    }
    leave();
  }
  // What this rank has sent for it: final once it is complete.
  sent_messages sent() const { return operation_ ? operation_->sent : sent_; }

 private:
  void leave() noexcept {
    sent_ = operation_->sent;
    in_flight<C>::of_this_thread().remove(*operation_);
    operation_->forget();
    operation_.give_back();
  }
  pooled<Operation> operation_;
  int exceptions_ = 0;
  sent_messages sent_{};
};

// For lists of messages.
template <class R>
bool test_all(std::vector<R>& messages) {
  while (!messages.empty() && messages.back().test()) messages.pop_back();
  return messages.empty();
}
template <class R>
bool wait_for_one(std::vector<R>& messages) {
  if (messages.empty()) return false;
  messages.back().wait();
  messages.pop_back();
  return true;
}

}  // namespace stepwise

}  // namespace entrain::comm
