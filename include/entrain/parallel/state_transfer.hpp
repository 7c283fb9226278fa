// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>

// Saving and loading the state that every rank holds a version of (residuals of error feedback): rank 0 gathers one row a
// rank into a tensor [ranks, n]. Loaded by as many ranks, each gets its row back, bit for bit. Loaded by another number of
// ranks, each gets an equal share of the sum of the rows, so that no part of an error memory is lost.
//
// A sink is called on rank 0 only: sink(name, std::span<const T>, shape); it refers to the values until the file has been
// written, and keep(vector) makes it own values that would not live so long. A source answers on every rank:
// contains(name), shape_of(name), read(name, std::span<T>).

namespace entrain::parallel {

template <class Communicator, class Sink>
struct row_saver {
  Communicator& comm;
  Sink& sink;
  std::string prefix;

  template <class T>
  void operator()(std::string_view name, std::span<T> own) const {
    std::vector<T> rows(comm.rank() == 0 ? own.size() * std::size_t(comm.size()) : 0);
    comm::gather(comm, view<const T>(own.data(), own.size()), view<T>(rows.data(), rows.size()), 0);
    if (comm.rank() == 0) sink(prefix + "." + std::string(name), sink.keep(std::move(rows)), shape{std::size_t(comm.size()), own.size()});
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  void operator()(std::string_view name, T& own) const { (*this)(name, std::span<T>(&own, 1)); }
};

template <class Communicator, class Source>
struct row_loader {
  Communicator& comm;
  Source& source;
  std::string prefix;

  template <class T>
  void operator()(std::string_view name, std::span<T> own) const {
    const std::string full = prefix + "." + std::string(name);
    const std::size_t saved_ranks = source.shape_of(full).at(0), ranks = std::size_t(comm.size());
    std::vector<T> rows(own.size() * saved_ranks);
    source.read(full, std::span<T>(rows));
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (saved_ranks == ranks) {
        own[i] = rows[own.size() * std::size_t(comm.rank()) + i];
        continue;
      }
      double total = 0;
      for (std::size_t r = 0; r < saved_ranks; ++r) total += double(rows[own.size() * r + i]);
      own[i] = T(total / double(ranks));
    }
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  void operator()(std::string_view name, T& own) const { (*this)(name, std::span<T>(&own, 1)); }
};

}  // namespace entrain::parallel
