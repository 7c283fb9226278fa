// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include <entrain/compress/cost.hpp>
#include <entrain/core/error.hpp>

// Which of the three ways of a sparse payload is cheapest between these ranks, by the cost model of their communicator.

namespace entrain::parallel::routes {

// To add one entry to the values: a cache miss, more or less. Only the relation to what the wires take matters.
inline constexpr double seconds_an_entry = 2e-9;

template <class Communicator>
compress::sparse_choice cheapest_way(const Communicator& comm, std::size_t values, std::size_t entries, std::size_t width, bool merges, bool variable, compress::way wanted) {
  return compress::choose_sparse(compress::wires_of(comm), values, entries, comm.size(), width, merges, seconds_an_entry, variable, wanted);
}

inline std::string explained(const compress::sparse_choice& c, std::size_t values, std::size_t entries, compress::way wanted) {
  const auto us = [](const compress::exchange_cost& e) { return entrain::detail::text(e.seconds() * 1e6, " us"); };
  return entrain::detail::text("at most ", entries, " of ", values, " values: ", compress::name_of(c.chosen), wanted == compress::way::cheapest ? "" : " (as asked for)", "; predicted: gather ",
                               us(c.gather), ", sparse ", us(c.sparse), ", dense ", us(c.dense));
}

}  // namespace entrain::parallel::routes
