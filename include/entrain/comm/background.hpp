// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include <entrain/comm/background/helper.hpp>
#include <entrain/comm/collectives.hpp>
#include <entrain/comm/traits.hpp>

// A communicator whose messages and collectives a thread of its own carries on, so that they progress while the rank computes and never
// asks after them:
//
//   comm::mpi world{argc, argv, {.threads = comm::mpi_threads::serialized}};
//   comm::background helped{world};
//   auto request = comm::start_all_reduce(helped, gradient);   // handed over; returns at once
//   ... compute ...
//   request.wait();
//
// The helper works on a split of `world`. While it lives no other thread of the rank may use `world` or its splits, except through it; with
// MPI that asks for mpi_threads::serialized at least. Costs a core while something is in flight; worth it where cores are to spare and
// the wires need a processor to move (sockets, or algorithms over messages); where there is none, waiting is cheaper
// (comm/pending.hpp: everything progresses whenever the rank tests or waits). Making one is collective. Operations are started in the
// order of their calls. What the helper's communicator throws, wait() and test() throw.

namespace entrain::comm {

template <communicator C>
class background {
 public:
  using slot_type = slot::communicator;
  static constexpr std::string_view name = "background";
  using request = background_detail::request<C>;
  struct abilities {
    template <collective, class T, class, class Space>
    static constexpr bool native = element<T> && Space::host_accessible;
    static constexpr bool best = true;
  };

  explicit background(C& world)
      : shared_(std::make_shared<state>(world.split(0, world.rank()), std::make_shared<background_detail::helper<C>>())) {}

  int rank() const { return shared_->rank; }
  int size() const { return shared_->size; }
  traffic& counters() { return shared_->counted; }
  std::uint64_t& sequence() { return shared_->sequence; }

  // Waits until everything in flight is complete, so that the helper's communicator is free.
  background split(int colour, int key) {
    std::unique_ptr<C> part;
    auto* target = &part;
    hand_over([=](C& c) {
      *target = std::make_unique<C>(c.split(colour, key));
      return pending<C>{};
    }).wait();
    return background(std::make_shared<state>(std::move(part), shared_->by));
  }

  template <class T>
  request start_send(view<const T> data, int to, int tag) {
    return hand_over([=](C& c) { return pending<C>(c.start_send(data, to, tag)); });
  }
  template <class T>
  request start_receive(view<T> data, int from, int tag) {
    return hand_over([=](C& c) { return pending<C>(c.start_receive(data, from, tag)); });
  }
  request start_barrier() {
    return hand_over([](C& c) { return comm::start_barrier(c); });
  }
  template <class T>
  request start_broadcast(view<T> data, int root) {
    return hand_over([=](C& c) { return comm::start_broadcast(c, data, root); });
  }
  template <class T, class Op>
  request start_reduce(view<const T> in, view<T> out, Op op, int root) {
    return hand_over([=](C& c) { return comm::start_reduce(c, in, out, op, root); });
  }
  template <class T, class Op>
  request start_all_reduce(view<const T> in, view<T> out, Op op) {
    return hand_over([=](C& c) { return comm::start_all_reduce(c, in, out, op); });
  }
  template <class T, class Op>
  request start_reduce_scatter(view<const T> in, view<T> out, Op op) {
    return hand_over([=](C& c) { return comm::start_reduce_scatter(c, in, out, op); });
  }
  template <class T>
  request start_all_gather(view<const T> in, view<T> out) {
    return hand_over([=](C& c) { return comm::start_all_gather(c, in, out); });
  }
  template <class T>
  request start_all_gather_v(view<const T> in, view<T> out, std::span<const std::size_t> counts) {
    return hand_over([=](C& c) { return comm::start_all_gather_v(c, in, out, counts); });
  }
  template <class T>
  request start_gather(view<const T> in, view<T> out, int root) {
    return hand_over([=](C& c) { return comm::start_gather(c, in, out, root); });
  }
  template <class T>
  request start_scatter(view<const T> in, view<T> out, int root) {
    return hand_over([=](C& c) { return comm::start_scatter(c, in, out, root); });
  }
  template <class T>
  request start_all_to_all(view<const T> in, view<T> out) {
    return hand_over([=](C& c) { return comm::start_all_to_all(c, in, out); });
  }
  template <class T>
  request start_all_to_all_v(view<const T> in, std::span<const std::size_t> send, view<T> out, std::span<const std::size_t> receive) {
    return hand_over([=](C& c) { return comm::start_all_to_all_v(c, in, send, out, receive); });
  }

 private:
  struct state {
    state(C own, std::shared_ptr<background_detail::helper<C>> who) : state(std::make_unique<C>(std::move(own)), std::move(who)) {}
    state(std::unique_ptr<C> own, std::shared_ptr<background_detail::helper<C>> who)
        : rank(own->rank()), size(own->size()), inner(std::move(own)), by(std::move(who)) {}
    ~state() {  // by the thread that has used it
      auto* last = &inner;
      background_detail::request<C>(by, by->hand_over(*inner, [last](C&) {
        last->reset();
        return pending<C>{};
      })).wait();
    }
    int rank, size;
    traffic counted{};
    std::uint64_t sequence = 0;
    std::unique_ptr<C> inner;
    std::shared_ptr<background_detail::helper<C>> by;  // of all groups of this rank
  };
  explicit background(std::shared_ptr<state> shared) : shared_(std::move(shared)) {}
  template <class Call>
  request hand_over(Call call) {
    return request(shared_->by, shared_->by->hand_over(*shared_->inner, call));
  }
  std::shared_ptr<state> shared_;
};

}  // namespace entrain::comm
