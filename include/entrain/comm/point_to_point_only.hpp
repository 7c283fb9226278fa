// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include <entrain/comm/algorithm.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/comm/selection.hpp>

// A communicator whose native collectives are hidden, so that all of them are built from messages by comm/algorithms/:
// for testing and measuring the algorithms, and the least that a new back-end must offer.
//
//   comm::point_to_point_only messages{world};   // refers to world, which must outlive it
//   comm::all_reduce(messages, values);          // the algorithm that the cost model prefers
//   messages.use(comm::algorithms::swing_all_reduce);
//   comm::all_reduce(messages, values);          // this one
//
// Counts in the counters of the communicator that it wraps.

namespace entrain::comm {

template <communicator C>
class point_to_point_only {
 public:
  using slot_type = slot::communicator;
  using request = typename C::request;

  static constexpr std::string_view name = C::name;

  explicit point_to_point_only(C& inner) : inner_(&inner) {}

  // From now on collectives of this kind go by this algorithm, which must live as long as the communicator; calls that it does not fit
  // (algorithm::fits) by the one that the cost model prefers.
  void use(const algorithm& how) { chosen_[std::size_t(how.kind)] = &how; }
  const algorithm* chosen(collective kind) const { return chosen_[std::size_t(kind)]; }

  int rank() const { return inner_->rank(); }
  int size() const { return inner_->size(); }
  traffic& counters() { return inner_->counters(); }
  std::uint64_t& sequence() { return inner_->sequence(); }
  // What a simulated communicator charges for combining; nothing elsewhere.
  void computed(std::size_t bytes)
    requires requires(C& c) { c.computed(bytes); }
  {
    inner_->computed(bytes);
  }
  point_to_point_only split(int colour, int key) {
    point_to_point_only part(*inner_);
    part.chosen_ = chosen_;
    part.own_ = std::make_shared<C>(inner_->split(colour, key));
    part.inner_ = part.own_.get();
    return part;
  }
  std::string_view cost_name() const { return cost_name_of(std::as_const(*inner_)); }
  int ranks_per_node() const { return ranks_per_node_of(std::as_const(*inner_)); }
  // How a watchdog ends the job, where the wrapped one knows better than to exit.
  template <class... Why>
  void break_off(Why&&... why)
    requires requires(C& c) { c.break_off(std::forward<Why>(why)...); }
  {
    inner_->break_off(std::forward<Why>(why)...);
  }
  template <class T, class Space>
  request start_send(view<const T, Space> data, int peer, int tag) { return inner_->start_send(data, peer, tag); }
  template <class T, class Space>
  request start_receive(view<T, Space> data, int peer, int tag) { return inner_->start_receive(data, peer, tag); }

 private:
  C* inner_;
  std::array<const algorithm*, collective_kinds> chosen_{};
  std::shared_ptr<C> own_;  // of a part
};

}  // namespace entrain::comm
