// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <entrain/checkpoint/archive.hpp>
#include <entrain/comm/collectives.hpp>
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

}  // namespace entrain::detail
