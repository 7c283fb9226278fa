// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

// What one rank does in a collective, as data: messages and local work, in rounds.
//
//   s.receive(left, s.scratch(0, n));        // messages of a round start together ...
//   s.send(right, region::in(offset, n));
//   s.combine(s.scratch(0, n), region::in(at, n), region::out(at, n));   // ... and when all are complete, local work is done in order
//   s.send(...);                             // a message after local work begins the next round
//
// An algorithm writes the program (comm/algorithm.hpp); comm/schedule/execution.hpp carries it out over a communicator's
// messages, step by step and without blocking; comm/schedule/examine.hpp proves it right without any communicator. Offsets and counts
// are in elements; a program knows nothing of their type. Messages of no elements are left out: both ends know the size.
//
// Rules for who writes one. Sends to one peer and that peer's receives from here come in the same order. What a round sends
// is not written in that round. Rounds of different ranks need not correspond, but all messages of a round of a rank can be
// under way together. `in` may be the same memory as `out` (or a piece of it) as comm/traits.hpp says for the collective.

namespace entrain::comm::schedule {

enum class place : std::uint8_t { in, out, scratch };

// Elements [offset, offset + count) of the input, the output, or memory of the algorithm's own.
struct region {
  place where = place::in;
  std::size_t offset = 0, count = 0;

  static constexpr region in(std::size_t offset, std::size_t count) { return {place::in, offset, count}; }
  static constexpr region out(std::size_t offset, std::size_t count) { return {place::out, offset, count}; }
  static constexpr region scratch(std::size_t offset, std::size_t count) { return {place::scratch, offset, count}; }
  constexpr region part(std::size_t from, std::size_t n) const { return {where, offset + from, n}; }
  bool operator==(const region&) const = default;
};

struct step {
  enum class kind : std::uint8_t { send, receive, copy, combine };
  kind what = kind::copy;
  bool begins_round = false;
  int peer = -1;        // of a message
  region from, second;  // send, copy, combine
  region to;            // receive, copy, combine
};

class program {
 public:
  void clear() {
    steps_.clear();
    scratch_ = 0;
    new_round_ = true, local_ = false;
    inner_ = {};
  }
  std::span<const step> steps() const { return steps_; }
  std::size_t scratch_elements() const { return scratch_; }

  void send(int peer, region from) { message(step::kind::send, peer, from, {}); }
  void receive(int peer, region to) { message(step::kind::receive, peer, {}, to); }
  void copy(region from, region to) { local(step::kind::copy, from, {}, to); }
  // to[i] = left[i] op right[i]; to may be left or right. Operands of lower ranks stand left.
  void combine(region left, region right, region to) { local(step::kind::combine, left, right, to); }
  // The next message begins a round, though no local work has come between.
  void next_round() { new_round_ = true; }

  // Writes the program of another algorithm here: on the ranks first + stride * k, k = 0, 1, ..., with its input and output
  // at these regions of ours. Its scratch memory begins at `scratch` of ours.
  struct frame {
    int first = 0, stride = 1;
    region in = region::in(0, 0), out = region::out(0, 0);
    std::size_t scratch = 0;
  };
  template <class Write>
  void within(const frame& f, Write&& write) {
    const frame outer = inner_;
    inner_ = {outer.first + outer.stride * f.first, outer.stride * f.stride, moved(outer, f.in), moved(outer, f.out), outer.scratch + f.scratch};
    next_round();
    write();
    next_round();
    inner_ = outer;
  }

 private:
  static region moved(const frame& f, region r) {
    switch (r.where) {
      case place::in: return {f.in.where, f.in.offset + r.offset, r.count};
      case place::out: return {f.out.where, f.out.offset + r.offset, r.count};
      default: return {place::scratch, f.scratch + r.offset, r.count};
    }
  }
  region placed(region r) {
    const region there = moved(inner_, r);
    if (there.where == place::scratch) scratch_ = std::max(scratch_, there.offset + there.count);
    return there;
  }
  void message(step::kind what, int peer, region from, region to) {
    if (from.count + to.count == 0) return;
    const bool begins = new_round_ || local_;
    new_round_ = local_ = false;
    steps_.push_back({what, begins, inner_.first + inner_.stride * peer, placed(from), {}, placed(to)});
  }
  void local(step::kind what, region from, region second, region to) {
    if (to.count == 0) return;
    const step made{what, new_round_, -1, placed(from), placed(second), placed(to)};
    if (what == step::kind::copy && made.from == made.to) return;
    new_round_ = false, local_ = true;
    steps_.push_back(made);
  }

  std::vector<step> steps_;
  std::size_t scratch_ = 0;
  bool new_round_ = true, local_ = false;
  frame inner_;
};

}  // namespace entrain::comm::schedule
