// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/core/memory.hpp>

// One all-reduce by sum of memory that the host cannot read, in place: an algorithm of comm/algorithms/, whose messages go straight from
// and to that memory and whose additions are kernels (add(engine, left, right, sum, n), found by argument-dependent look-up).
//
// Neither MPI nor its messages know streams, so the host stands between: it starts the messages of a round when it has seen the event
// behind everything that the device was given before (at first what makes the operand final, later the additions of the round before),
// and gives the device the additions when it has seen that the messages are complete. Hence
//  - no message reads or overwrites memory on which the device still works: begin_round() is reached with works_ false alone, and works_
//    is set with every mark and reset only by the event;
//  - no kernel reads what has not arrived: kernels are launched after the messages are complete, which for MPI means that what it wrote
//    can be read by any work started later;
//  - when done() is true messages and kernels are over and the host knows, so that whatever the device is given from then on, on any
//    stream, finds the sum.
// That holds for every order in which the device does things, and does not count on its doing them at once.
//
// Cost: that of the algorithm, a launch and an event a round. Memory: the algorithm's scratch elements, on the device, from the beginning.

namespace entrain::parallel {

template <class T, class Engine, class Communicator>
class device_sum {
  using space = typename Engine::space;
  using event = typename Engine::event;
  using step = comm::schedule::step;

 public:
  // Messages go over `messages` by this tag, additions on `beside`, which must not be the queue of the arithmetic.
  device_sum(const comm::algorithm& how, const Communicator& messages, const Engine& beside, std::size_t count, int tag) : beside_(beside), tag_(tag) {
    how.write(program_, {.kind = comm::collective::all_reduce, .rank = messages.rank(), .size = messages.size(), .count = count, .width = sizeof(T)});
    scratch_ = buffer<T, space>(program_.scratch_elements());
    messages_.reserve(program_.steps().size());
  }

  // The sum of `operand` over ranks begins when `arithmetic` has done what it has been given so far.
  void start(T* operand, const Engine& arithmetic) {
    operand_ = operand;
    at_ = 0, done_ = false;
    arithmetic.mark(reached_);
    works_ = true;
  }

  bool done() const { return done_; }

  // Goes on as far as it can without waiting; true when done.
  bool advance(Communicator& messages, comm::traffic& counted) {
    while (!done_) {
      if (works_ && !reached_.reached()) return false;
      works_ = false;
      for (; arrived_ < messages_.size(); ++arrived_)
        if (!messages_[arrived_].test()) return false;
      messages_.clear();
      arrived_ = 0;
      if (at_ == program_.steps().size()) done_ = true;
      else if (is_message(program_.steps()[at_])) begin_round(messages, counted);
      else work();
    }
    return true;
  }

 private:
  static bool is_message(const step& s) { return s.what == step::kind::send || s.what == step::kind::receive; }
  T* address(const comm::schedule::region& r) const { return (r.where == comm::schedule::place::scratch ? scratch_.data() : operand_) + r.offset; }

  // Receives first: what arrives finds its place.
  void begin_round(Communicator& messages, comm::traffic& counted) {
    const auto steps = program_.steps();
    std::size_t end = at_ + 1;
    while (end < steps.size() && is_message(steps[end]) && !steps[end].begins_round) ++end;
    const auto round = steps.subspan(at_, end - at_);
    for (const step& s : round)
      if (s.what == step::kind::receive) messages_.push_back(messages.start_receive(view<T, space>(address(s.to), s.to.count), s.peer, tag_));
    for (const step& s : round)
      if (s.what == step::kind::send) {
        messages_.push_back(messages.start_send(view<const T, space>(address(s.from), s.from.count), s.peer, tag_));
        ++counted.wire_messages, counted.wire_bytes += s.from.count * sizeof(T);
      }
    at_ = end;
  }
  // The local steps up to the next message.
  void work() {
    for (const auto steps = program_.steps(); at_ < steps.size() && !is_message(steps[at_]); ++at_) {
      const step& s = steps[at_];
      const T* from = address(s.from);
      if (s.what == step::kind::copy) beside_.copy(from, address(s.to), s.to.count);
      else add(beside_, from, static_cast<const T*>(address(s.second)), address(s.to), s.to.count);
    }
    beside_.mark(reached_);
    works_ = true;
  }

  Engine beside_;
  int tag_;
  comm::schedule::program program_;
  buffer<T, space> scratch_;
  T* operand_ = nullptr;
  std::size_t at_ = 0, arrived_ = 0;  // next step; messages of the round that are complete
  bool works_ = false, done_ = true;
  event reached_;
  std::vector<typename Communicator::request> messages_;
};

}  // namespace entrain::parallel
