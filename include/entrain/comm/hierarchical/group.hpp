// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/progress.hpp>
#include <entrain/core/memory.hpp>

// What the copies of a hierarchical communicator share (the groups inside and across nodes, and where every rank is), and the
// operations in flight.

namespace entrain::comm::hierarchical_detail {

// Who is where. Nodes are numbered in the order of their lowest ranks.
struct layout {
  layout() = default;
  layout(const std::vector<int>& numbers, int rank) {
    std::vector<int> known, ranks;
    for (const int n : numbers) {
      auto at = std::find(known.begin(), known.end(), n);
      if (at == known.end()) at = known.insert(known.end(), n), ranks.push_back(0);
      node_of.push_back(int(at - known.begin()));
      place_of.push_back(ranks[std::size_t(node_of.back())]++);
    }
    nodes = int(known.size()), node = node_of[std::size_t(rank)], place = place_of[std::size_t(rank)];
    equal = std::count(ranks.begin(), ranks.end(), ranks.front()) == std::ptrdiff_t(ranks.size());
    in_order = std::is_sorted(node_of.begin(), node_of.end());
  }
  std::vector<int> node_of, place_of;  // of each rank: its node, and its rank inside
  int nodes = 1, node = 0, place = 0;
  bool equal = true;     // all nodes have the same number of ranks
  bool in_order = true;  // nodes hold consecutive ranks
};

template <communicator C>
layout meet(C& world, int number) {
  if constexpr (!native_always<C>) comm::agree_on_profile(world);
  std::vector<int> numbers(static_cast<std::size_t>(world.size()));
  comm::all_gather(world, view<const int>(&number, 1), numbers);
  return layout(numbers, world.rank());
}

template <communicator C>
struct operation;

// Each stage has a group of its own, on which operations begin in the order in which they were started: so all ranks call the same
// collectives in the same order on each, while several operations are under way in different stages.
template <communicator C>
struct group {
  group(C& outer, int node_number)
      : world(&outer), number(node_number), where(meet(outer, node_number)), inside(outer.split(where.node, outer.rank())),
        across(outer.split(where.place, where.node)), inside_again(outer.split(where.node, outer.rank())) {}
  group(std::unique_ptr<C> part, int node_number) : group(*part, node_number) { own = std::move(part); }

  std::unique_ptr<C> own;  // of a part made by split()
  C* world;
  int number;
  layout where;
  C inside;        // stage 0
  C across;        // stage 1: the ranks that have my place in their nodes, in the order of the nodes
  C inside_again;  // stage 2
  operation<C>* latest = nullptr;
  traffic counted{};
};

inline constexpr int stages_of_all = 3;

// One collective in flight: three stages, each of which may start something; the next begins when that is complete and the operation
// before has begun it.
template <communicator C>
struct operation : in_flight {
  struct arguments {
    const void* in = nullptr;
    void* out = nullptr;
    std::size_t count = 0;
    int root = 0;
  };
  using stages = void (*)(operation&, int stage);

  std::shared_ptr<group<C>> on;
  stages begin = nullptr;
  arguments with;
  int stage = 0;
  bool complete = false;
  pending<C> first, second;  // what the stage under way has started
  buffer<std::byte> scratch;
  operation *before = nullptr, *after = nullptr;  // of this group, in the order of their start

  void start() {
    before = on->latest, after = nullptr, on->latest = this;
    if (before) before->after = this;
    stage = 0, complete = false;
    move = [](in_flight& self) { return static_cast<operation&>(self).advance(); };
    const turn mine(*this);
    begin(*this, 0);
    advance();
  }
  bool advance() {
    bool moved = false;
    while (!complete && first.test() && second.test()) {
      if (stage + 1 < stages_of_all && before && before->stage <= stage) return moved;
      if (++stage == stages_of_all) leave();
      else begin(*this, stage);
      moved = true;
    }
    return moved;
  }
  void leave() {
    complete = true;
    if (before) before->after = after;
    if (after) after->before = before;
    if (on->latest == this) on->latest = before;
    before = after = nullptr;
  }
  void block() {
    const turn mine(*this);
    first.wait();
    second.wait();
    advance();
  }
  template <class T>
  view<T> memory(std::size_t count) {
    if (scratch.size() < count * sizeof(T)) scratch = buffer<std::byte>(count * sizeof(T));
    return {reinterpret_cast<T*>(scratch.data()), count};
  }
};

// The operations of this thread: in flight, and for reuse.
template <communicator C>
class operations {
 public:
  static operation<C>& take() {
    auto& free = pool();
    std::unique_ptr<operation<C>> taken = free.empty() ? std::make_unique<operation<C>>() : std::move(free.back());
    if (!free.empty()) free.pop_back();
    progress_list::of_this_thread().add(*taken);
    return *taken.release();
  }
  static void give_back(operation<C>& op) noexcept {
    progress_list::of_this_thread().remove(op);
    if (op.on && !op.complete) op.leave();
    op.on.reset();
    std::unique_ptr<operation<C>> owner(&op);
    try {
      pool().push_back(std::move(owner));
    } catch (...) {}  // freed
  }

 private:
  static std::vector<std::unique_ptr<operation<C>>>& pool() {
    thread_local std::vector<std::unique_ptr<operation<C>>> free;
    return free;
  }
};

}  // namespace entrain::comm::hierarchical_detail
