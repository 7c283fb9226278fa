// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string_view>
#include <concepts>
#include <memory>
#include <span>
#include <string>

#include <entrain/comm/checked/meeting.hpp>
#include <entrain/comm/checked/request.hpp>
#include <entrain/comm/checked/signature.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/comm/traits.hpp>

// Turns ranks that disagree into a sentence instead of a hang. It wraps any communicator and is one itself:
//
//   comm::mpi world{argc, argv};
//   comm::checked safe{world, {.deadline = std::chrono::seconds(5)}};
//   comm::all_reduce(safe, ...);
//   // checked all_reduce #12: rank 2 called broadcast of 10 f32 where ranks 0, 1, 3 called all_reduce of 10 f32
//
// Before every collective all ranks tell each other which one they enter (operation, type, count, reduction, root, order);
// a rank that differs, or does not come within the deadline, is named by communication_error on every rank that noticed.
// Messages and collectives that do not complete within the deadline end in the same way. After an error the group is
// broken: further calls throw, nothing waits.
//
// Cost: size() - 1 messages of 128 bytes sent and received by each rank before each collective, which so becomes a
// synchronisation also when it is nonblocking; a small allocation a call. For tests and for finding a hang, not for
// the fast path. counters() counts what was handed to the wrapper; the wrapped communicator counts its own, and the small messages
// are counted nowhere.

namespace entrain::comm {

struct checked_options {
  std::chrono::milliseconds deadline = std::chrono::seconds(60);
};

template <communicator C>
class checked {
 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "checked";
  using request = checked_detail::guarded;
  struct abilities {
    static constexpr bool best = true;  // nothing may go past the comparison
    template <collective, class T, class Op, class Space>
    static constexpr bool native = element<T> && Space::host_accessible;
  };

  // Refers to `inner`, which must outlive it. Does not communicate.
  explicit checked(C& inner, checked_options options = {}) : checked(nullptr, inner, options) {}

  int rank() const { return inner_->rank(); }
  int size() const { return inner_->size(); }
  traffic& counters() { return counted_; }
  std::uint64_t& sequence() { return inner_->sequence(); }
  C& inner() { return *inner_; }

  checked split(int colour, int key) {
    checked_detail::signature s;
    s.kind = checked_detail::split_kind;
    meeting_.agree(s);
    auto part = std::make_unique<C>(inner_->split(colour, key));
    C& there = *part;
    return checked(std::move(part), there, options_);
  }

  template <class T, class Space>
  request start_send(view<const T, Space> data, int to, int tag) {
    return guard(inner_->start_send(data, to, tag), message("send", data, "to", to, tag));
  }
  template <class T, class Space>
  request start_receive(view<T, Space> data, int from, int tag) {
    return guard(inner_->start_receive(data, from, tag), message("receive", data, "from", from, tag));
  }
  // Receives, or throws communication_error at the deadline.
  template <class T, class Space>
  void receive(view<T, Space> data, int from, int tag) {
    start_receive(data, from, tag).wait();
  }

  request start_barrier() {
    agree<std::byte, no_operation>(collective::barrier, 0);
    return run(comm::start_barrier(*inner_), collective::barrier);
  }
  template <class T>
  request start_broadcast(view<T> data, int root) {
    agree<T, no_operation>(collective::broadcast, data.size(), root);
    return run(comm::start_broadcast(*inner_, data, root), collective::broadcast);
  }
  template <class T, class Op>
  request start_reduce(view<const T> in, view<T> out, Op op, int root) {
    agree<T, Op>(collective::reduce, in.size(), root);
    return run(comm::start_reduce(*inner_, in, out, op, root), collective::reduce);
  }
  template <class T, class Op>
  request start_all_reduce(view<const T> in, view<T> out, Op op) {
    agree<T, Op>(collective::all_reduce, in.size());
    return run(comm::start_all_reduce(*inner_, in, out, op), collective::all_reduce);
  }
  template <class T, class Op>
  request start_reduce_scatter(view<const T> in, view<T> out, Op op) {
    agree<T, Op>(collective::reduce_scatter, in.size());
    return run(comm::start_reduce_scatter(*inner_, in, out, op), collective::reduce_scatter);
  }
  template <class T>
  request start_all_gather(view<const T> in, view<T> out) {
    agree<T, no_operation>(collective::all_gather, in.size());
    return run(comm::start_all_gather(*inner_, in, out), collective::all_gather);
  }
  template <class T>
  request start_all_gather_v(view<const T> in, view<T> out, std::span<const std::size_t> counts) {
    std::size_t total = 0;
    for (const auto count : counts) total += count;
    auto s = checked_detail::signature_of<T, no_operation>(collective::all_gather_v, total);
    checked_detail::add_layout(s, counts);
    meeting_.agree(s);
    return run(comm::start_all_gather_v(*inner_, in, out, counts), collective::all_gather_v);
  }
  template <class T>
  request start_gather(view<const T> in, view<T> out, int root) {
    agree<T, no_operation>(collective::gather, in.size(), root);
    return run(comm::start_gather(*inner_, in, out, root), collective::gather);
  }
  template <class T>
  request start_scatter(view<const T> in, view<T> out, int root) {
    agree<T, no_operation>(collective::scatter, out.size(), root);
    return run(comm::start_scatter(*inner_, in, out, root), collective::scatter);
  }
  template <class T>
  request start_all_to_all(view<const T> in, view<T> out) {
    agree<T, no_operation>(collective::all_to_all, in.size());
    return run(comm::start_all_to_all(*inner_, in, out), collective::all_to_all);
  }
  template <class T>
  request start_all_to_all_v(view<const T> in, std::span<const std::size_t> send, view<T> out, std::span<const std::size_t> receive) {
    meeting_.agree(checked_detail::signature_of<T, no_operation>(collective::all_to_all_v, 0), send, receive);
    return run(comm::start_all_to_all_v(*inner_, in, send, out, receive), collective::all_to_all_v);
  }

 private:
  checked(std::unique_ptr<C> owned, C& inner, checked_options options)
      : owned_(std::move(owned)), inner_(&inner), options_(options), meeting_(inner, options.deadline) {}

  template <class T, class Op>
  void agree(collective kind, std::size_t count, int root = -1) {
    meeting_.agree(checked_detail::signature_of<T, Op>(kind, count, root));
  }
  template <class Inner>
  request guard(Inner inner, std::string what) {
    return request(std::move(inner), "checked rank " + std::to_string(rank()) + " of " + std::to_string(size()), std::move(what),
                   options_.deadline);
  }
  template <class Inner>
  request run(Inner inner, collective kind) {
    return guard(std::move(inner), std::string(name_of(kind)) + " #" + std::to_string(meeting_.sequence()));
  }
  template <class View>
  static std::string message(const char* verb, const View& data, const char* preposition, int peer, int tag) {
    using T = std::remove_const_t<typename View::element_type>;
    const std::string type = dtype_of<T>::value == dtype::bytes ? std::to_string(sizeof(T)) + "-byte elements"
                                                                : std::string(name_of(dtype_of<T>::value));
    return std::string(verb) + " of " + std::to_string(data.size()) + " " + type + " " + preposition + " rank " + std::to_string(peer) +
           " with tag " + std::to_string(tag);
  }

  std::unique_ptr<C> owned_;  // a sub-group made by split()
  C* inner_;
  checked_options options_;
  checked_detail::meeting<C> meeting_;
  traffic counted_;
};

}  // namespace entrain::comm
