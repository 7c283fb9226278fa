// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <entrain/checkpoint/archive.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>

// Between a replica's state and a checkpoint: rank 0 collects and writes, tells the others which file to resume from, and
// every rank reads what it needs from it.

namespace entrain::detail {

// Collects tensors on rank 0. Arrays of the replica are referred to; temporary ones are kept until the file is written.
class collecting_sink {
 public:
  explicit collecting_sink(checkpoint::archive& out) : out_(out) {}
  template <class T>
  void operator()(std::string name, std::span<const T> values, const shape& dims) { out_.add(std::move(name), values, dims); }
  template <class T>
  std::span<const T> keep(std::vector<T> values) {
    auto owned = std::make_shared<std::vector<T>>(std::move(values));
    kept_.push_back(owned);
    return *owned;
  }

 private:
  checkpoint::archive& out_;
  std::vector<std::shared_ptr<void>> kept_;
};

struct reading_source {
  const checkpoint::loaded_archive& in;
  bool contains(const std::string& name) const { return in.contains(name); }
  shape shape_of(const std::string& name) const { return in.dims(name); }
  template <class T>
  void read(const std::string& name, std::span<T> out) const { in.read(name, out); }
};

// Rank 0's text on every rank.
template <class Communicator>
std::string broadcast_text(Communicator& comm, std::string text) {
  std::uint64_t length = text.size();
  comm::broadcast(comm, view<std::uint64_t>(&length, 1), 0);
  text.resize(length);
  comm::broadcast(comm, view<char>(text.data(), text.size()), 0);
  return text;
}

// Work that one rank does for all, such as writing a file: if it fails there, it fails everywhere, with rank 0's words,
// instead of leaving the others to wait.
template <class Communicator, class Work>
void on_rank_zero(Communicator& comm, std::string_view where, Work&& work) {
  std::string reason;
  std::exception_ptr original;
  if (comm.rank() == 0) {
    try {
      work();
    } catch (const std::exception& e) {
      original = std::current_exception();
      reason = *e.what() ? e.what() : "an exception without words";
    }
  }
  reason = broadcast_text(comm, std::move(reason));
  if (original) std::rethrow_exception(original);
  if (!reason.empty()) throw communication_error(std::string(where), "rank 0 failed: " + reason);
}

}  // namespace entrain::detail
