// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include <entrain/comm/concepts.hpp>
#include <entrain/comm/progress.hpp>
#include <entrain/comm/schedule/execution.hpp>

// What collectives share that no fixed program (comm/schedule/program.hpp) can describe, because what they send depends on
// the data: the sparse ones (comm/sparse_all_reduce.hpp, comm/ok_topk.hpp), and comm/reproducible.hpp. A request that moves
// a small state machine on, a pool of such machines, tags, and counting.
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
class operation : public in_flight {
 public:
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

  // How many are in flight at once is a matter of timing, so who must never allocate asks beforehand: one operation for each element
  // of `wanted`, all at once, with the memory that prepare(operation, element) gives it.
  template <class Wanted, class Prepare>
  static void reserve(const Wanted& wanted, std::size_t (*bytes)(const typename Wanted::value_type&), Prepare&& prepare) {
    std::vector<pooled> all;
    for (const auto& each : wanted) {
      all.emplace_back(bytes(each));
      prepare(*all.back(), each);
    }
    pool().reserve(pool().size() + all.size());
  }

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
// on everything that the thread has in flight (comm/progress.hpp), so requests may be waited for in any order. Destroying an
// incomplete one waits, unless an exception is passing.
template <communicator C, class Operation>
class request {
 public:
  request() = default;
  explicit request(pooled<Operation> started) : operation_(std::move(started)), exceptions_(std::uncaught_exceptions()) {
    operation_->move = [](in_flight& any) {
      auto& op = static_cast<Operation&>(any);
      if (op.complete) return false;
      const auto before = op.moves;
      op.complete = op.advance();
      return op.complete || op.moves != before;
    };
    progress_list::of_this_thread().add(*operation_);
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
    progress_list::of_this_thread().advance();
    if (!operation_->complete) return false;
    leave();
    return true;
  }
  void wait() {
    if (!operation_) return;
    auto& all = progress_list::of_this_thread();
    while (!operation_->complete) {
      if (!all.only(*operation_)) all.wait(operation_->comm(), [&] { return operation_->complete; });
      else if (!(operation_->complete = operation_->advance())) operation_->block();
    }
    leave();
  }
  // What this rank has sent for it: final once it is complete.
  sent_messages sent() const { return operation_ ? operation_->sent : sent_; }

 private:
  void leave() noexcept {
    sent_ = operation_->sent;
    progress_list::of_this_thread().remove(*operation_);
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
