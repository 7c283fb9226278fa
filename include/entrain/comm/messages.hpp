// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <entrain/comm/detail/dispatch.hpp>
#include <entrain/comm/pending.hpp>

// Messages between two ranks. `data` is a view, a buffer or anything contiguous; its length and element type must be the
// same on both sides. Messages of one (sender, receiver, tag) arrive in the order in which they were sent. The memory of
// start_send and start_receive belongs to the operation until its request completes.
//
//   comm::send(world, values, 1);                  // returns when the values may be overwritten
//   auto request = comm::start_receive(world, values, 0);  ...  request.wait();
//
// Cost: one message of data.size() elements; counted as such at the sender.

namespace entrain::comm {

template <class C, class Data>
  requires detail::viewable<Data>
pending<C> start_send(C& c, Data&& data, int peer, int tag = 0) {
  constexpr bool able = detail::has_messages<C, detail::element_of<Data>, detail::space_of<Data>>;
  static_assert(able, "entrain: this communicator cannot send messages from memory of this space");
  detail::check_rank("send", "receiver", peer, c.size());
  if constexpr (able) {
    const auto from = detail::input(data);
    c.counters().bytes += from.size_bytes();
    ++c.counters().messages;
    return c.start_send(from, peer, tag);
  } else {
    return {};
  }
}

template <class C, class Data>
  requires detail::viewable<Data>
pending<C> start_receive(C& c, Data&& data, int peer, int tag = 0) {
  constexpr bool able = detail::has_messages<C, detail::element_of<Data>, detail::space_of<Data>>;
  static_assert(able, "entrain: this communicator cannot receive messages into memory of this space");
  detail::check_rank("receive", "sender", peer, c.size());
  if constexpr (able && detail::matching<Data, Data>()) return c.start_receive(detail::output(data), peer, tag);
  else return {};
}

template <class C, class Data>
void send(C& c, Data&& data, int peer, int tag = 0) {
  start_send(c, data, peer, tag).wait();
}

template <class C, class Data>
void receive(C& c, Data&& data, int peer, int tag = 0) {
  start_receive(c, data, peer, tag).wait();
}

// Both at once, so that a ring of ranks that all call it cannot deadlock.
template <class C, class Out, class In>
void send_receive(C& c, Out&& out, int receiver, In&& in, int sender, int tag = 0) {
  auto incoming = start_receive(c, in, sender, tag);
  auto outgoing = start_send(c, out, receiver, tag);
  outgoing.wait();
  incoming.wait();
}

}  // namespace entrain::comm
