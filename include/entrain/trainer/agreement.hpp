// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/parallel/plan.hpp>

// Ranks agree before they work: each says in 8 bytes a fact what it is about to do, and if they differ, every rank
// learns who does, instead of hanging in the first collective that does not match. Cost: one all-gather of 24 bytes and a
// pass over the parameters, once.

namespace entrain::detail {

struct fact {
  std::string_view what;
  std::uint64_t value;
};

// Of the values' bits, in order.
template <class T>
std::uint64_t hash_of(std::span<const T> values) {
  std::uint64_t hash = 0x9e3779b97f4a7c15ull;
  for (const T& x : values) {
    std::uint64_t bits = 0;
    if constexpr (sizeof(T) == 8) bits = std::bit_cast<std::uint64_t>(x);
    else if constexpr (sizeof(T) == 4) bits = std::bit_cast<std::uint32_t>(x);
    hash = std::rotl((hash ^ bits) * 0x9fb21c651e98df25ull, 29);
  }
  return hash;
}

template <class T>
std::vector<fact> agreed_facts(const parameter_layout& layout, const parallel::plan& plan, std::span<const T> parameters) {
  parallel::signature model, traffic;
  for (const auto& block : layout.blocks()) {
    model.add(block.name);
    for (const std::size_t d : block.dims) model.add(std::uint64_t(d));
  }
  for (const auto& entry : plan) {
    if (entry.peer >= 0) continue;  // messages differ from rank to rank by design
    traffic.add(entry.operation);
    traffic.add(std::uint64_t(entry.element_bytes) * entry.count);
  }
  return {{"the model's parameter blocks", model.value()}, {"the plan of a step (parallelism, compression, bucket sizes)", traffic.value()}, {"the parameters' first values", hash_of(parameters)}};
}

// Throws if a rank's facts, all[rank * facts.size() + i], are not those of rank 0. Apart from the communicator, so that it
// is compiled once.
[[gnu::noinline]] inline void compare_facts(std::string_view where, const std::vector<fact>& facts, const std::vector<std::uint64_t>& all) {
  for (std::size_t i = 0; i < facts.size(); ++i) {
    std::string differing;
    for (std::size_t r = 1; r * facts.size() < all.size(); ++r)
      if (all[r * facts.size() + i] != all[i]) (differing += differing.empty() ? "" : ", ") += std::to_string(r);
    if (!differing.empty())
      throw communication_error(std::string(where), text("ranks disagree about ", facts[i].what), "the same on every rank",
                                text("rank(s) ", differing, " unlike rank 0"));
  }
}

template <class Communicator>
void require_agreement(Communicator& comm, std::string_view where, const std::vector<fact>& facts) {
  if (comm.size() == 1) return;
  std::vector<std::uint64_t> mine, all(facts.size() * std::size_t(comm.size()));
  for (const auto& f : facts) mine.push_back(f.value);
  comm::all_gather(comm, view<const std::uint64_t>(mine.data(), mine.size()), view<std::uint64_t>(all.data(), all.size()));
  compare_facts(where, facts, all);
}

// Before the first collective, by plain messages: with other costs ranks would choose other algorithms, also for the comparison.
template <class Communicator>
void require_same_costs(Communicator& comm) {
  if constexpr (!comm::native_always<Communicator>)
    if (comm.size() > 1) comm::agree_on_profile(comm);
}

}  // namespace entrain::detail
