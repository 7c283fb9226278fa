// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include <entrain/comm/reproducible/tree.hpp>
#include <entrain/comm/stepwise.hpp>
#include <entrain/core/batch.hpp>
#include <entrain/core/memory.hpp>

// How comm/reproducible.hpp travels: of every node's vector, rank q receives piece q, combines the pieces along the tree and
// sends the result to all. Pieces travel in segments, a few of them at a time.

namespace entrain::comm {

namespace reproducible_detail {

inline constexpr std::size_t segment_bytes = std::size_t(128) << 10;  // of one node's piece
inline constexpr int segments_in_flight = 3;

template <communicator C, class T, class Op>
class operation : public stepwise::operation<C> {
  using request = typename C::request;

 public:
  // The nodes of rank r are tree::cover(nth_part(total, r, p)); nodes[i] points to n elements of this rank's i-th.
  void plan(C& c, std::size_t total, std::size_t n) {
    const auto p = std::size_t(c.size());
    n_ = n, rank_ = std::size_t(c.rank());
    nodes_.clear(), first_node_.clear();
    for (std::size_t r = 0; r < p; ++r) {
      first_node_.push_back(nodes_.size());
      const part range = nth_part(total, r, p);
      tree::cover({range.first, range.first + range.count}, {0, total}, nodes_);
    }
    first_node_.push_back(nodes_.size());
    whole_.build({0, total}, nodes_);
    own_.resize(nodes_of(rank_));
  }
  std::size_t own_nodes() const { return own_.size(); }
  tree::node own_node(std::size_t i) const { return nodes_[first_node_[rank_] + i]; }

  // Combines this rank's leaves, one after the other at `leaves`, to its nodes. A node of one leaf stays where it is.
  void take_leaves(const T* leaves, std::size_t first_leaf) {
    std::size_t needed = 0;
    for (std::size_t i = 0; i < own_.size(); ++i) needed += own_node(i).leaves() > 1 ? n_ * sizeof(T) : 0;
    if (combined_.size() < needed) combined_ = buffer<std::byte>(needed);
    T* to = reinterpret_cast<T*>(combined_.data());
    for (std::size_t i = 0; i < own_.size(); ++i) {
      const tree::node node = own_node(i);
      const T* from = leaves + (node.first - first_leaf) * n_;
      own_[i] = from;
      if (node.leaves() == 1) continue;
      single_.clear();
      for (std::size_t leaf = node.first; leaf < node.last; ++leaf) single_.push_back({leaf, leaf + 1});
      local_.build(node, single_);
      local_.template run<Op>([&](std::size_t k) { return from + k * n_; }, to, n_, space_);
      this->computed((node.leaves() - 1) * n_ * sizeof(T));
      own_[i] = to, to += n_;
    }
  }
  void take_nodes(const std::vector<const T*>& nodes) { own_.assign(nodes.begin(), nodes.end()); }

  void start(C& c, T* out) {
    this->begin(c);
    out_ = out;
    const std::size_t p = first_node_.size() - 1, longest = (n_ + p - 1) / p;
    segment_ = std::clamp<std::size_t>(segment_bytes / sizeof(T), 1, std::max<std::size_t>(1, longest));
    segments_ = (longest + segment_ - 1) / segment_;
    const std::size_t open_at_once = std::min<std::size_t>(segments_, segments_in_flight);
    each_ = nodes_.size() * segment_;
    if (arrived_.size() < open_at_once * each_ * sizeof(T)) arrived_ = buffer<std::byte>(open_at_once * each_ * sizeof(T));
    opened_ = finished_ = 0;
    open();
  }

  bool advance() {
    bool moved = true;
    while (moved && finished_ < segments_) {
      moved = false;
      for (std::size_t s = finished_; s < opened_; ++s) moved |= move_on(slot(s), s);
      while (finished_ < opened_ && is_finished(slot(finished_))) ++finished_, moved = true;
      open();
      this->moves += moved;
    }
    return finished_ == segments_;
  }
  void block() {
    auto& oldest = slot(finished_);
    static_cast<void>(stepwise::wait_for_one(oldest.contributions) || stepwise::wait_for_one(oldest.leaving) ||
                      stepwise::wait_for_one(oldest.results));
  }
  void forget() noexcept {
    for (auto& s : slots_) s.contributions.clear(), s.leaving.clear(), s.results.clear();
  }
  std::size_t bytes() const { return arrived_.size() + combined_.size(); }

 private:
  // One segment of every piece, from the first message to the last.
  struct open_segment {
    bool combined = false, asked = false;
    std::vector<request> contributions, leaving, results;
  };
  static bool is_finished(const open_segment& s) { return s.combined && s.asked && s.results.empty() && s.leaving.empty(); }
  open_segment& slot(std::size_t s) { return slots_[s % segments_in_flight]; }

  std::size_t nodes_of(std::size_t r) const { return first_node_[r + 1] - first_node_[r]; }
  // Elements of segment s of rank r's piece.
  part range(std::size_t r, std::size_t s) const {
    const part piece = nth_part(n_, r, first_node_.size() - 1);
    const std::size_t begin = std::min(piece.count, s * segment_), end = std::min(piece.count, begin + segment_);
    return {piece.first + begin, end - begin};
  }
  T* arrived(std::size_t s, std::size_t node) {
    return reinterpret_cast<T*>(arrived_.data()) + (s % segments_in_flight) * each_ + node * segment_;
  }
  // Peers in an order that gives every rank another one at any time.
  template <class F>
  void for_each_peer(F&& f) {
    const std::size_t p = first_node_.size() - 1;
    for (std::size_t j = 1; j < p; ++j) f((rank_ + j) % p, (rank_ + p - j) % p);
  }

  void open() {
    for (; opened_ < segments_ && opened_ < finished_ + segments_in_flight; ++opened_) {
      auto& at = slot(opened_);
      at.combined = at.asked = false;
      const part mine = range(rank_, opened_);
      for_each_peer([&](std::size_t to, std::size_t from) {
        if (mine.count > 0)
          for (std::size_t k = first_node_[from]; k < first_node_[from + 1]; ++k)
            at.contributions.push_back(this->receive(view<T>(arrived(opened_, k), mine.count), int(from), 0));
        const part theirs = range(to, opened_);
        if (theirs.count > 0)
          for (const T* node : own_) at.leaving.push_back(this->send(view<const T>(node + theirs.first, theirs.count), int(to), 0));
      });
    }
  }

  // Results of one rank travel in the order of segments, whichever segment has all contributions first.
  bool move_on(open_segment& at, std::size_t s) {
    bool moved = false;
    const bool first = s == finished_, may_combine = first || slot(s - 1).combined, may_ask = first || slot(s - 1).asked;
    if (!at.combined && may_combine && stepwise::test_all(at.contributions)) {
      combine(s);
      at.combined = moved = true;
      const part mine = range(rank_, s);
      if (mine.count > 0)
        for_each_peer([&](std::size_t to, std::size_t) { at.results.push_back(this->send(view<const T>(out_ + mine.first, mine.count), int(to), 1)); });
    }
    // Where out is in, what leaves must have left before results take its place.
    if (!at.asked && may_ask && stepwise::test_all(at.leaving)) ask(at, s), moved = true;
    if (at.asked && at.combined && !at.results.empty()) moved |= stepwise::test_all(at.results);
    return moved;
  }
  void ask(open_segment& at, std::size_t s) {
    at.asked = true;
    for_each_peer([&](std::size_t, std::size_t from) {
      const part theirs = range(from, s);
      if (theirs.count > 0) at.results.push_back(this->receive(view<T>(out_ + theirs.first, theirs.count), int(from), 1));
    });
  }
  void combine(std::size_t s) {
    const part mine = range(rank_, s);
    const std::size_t first = first_node_[rank_], last = first_node_[rank_ + 1];
    whole_.template run<Op>(
        [&](std::size_t k) -> const T* { return first <= k && k < last ? own_[k - first] + mine.first : arrived(s, k); }, out_ + mine.first,
        mine.count, space_);
    this->computed((nodes_.size() - 1) * mine.count * sizeof(T));
  }

  std::size_t n_ = 0, rank_ = 0, segment_ = 1, segments_ = 0, each_ = 0, opened_ = 0, finished_ = 0;
  T* out_ = nullptr;
  std::vector<tree::node> nodes_, single_;  // of all ranks, in order
  std::vector<std::size_t> first_node_;     // of each rank
  std::vector<const T*> own_;
  tree::program whole_, local_;
  buffer<std::byte> combined_, arrived_;
  std::vector<std::byte> space_;
  open_segment slots_[segments_in_flight];
};

}  // namespace reproducible_detail

}  // namespace entrain::comm
