// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/core/layout.hpp>
#include <entrain/core/memory.hpp>
#include <entrain/parallel/plan.hpp>

// Which stages of a pipeline hold which parameter blocks. Most blocks live in one stage; a tied block (GPT's token table:
// first and last) lives in several, which must apply the same update. Its gradients are added in stage order by the first
// holder, the owner, and the sum goes back to the others. Cost a step: two messages for each further holder.

namespace entrain::parallel {

template <class Communicator>
class block_holders {
 public:
  static constexpr int message_tag = comm::first_internal_tag + 258;

  // cuts[s] is the first unit of stage s; rank r runs stage r.
  template <class Model>
  block_holders(Model& model, const parameter_layout& layout, const std::vector<std::size_t>& cuts, Communicator& comm)
      : comm_(comm), layout_(layout), rank_(std::size_t(comm.rank())), stages_(layout.blocks().size()) {
    for (std::size_t s = 0; s + 1 < cuts.size(); ++s)
      for (std::size_t u = cuts[s]; u < cuts[s + 1]; ++u)
        for (const std::size_t b : model.unit_blocks(u))
          if (stages_[b].empty() || stages_[b].back() != s) stages_[b].push_back(s);
    for (auto& s : stages_)
      if (s.empty()) s.push_back(0);
  }

  std::size_t size() const { return stages_.size(); }
  std::size_t owner(std::size_t block) const { return stages_[block].front(); }
  bool owned_here(std::size_t block) const { return owner(block) == rank_; }
  bool held_here(std::size_t block) const { return std::count(stages_[block].begin(), stages_[block].end(), rank_) > 0; }
  bool tied_here(std::size_t block) const { return stages_[block].size() > 1 && held_here(block); }

  template <class T>
  void sum_tied(view<T> gradient) {
    for (std::size_t b = 0; b < stages_.size(); ++b)
      if (tied_here(b)) sum_block(b, gradient.subview(layout_[b].offset, layout_[b].count));
  }

  void add_to(plan& p, std::size_t element_bytes) const {
    for (std::size_t b = 0; b < stages_.size(); ++b) {
      if (!tied_here(b)) continue;
      const auto message = [&](std::size_t peer) { p.push_back({"message", "tied gradient", element_bytes, layout_[b].count, int(peer)}); };
      if (!owned_here(b)) message(owner(b));
      else
        for (std::size_t h = 1; h < stages_[b].size(); ++h) message(stages_[b][h]);
    }
  }

 private:
  template <class T>
  void sum_block(std::size_t b, view<T> mine) {
    if (!owned_here(b)) {
      comm::send(comm_, view<const T>(mine), int(owner(b)), message_tag);
      comm::receive(comm_, mine, int(owner(b)), message_tag);
      return;
    }
    if (received_.size() < mine.size_bytes()) received_ = buffer<std::byte>(mine.size_bytes());
    const view<T> theirs(reinterpret_cast<T*>(received_.data()), mine.size());
    for (std::size_t h = 1; h < stages_[b].size(); ++h) {
      comm::receive(comm_, theirs, int(stages_[b][h]), message_tag);
      for (std::size_t i = 0; i < mine.size(); ++i) mine[i] += theirs[i];
    }
    for (std::size_t h = 1; h < stages_[b].size(); ++h) comm::send(comm_, view<const T>(mine), int(stages_[b][h]), message_tag);
  }

  Communicator& comm_;
  const parameter_layout& layout_;
  std::size_t rank_;
  std::vector<std::vector<std::size_t>> stages_;
  buffer<std::byte> received_;
};

}  // namespace entrain::parallel
