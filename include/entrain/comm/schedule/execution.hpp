// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/comm/progress.hpp>
#include <entrain/core/config.hpp>
#include <entrain/core/dtype.hpp>
#include <entrain/core/memory.hpp>

// Carries out programs (comm/schedule/program.hpp) over a communicator's messages: a round's messages are started together,
// and each look at them (advance) goes on as far as it can without waiting (comm/progress.hpp). Elements travel as bytes.
//
// Executions and their memory are pooled a thread: nothing is allocated when a shape has been seen before.

namespace entrain::comm::schedule {

// to[i] = a[i] op b[i].
using combine_function = void (*)(const void* a, const void* b, void* to, std::size_t n);

template <class T, class Op>
void combine_elements(const void* a, const void* b, void* to, std::size_t n) {
  const T *left = static_cast<const T*>(a), *right = static_cast<const T*>(b);
  T* result = static_cast<T*>(to);
  ENTRAIN_VECTORISE
  for (std::size_t i = 0; i < n; ++i) result[i] = Op::combine(left[i], right[i]);
}

// Memory and meaning of one call.
struct operands {
  const void* in = nullptr;
  void* out = nullptr;
  std::size_t width = 1;
  dtype type = dtype::bytes;
  combine_function combine = nullptr;
};

// Tags of collectives built from messages: those in flight at the same time differ, and all ranks of a group count alike.
inline constexpr int tags_in_rotation = 1 << 13;
constexpr int tag_of(std::uint64_t sequence) { return first_rotating_tag + int(sequence % std::uint64_t(tags_in_rotation)); }

template <communicator C>
class execution : public in_flight {
 public:
  // Writes the program and starts its first round. Communicator and operands must stay until it is complete.
  void start(C& c, const algorithm& how, const problem& what, const operands& memory) {
    comm_ = &c, memory_ = memory;
    move = [](in_flight& self) { return static_cast<execution&>(self).advance(); };
    exceptions_ = std::uncaught_exceptions();
    tag_ = tag_of(c.sequence()++);
    program_.clear();
    how.write(program_, what);
    const std::size_t bytes = program_.scratch_elements() * memory.width;
    if (scratch_.size() < bytes) scratch_ = buffer<std::byte>(bytes);
    at_ = 0;
    if constexpr (requires { c.begin_collective(what.kind, memory.type, what.count, what.root); })
      event_ = c.begin_collective(what.kind, memory.type, what.count, what.root);
    const turn mine(*this);
    begin_round();
    if (messages_.empty()) advance();
  }

  bool complete() const { return messages_.empty() && at_ == program_.steps().size(); }

  // Goes on as far as possible without waiting; true if anything happened.
  bool advance() {
    bool moved = false;
    while (!complete() && arrived()) {
      work();
      begin_round();
      moved = true;
    }
    return moved;
  }
  // Waits for this round's messages, then goes on.
  void block() {
    const turn mine(*this);
    for (; first_waiting_ < messages_.size(); ++first_waiting_) messages_[first_waiting_].wait();
    work();
    begin_round();
  }

  void finish() {
    if constexpr (requires(C& c) { c.end_collective(event_); }) comm_->end_collective(event_);
  }
  // The operands are free when it returns; waits for messages under way as their back-end sees fit after a failure.
  void abandon() noexcept {
    messages_.clear();
    at_ = program_.steps().size();
  }
  bool unwinding() const { return std::uncaught_exceptions() > exceptions_; }
  C& comm() const { return *comm_; }

 private:
  std::byte* address(const region& r) {
    std::byte* base = r.where == place::scratch ? scratch_.data()
                      : r.where == place::out   ? static_cast<std::byte*>(memory_.out)
                                                : static_cast<std::byte*>(const_cast<void*>(memory_.in));
    return base + r.offset * memory_.width;
  }

  // Starts the messages of the round at `at_`, receives first: what arrives finds its place.
  void begin_round() {
    messages_.clear();
    first_waiting_ = 0;
    const auto steps = program_.steps();
    std::size_t end = at_;
    while (end < steps.size() && is_message(steps[end]) && (end == at_ || !steps[end].begins_round)) ++end;
    for (std::size_t i = at_; i < end; ++i)
      if (const step& s = steps[i]; s.what == step::kind::receive)
        messages_.push_back(comm_->start_receive(view<std::byte>(address(s.to), s.to.count * memory_.width), s.peer, tag_));
    for (std::size_t i = at_; i < end; ++i)
      if (const step& s = steps[i]; s.what == step::kind::send) {
        const std::size_t bytes = s.from.count * memory_.width;
        messages_.push_back(comm_->start_send(view<const std::byte>(address(s.from), bytes), s.peer, tag_));
        traffic& counted = comm_->counters();
        ++counted.wire_messages, counted.wire_bytes += bytes;
      }
    at_ = end;
  }
  static bool is_message(const step& s) { return s.what == step::kind::send || s.what == step::kind::receive; }

  bool arrived() {
    while (first_waiting_ < messages_.size() && messages_[first_waiting_].test()) ++first_waiting_;
    return first_waiting_ == messages_.size();
  }

  // The local steps up to the next message.
  void work() {
    messages_.clear();
    first_waiting_ = 0;
    const auto steps = program_.steps();
    for (; at_ < steps.size() && !is_message(steps[at_]); ++at_) {
      const step& s = steps[at_];
      const std::size_t bytes = s.to.count * memory_.width;
      std::byte *from = address(s.from), *to = address(s.to);
      if (s.what == step::kind::copy) {
        if (from != to) std::memmove(to, from, bytes);
      } else {
        memory_.combine(from, address(s.second), to, s.to.count);
        if constexpr (requires(C& c) { c.computed(bytes); }) comm_->computed(bytes);
      }
    }
  }

  C* comm_ = nullptr;
  operands memory_;
  int tag_ = 0, exceptions_ = 0;
  std::uint64_t event_ = 0;
  program program_;
  std::size_t at_ = 0, first_waiting_ = 0;
  std::vector<typename C::request> messages_;  // of the round under way
  buffer<std::byte> scratch_;
};

// The executions of this thread, in flight and for reuse.
template <communicator C>
class executions {
 public:
  static execution<C>& start(C& c, const algorithm& how, const problem& what, const operands& memory) {
    auto& free = pool();
    std::unique_ptr<execution<C>> taken = free.empty() ? std::make_unique<execution<C>>() : std::move(free.back());
    if (!free.empty()) free.pop_back();
    taken->start(c, how, what, memory);
    progress_list::of_this_thread().add(*taken);
    return *taken.release();
  }
  static void give_back(execution<C>& e) noexcept {
    progress_list::of_this_thread().remove(e);
    std::unique_ptr<execution<C>> back(&e);
    try {
      pool().push_back(std::move(back));
    } catch (...) {}  // freed
  }

 private:
  static std::vector<std::unique_ptr<execution<C>>>& pool() {
    thread_local std::vector<std::unique_ptr<execution<C>>> free;
    return free;
  }
};

}  // namespace entrain::comm::schedule
