// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/comm/cost_model/built_in.hpp>
#include <entrain/comm/cost_model/profile.hpp>
#include <entrain/comm/cost_model/profile_file.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/memory.hpp>

// How long a collective takes, predicted: what its algorithm says that it does (comm/algorithm.hpp: messages, elements sent and
// combined on the longest path) times what that costs here (comm/cost_model/profile.hpp).
//
//   comm::prediction t = comm::predicted_seconds(comm::current_profile(), "mpi", comm::algorithms::ring_all_reduce,
//                                                {.kind = comm::collective::all_reduce, .size = 4, .count = n, .width = 4});
//
// The profile of a process is read once and never changes, so a run chooses the same algorithms from beginning to end. Ranks must
// have the same one; comm::agree_on_profile(world) makes sure.

namespace entrain::comm {

// The bytes by which ranges of a profile are told apart: of the whole operand, that is of all ranks' pieces where an operand has pieces.
inline std::uint64_t operand_bytes(const problem& c) {
  const auto p = std::uint64_t(c.size), n = std::uint64_t(c.count);
  switch (c.kind) {
    case collective::barrier: return 0;
    case collective::broadcast:
    case collective::reduce:
    case collective::all_reduce: return n * c.width;
    case collective::all_gather_v:
    case collective::all_to_all_v: {
      std::uint64_t total = 0;
      for (const auto count : c.counts) total += count;
      return total * c.width;
    }
    default: return p * n * c.width;
  }
}

// What a native collective is taken to do: the least that any algorithm can, on a full crossbar. Its profile is fitted
// to this, so that only the shape matters. Messages and elements that a rank sends are unknown and stay 0.
inline cost native_cost(const problem& c) {
  cost k;
  const double p = c.size, n = double(c.count);
  if (c.size == 1) return k;
  k.alphas = double(std::bit_width(unsigned(c.size) - 1));  // ceil(log2 p)
  switch (c.kind) {
    case collective::barrier: break;
    case collective::broadcast: k.betas = n; break;
    case collective::reduce: k.betas = n, k.gammas = n * (p - 1) / p; break;
    case collective::all_reduce: k.betas = 2 * n * (p - 1) / p, k.gammas = n * (p - 1) / p; break;
    case collective::reduce_scatter: k.betas = k.gammas = n * (p - 1); break;
    case collective::all_gather_v:
    case collective::all_to_all_v: k.betas = double(operand_bytes(c)) / double(c.width) * (p - 1) / p; break;
    default: k.betas = n * (p - 1);
  }
  return k;
}

inline double seconds(const cost& k, const link_cost& link, std::size_t width) {
  return link.alpha * k.alphas + double(width) * (link.beta * k.betas + link.gamma * k.gammas);
}

struct prediction {
  double seconds = 0;
  link_cost link;                    // the figures that were used
  const cost_entry* from = nullptr;  // the entry they stand in; ranks may be another number than asked for, namely the nearest measured one
};

// The entry for an algorithm, or for the native collective named `native` where `how` is null. A profile that says nothing is completed by
// the built-in one.
inline const cost_entry& entry_for(const profile& costs, std::string_view communicator, collective kind, const algorithm* how, std::string_view native, int ranks) {
  const std::string_view name = how ? how->name : native;
  if (const auto* found = costs.find(communicator, kind, name, !how, ranks)) return *found;
  return *built_in_profile().find(communicator, kind, name, !how, ranks);
}

inline prediction predicted_seconds(const cost_entry& entry, const algorithm* how, const problem& c) {
  prediction result;
  result.from = &entry, result.link = entry.at(operand_bytes(c));
  result.seconds = seconds(how ? how->predict(c) : native_cost(c), result.link, c.width);
  return result;
}
inline prediction predicted_seconds(const profile& costs, std::string_view communicator, const algorithm& how, const problem& c) {
  return predicted_seconds(entry_for(costs, communicator, c.kind, &how, {}, c.size), &how, c);
}
// Of the communicator's own collective, which it calls `native`.
inline prediction predicted_native_seconds(const profile& costs, std::string_view communicator, std::string_view native, const problem& c) {
  return predicted_seconds(entry_for(costs, communicator, c.kind, nullptr, native, c.size), nullptr, c);
}

// The profile of this process: the file that the environment variable ENTRAIN_PROFILE names, else the built-in one. Read at the first
// call and never again. Errors: file_error where the file is bad.
inline const profile& current_profile() {
  static const profile it = [] {
    const char* path = std::getenv("ENTRAIN_PROFILE");
    return path && *path ? read_profile(path) : built_in_profile();
  }();
  return it;
}

// Makes sure that all ranks predict alike: ranks with different profiles would choose different algorithms and wait for each other for
// ever. All ranks call it, once. Cost: 2 messages between rank 0 and every other; it chooses nothing itself.
// Errors: usage_error, the same on every rank, that names the ranks that differ from most.
template <communicator C>
void agree_on_profile(C& c, const profile& mine = current_profile()) {
  constexpr int tag = first_internal_tag + 32;
  const int p = c.size();
  std::vector<std::uint64_t> all(static_cast<std::size_t>(p), mine.signature());
  const auto of = [&](int r) { return view<std::uint64_t>(&all[std::size_t(r)], 1); };
  const view<std::uint64_t> whole(all.data(), all.size());
  if (c.rank() == 0) {
    for (int r = 1; r < p; ++r) c.start_receive(of(r), r, tag).wait();
    for (int r = 1; r < p; ++r) c.start_send(view<const std::uint64_t>(whole), r, tag).wait();
  } else {
    c.start_send(view<const std::uint64_t>(of(c.rank())), 0, tag).wait();
    c.start_receive(whole, 0, tag).wait();
  }
  const auto common = *std::max_element(all.begin(), all.end(), [&](auto a, auto b) {  // the first of the most frequent
    return std::count(all.begin(), all.end(), a) < std::count(all.begin(), all.end(), b);
  });
  std::string others;
  for (int r = 0; r < p; ++r)
    if (all[std::size_t(r)] != common) others += (others.empty() ? "" : ", ") + std::to_string(r);
  if (others.empty()) return;
  throw usage_error(entrain::detail::text("comm::agree_on_profile, rank ", c.rank(), " of ", p),
                    "ranks have different cost profiles and would choose different algorithms (this one has " + mine.origin() + ")",
                    "the same ENTRAIN_PROFILE on every rank", "another profile than most on rank(s) " + others);
}

}  // namespace entrain::comm
