// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/algorithms/table.hpp>
#include <entrain/comm/cost_model.hpp>

// Which algorithm a collective goes by: the one of comm/algorithms/table.hpp, or the communicator's native one, that the cost model
// predicts to be done first.
//
//   comm::choice c = comm::choose("mpi", "native", problem, Op::commutative);
//   if (c.built) ... messages by *c.built ...; else ... the native collective ...
//
// Ranks must choose alike, so the choice depends only on what all ranks know to be equal: collective, ranks, count, width, whether the
// operation commutes, ranks a node, and the profile; not on rank, root, memory, or being in place. all_gather_v goes by the sum of its
// counts, all_to_all_v (whose counts each rank knows only a part of) by none of them. Of equals the first wins: native, then the table's order.
//
// Cost: a shape (all but the count) is turned into a table of breakpoints when a thread meets it first; after that a choice is a
// search in an array, without lock, allocation or arithmetic on costs.

namespace entrain::comm {

struct choice {
  const algorithm* built = nullptr;  // null: native
  double seconds = 0;                // predicted, interpolated (comm::predicted_seconds is exact)
};

// What the communicator is called in profiles: cost_name(), a member of communicators that know better (say, on how many nodes they
// are), or its type's name.
template <class C>
std::string_view cost_name_of(const C& c) {
  if constexpr (requires { { c.cost_name() } -> std::convertible_to<std::string_view>; }) return c.cost_name();
  else if constexpr (requires { { C::name } -> std::convertible_to<std::string_view>; }) return C::name;
  else return "*";
}
// What its native way of a collective of this many bytes (count times width of its problem) is called there: the member
// native_name(kind, bytes), or "native".
template <class C>
std::string_view native_name_of(const C& c, collective kind, std::size_t bytes) {
  if constexpr (requires { { c.native_name(kind, bytes) } -> std::convertible_to<std::string_view>; }) return c.native_name(kind, bytes);
  else return "native";
}
// Neighbouring ranks that reach each other faster: the member ranks_per_node(), or 1.
template <class C>
int ranks_per_node_of(const C& c) {
  if constexpr (requires { { c.ranks_per_node() } -> std::convertible_to<int>; }) return c.ranks_per_node();
  else return 1;
}

namespace selection_detail {

// Everything that a choice depends on but the count.
struct shape {
  std::string_view communicator, native;  // native empty: there is none
  collective kind;
  int ranks, ranks_per_node;
  std::size_t width;
  bool commutative;
  std::uint64_t profile;

  bool operator==(const shape&) const = default;
};

// One call of a shape, as its rank 0 sees it, with equal counts on all ranks. Holds the counts that the problem refers to.
class example {
 public:
  explicit example(const shape& s) {
    what_.kind = s.kind, what_.size = s.ranks, what_.width = s.width, what_.ranks_per_node = s.ranks_per_node;
    if (s.kind == collective::all_gather_v || s.kind == collective::all_to_all_v) counts_.resize(std::size_t(s.ranks));
  }
  const problem& with_count(std::size_t count) {
    what_.count = count;
    if (!counts_.empty()) {
      std::fill(counts_.begin(), counts_.end(), count);
      what_.counts = counts_;
      if (what_.kind == collective::all_to_all_v) what_.receive_counts = counts_;
    }
    return what_;
  }

 private:
  problem what_;
  std::vector<std::size_t> counts_;
};

struct candidate {
  const algorithm* built;
  const cost_entry* costs;
};

inline std::vector<candidate> candidates_of(const shape& s, const profile& costs) {
  std::vector<candidate> all;
  if (!s.native.empty()) all.push_back({nullptr, &entry_for(costs, s.communicator, s.kind, nullptr, s.native, s.ranks)});
  for (const algorithm* a : algorithms_of(s.kind))
    if (s.commutative || a->keeps_order) all.push_back({a, &entry_for(costs, s.communicator, s.kind, a, {}, s.ranks)});
  return all;
}

inline choice fastest(const std::vector<candidate>& all, const problem& c) {
  choice best{nullptr, -1};
  for (const candidate& one : all) {
    if (one.built && one.built->fits && !one.built->fits(c)) continue;
    const double t = predicted_seconds(*one.costs, one.built, c).seconds;
    if (best.seconds < 0 || t < best.seconds) best = {one.built, t};
  }
  return best;  // seconds < 0: nothing fits
}

// The fastest for every count: from counts[i] on it is choices[i].built; seconds are linear between the points.
struct breakpoints {
  std::vector<std::size_t> counts;
  std::vector<choice> choices;

  breakpoints(const shape& s, const profile& costs) {
    const auto all = candidates_of(s, costs);
    example call(s);
    const auto at = [&](std::size_t count) { return fastest(all, call.with_count(count)); };
    const std::size_t largest = std::max<std::size_t>((std::size_t(1) << 40) / (s.width * std::size_t(s.ranks)), 1);
    add(0, at(0));
    for (std::size_t low = 0; low < largest && s.kind != collective::barrier;) {
      const std::size_t high = low < 8 ? low + 1 : low + low / 4;
      const choice there = at(high);
      if (there.built != choices.back().built) {  // somewhere between
        std::size_t before = low, after = high;
        while (after - before > 1) {
          const std::size_t middle = before + (after - before) / 2;
          (at(middle).built == choices.back().built ? before : after) = middle;
        }
        if (after < high) add(before, at(before)), add(after, at(after));
      }
      add(low = high, there);
    }
  }
  void add(std::size_t count, const choice& what) {
    if (!counts.empty() && counts.back() == count) return;
    counts.push_back(count), choices.push_back(what);
  }

  choice at(std::size_t count) const {
    const auto i = std::size_t(std::upper_bound(counts.begin(), counts.end(), count) - counts.begin()) - 1;
    if (count == counts[i]) return choices[i];
    const std::size_t low = i + 1 < counts.size() ? i : i - (i > 0);  // beyond the last: as between the last two
    if (low + 1 >= counts.size()) return choices[i];
    const double share = double(count - counts[low]) / double(counts[low + 1] - counts[low]);
    return {choices[i].built, choices[low].seconds + share * (choices[low + 1].seconds - choices[low].seconds)};
  }
};

// The shapes that a thread has met.
class known_shapes {
 public:
  static known_shapes& of_this_thread() {
    thread_local known_shapes all;
    return all;
  }
  const breakpoints& operator()(const shape& s, const profile& costs) {
    if (last_ && last_->what == s) return last_->table;
    for (const auto& k : all_)
      if (k->what == s) return last_ = k.get(), k->table;
    all_.push_back(std::make_unique<known>(s, costs));
    return last_ = all_.back().get(), all_.back()->table;
  }

 private:
  struct known {
    known(const shape& s, const profile& costs) : communicator(s.communicator), native(s.native), what(s), table(s, costs) {
      what.communicator = communicator, what.native = native;
    }
    std::string communicator, native;  // what `what` refers to
    shape what;
    breakpoints table;
  };
  std::vector<std::unique_ptr<known>> all_;
  const known* last_ = nullptr;
};

// The count by which a call is looked up.
inline std::size_t count_of(const problem& c) {
  switch (c.kind) {
    case collective::barrier: return 0;
    case collective::all_to_all_v: return 1024;
    case collective::all_gather_v: {
      std::size_t total = 0;
      for (const auto n : c.counts) total += n;
      return (total + std::size_t(c.size) - 1) / std::size_t(c.size);
    }
    default: return c.count;
  }
}

}  // namespace selection_detail

// `native`: what the profile calls this communicator's native collectives; empty: it has none for this call.
// Errors: usage_error where nothing can do it (no native one, and the operation commutes in no algorithm's order).
inline choice choose(std::string_view communicator, std::string_view native, const problem& c, bool commutative, const profile& costs = current_profile()) {
  using namespace selection_detail;
  const shape s{communicator, native, c.kind, c.size, c.ranks_per_node, c.width, commutative, costs.signature()};
  choice found = known_shapes::of_this_thread()(s, costs).at(count_of(c));
  // A table knows root 0 and its own counts; an algorithm may refuse this very call.
  const bool impossible = found.built ? found.built->fits && !found.built->fits(c) : native.empty();
  if (impossible) found = fastest(candidates_of(s, costs), c);
  if (found.seconds < 0)
    throw usage_error(entrain::detail::text("comm::", name_of(c.kind)), "neither native nor built from messages by any algorithm",
                      commutative ? "an algorithm that fits" : "an algorithm that keeps the order of operands", "none");
  return found;
}
template <std::same_as<bool> Possible>
choice choose(std::string_view communicator, Possible native_possible, const problem& c, bool commutative, const profile& costs = current_profile()) {
  return choose(communicator, std::string_view(native_possible ? "native" : ""), c, commutative, costs);
}

}  // namespace entrain::comm
