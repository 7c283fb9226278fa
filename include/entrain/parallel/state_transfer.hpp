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
// ranks,
//   - of a span each gets an equal share of the sum of the rows, so that no part of an error memory is lost;
//   - a span whose name begins with "part_" lies cut over the ranks (part r belongs to rank r): it is put together and cut anew;
//   - a span whose name begins with "same_" is equal on all ranks, and stays so;
//   - of a scalar each gets the mean.
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
    const auto saved = source.shape_of(full);
    const std::size_t rows = saved.at(0), length = saved.at(1), n = own.size(), ranks = std::size_t(comm.size()), me = std::size_t(comm.rank());
    const bool cut = rows != ranks && name.find("part_") != std::string_view::npos;
    if (!cut && length != n) throw file_error("checkpoint", "'" + full + "' has another length", entrain::detail::text(n), entrain::detail::text(length));
    std::vector<T> all(rows * length);
    source.read(full, std::span<T>(all));
    for (std::size_t i = 0; i < n; ++i) {
      if (rows == ranks) own[i] = all[n * me + i];
      else if (name.find("same_") != std::string_view::npos) own[i] = all[i];
      else if (cut) own[i] = n * me + i < all.size() ? all[n * me + i] : T{};
      else own[i] = T(sum_of_rows(all, length, i) / double(ranks));
    }
  }
  template <class T>
    requires std::is_arithmetic_v<T>
  void operator()(std::string_view name, T& own) const {
    const std::string full = prefix + "." + std::string(name);
    const std::size_t rows = source.shape_of(full).at(0);
    std::vector<T> all(rows);
    source.read(full, std::span<T>(all));
    own = rows == std::size_t(comm.size()) ? all[std::size_t(comm.rank())] : T(sum_of_rows(all, 1, 0) / double(rows));
  }

 private:
  template <class T>
  static double sum_of_rows(const std::vector<T>& all, std::size_t length, std::size_t i) {
    double total = 0;
    for (std::size_t at = i; at < all.size(); at += length) total += double(all[at]);
    return total;
  }
};

}  // namespace entrain::parallel
