// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/watched/board.hpp>
#include <entrain/comm/watched/courier.hpp>
#include <entrain/comm/watched/process.hpp>
#include <entrain/comm/watched/seat.hpp>
#include <entrain/comm/watched/watchdog.hpp>
#include <entrain/core/error.hpp>

// How the ranks of a communicator come to their boards and watchdogs: one board a node, one watchdog a process. Collective; costs
// five small collectives and a file in the node's memory that is removed at once.

namespace entrain::comm::watched_detail {

struct identity {
  std::uint64_t node, process, number, events;
  bool operator==(const identity&) const = default;
};

template <class C, class T>
std::vector<T> gather_all(C& c, const T& mine) {
  std::vector<T> all(std::size_t(c.size()));
  comm::all_gather(c, view<const T>(&mine, 1), all);
  return all;
}

// Node and process of every rank, and what follows for this one.
class seating {
 public:
  seating(std::vector<identity> all, int rank) : all_(std::move(all)), me_(std::size_t(rank)) {
    for (std::size_t r = 0; r < all_.size(); ++r) {
      if (all_[r].node != all_[me_].node) continue;
      if (r < me_) ++row_;
      if (rows_++ == 0) node_leader_ = r;
      one_process_ = one_process_ && all_[r].process == all_[node_leader_].process;
      if (all_[r].process == all_[me_].process && !process_leader_) process_leader_ = r;
    }
  }
  std::size_t rows() const { return rows_; }
  std::size_t ranks() const { return all_.size(); }
  bool one_node() const { return rows_ == all_.size(); }
  // points[r]: where rank r listens, if it leads a node.
  void introduce(courier& own, const std::vector<meeting_point>& points) const {
    std::vector<meeting_point> nodes;
    std::size_t here = 0;
    for (std::size_t r = 0; r < all_.size(); ++r) {
      bool first = true;
      for (std::size_t before = 0; before < r && first; ++before) first = all_[before].node != all_[r].node;
      if (!first) continue;
      if (r == me_) here = nodes.size();
      nodes.push_back(points[r]);
    }
    own.know(nodes, here);
  }
  bool is_here(std::size_t rank) const { return all_[rank].node == all_[me_].node; }
  std::size_t row() const { return row_; }
  bool one_process() const { return one_process_; }
  bool leads_node() const { return node_leader_ == me_; }
  bool leads_process() const { return *process_leader_ == me_; }
  std::size_t process_leader() const { return *process_leader_; }
  bool same_events() const {
    for (const auto& one : all_)
      if (one.events != all_[me_].events) return false;
    return true;
  }
  std::string file() const {
    const auto& leader = all_[node_leader_];
    return "entrain_watched_" + std::to_string(::getuid()) + "_" + std::to_string(leader.process) + "_" + std::to_string(leader.number);
  }

 private:
  std::vector<identity> all_;
  std::size_t me_, rows_ = 0, row_ = 0, node_leader_ = 0;
  std::optional<std::size_t> process_leader_;
  bool one_process_ = true;
};

// Of a node's first rank: the others' ranks in the rows that mirror them.
inline void name_mirrors(const seating& plan, const board& rows) {
  std::size_t row = plan.rows();
  for (std::size_t rank = 0; rank < plan.ranks(); ++rank) {
    if (plan.is_here(rank)) continue;
    rows.head(row).rank.store(std::uint32_t(rank), std::memory_order_relaxed);
    rows.head(row++).mirrored.store(row_head::unknown, std::memory_order_release);
  }
}

// Throws on all ranks, or on none.
template <class C>
std::shared_ptr<seat> take_seat(C& inner, const watched_options& options) {
  const auto events = monitor::event_ring::rounded(options.ring_events);
  const identity mine{node_hash(options.node), this_process(), std::uint64_t(monitor::steady_nanoseconds()), events};
  const seating plan(gather_all(inner, mine), inner.rank());
  if (!plan.same_events()) throw usage_error("comm::watched", "ring_events differs from rank to rank");
  const std::size_t mirrors = plan.ranks() - plan.rows();
  const auto bytes = board::bytes(plan.rows(), mirrors, events);
  std::shared_ptr<watchdog> dog;
  const auto make = [&](bool create) {
    auto memory = plan.one_process() ? pages::plain(bytes) : pages::shared(plan.file(), bytes, create);
    if (memory) dog = std::make_shared<watchdog>(board(std::move(memory), plan.rows(), mirrors, events), options);
  };
  if (plan.leads_node()) make(true);
  if (plan.leads_node() && dog) name_mirrors(plan, dog->memory());
  std::unique_ptr<courier> carries;
  if (!plan.one_node() && plan.leads_node()) carries = std::make_unique<courier>();
  const auto points = gather_all(inner, carries ? carries->where() : meeting_point{});
  if (carries) plan.introduce(*carries, points);
  if (carries && dog) dog->employ(std::move(carries));
  comm::barrier(inner);
  if (plan.leads_process() && !plan.leads_node()) make(false);
  // The ranks of a process take their leader's watchdog: its address makes sense to them.
  const auto addresses = gather_all(inner, plan.leads_process() ? reinterpret_cast<std::uintptr_t>(dog ? &dog : nullptr) : std::uintptr_t(1));
  bool all_there = true;
  for (const auto address : addresses) all_there = all_there && address != 0;
  if (all_there && !plan.leads_process()) dog = *reinterpret_cast<std::shared_ptr<watchdog>*>(addresses[plan.process_leader()]);
  std::shared_ptr<seat> out;
  if (all_there) out = std::make_shared<seat>(dog, plan.row(), inner.rank(), inner.size());
  comm::barrier(inner);
  if (plan.leads_node() && !plan.one_process()) pages::remove(plan.file());
  if (!all_there) throw file_error("/dev/shm", "comm::watched cannot make memory that the ranks of a node share");
  return out;
}

}  // namespace entrain::comm::watched_detail
