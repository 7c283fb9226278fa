// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include <entrain/comm/detail/build.hpp>
#include <entrain/comm/detail/dispatch.hpp>
#include <entrain/comm/messages.hpp>
#include <entrain/comm/pending.hpp>

// Collectives: what all ranks of a group do together, in the same order. Operands are views, buffers, or anything
// contiguous; no template argument has to be spelled:
//
//   comm::all_reduce(world, gradient);                              // in place, sum
//   comm::all_reduce(world, values, result, comm::maximum{});
//   auto request = comm::start_all_reduce(world, gradient);  ...  request.wait();
//
// Each has a form start_<name> that returns a request (comm/pending.hpp) at once; the operands (and arrays of counts) belong to the
// operation until it completes, and the communicator stays where it is. It makes progress whenever this thread tests or waits for anything
// (comm::progress below; comm/background.hpp does it in a thread of its own). What the back-end has natively
// (comm/traits.hpp) is called where it is the best; everything else is built from messages by one of comm/algorithms/,
// chosen by size and measured cost (comm/selection.hpp; comm/explain.hpp says which). What can be neither called nor built does not
// compile. Sizes are checked (usage_error), traffic is counted here, by the rule in comm/concepts.hpp, so that all back-ends
// agree. Nothing is allocated when a shape has been seen before.
//
// p: ranks, n: elements of the operand. An output may not overlap an input except where it says so.

namespace entrain::comm {

// No rank leaves before all have entered.
template <class C>
pending<C> start_barrier(C& c) {
  detail::count_collective(c, 0);
  return detail::start<collective::barrier, std::byte, no_operation, host_space>(c, {}, nullptr, nullptr,
                                                                                 [](auto& able) { return able.start_barrier(); });
}

// data of the root -> data of every rank.
template <class C, class Data>
  requires detail::viewable<Data>
pending<C> start_broadcast(C& c, Data&& data, int root = 0) {
  using T = detail::element_of<Data>;
  using Space = detail::space_of<Data>;
  const auto values = detail::output(data);
  detail::check_rank("broadcast", "root", root, c.size());
  detail::count_collective(c, c.rank() == root ? values.size_bytes() : 0);
  if constexpr (detail::matching<Data, Data>() && detail::possible<C, collective::broadcast, T, no_operation, Space>()) {
    return detail::start<collective::broadcast, T, no_operation, Space>(c, {.count = values.size(), .root = root}, values.data(), values.data(),
                                                                        [&](auto& able) { return able.start_broadcast(values, root); });
  }
  return {};
}

// out of the root = in[rank 0] op in[rank 1] op ...; the others' out is not touched and may be empty. In may be out.
template <class C, class In, class Out, class Op = sum>
  requires(detail::viewable<In> && detail::viewable<Out>)
pending<C> start_reduce(C& c, In&& in, Out&& out, Op op = {}, int root = 0) {
  using T = detail::element_of<In>;
  using Space = detail::space_of<In>;
  if constexpr (detail::matching<In, Out>() && detail::possible<C, collective::reduce, T, Op, Space>()) {
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    detail::check_rank("reduce", "root", root, c.size());
    if (c.rank() == root) detail::check_size("reduce", "the output at the root", from.size(), to.size());
    detail::count_collective(c, from.size_bytes());
    return detail::start<collective::reduce, T, Op, Space>(c, {.count = from.size(), .root = root}, from.data(), to.data(),
        [&](auto& able) { return able.start_reduce(from, to, op, root); });
  }
  return {};
}
template <class C, class Data, class Op = sum>
  requires(detail::viewable<Data> && !detail::viewable<Op>)
pending<C> start_reduce(C& c, Data&& data, Op op = {}, int root = 0) {
  return start_reduce(c, data, data, op, root);
}

// out = in[rank 0] op in[rank 1] op ..., the same bits on every rank. In may be out.
template <class C, class In, class Out, class Op = sum>
  requires(detail::viewable<In> && detail::viewable<Out>)
pending<C> start_all_reduce(C& c, In&& in, Out&& out, Op op = {}) {
  using T = detail::element_of<In>;
  using Space = detail::space_of<In>;
  if constexpr (detail::matching<In, Out>() && detail::possible<C, collective::all_reduce, T, Op, Space>()) {
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    detail::check_size("all_reduce", "the output", from.size(), to.size());
    detail::count_collective(c, from.size_bytes());
    return detail::start<collective::all_reduce, T, Op, Space>(c, {.count = from.size()}, from.data(), to.data(),
        [&](auto& able) { return able.start_all_reduce(from, to, op); });
  }
  return {};
}
template <class C, class Data, class Op = sum>
  requires(detail::viewable<Data> && !detail::viewable<Op>)
pending<C> start_all_reduce(C& c, Data&& data, Op op = {}) {
  return start_all_reduce(c, data, data, op);
}

// in is p pieces of out.size(); out of rank r = piece r of in[rank 0] op in[rank 1] op .... Out may be piece r of in.
template <class C, class In, class Out, class Op = sum>
  requires(detail::viewable<In> && detail::viewable<Out>)
pending<C> start_reduce_scatter(C& c, In&& in, Out&& out, Op op = {}) {
  using T = detail::element_of<In>;
  using Space = detail::space_of<In>;
  if constexpr (detail::matching<In, Out>() && detail::possible<C, collective::reduce_scatter, T, Op, Space>()) {
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    detail::check_size("reduce_scatter", "the input (ranks x output)", std::size_t(c.size()) * to.size(), from.size());
    detail::count_collective(c, from.size_bytes());
    return detail::start<collective::reduce_scatter, T, Op, Space>(c, {.count = to.size()}, from.data(), to.data(),
        [&](auto& able) { return able.start_reduce_scatter(from, to, op); });
  }
  return {};
}

// out = in[rank 0], in[rank 1], .... In may be piece r of out.
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
pending<C> start_all_gather(C& c, In&& in, Out&& out) {
  using T = detail::element_of<In>;
  using Space = detail::space_of<In>;
  if constexpr (detail::matching<In, Out>() && detail::possible<C, collective::all_gather, T, no_operation, Space>()) {
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    detail::check_size("all_gather", "the output (ranks x input)", std::size_t(c.size()) * from.size(), to.size());
    detail::count_collective(c, from.size_bytes());
    return detail::start<collective::all_gather, T, no_operation, Space>(c, {.count = from.size()}, from.data(), to.data(),
        [&](auto& able) { return able.start_all_gather(from, to); });
  }
  return {};
}

// The same with counts[r] elements from rank r; counts is the same on every rank.
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
pending<C> start_all_gather_v(C& c, In&& in, Out&& out, std::span<const std::size_t> counts) {
  using T = detail::element_of<In>;
  using Space = detail::space_of<In>;
  if constexpr (detail::matching<In, Out>() && detail::possible<C, collective::all_gather_v, T, no_operation, Space>()) {
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    detail::check_size("all_gather_v", "counts (one a rank)", std::size_t(c.size()), counts.size());
    detail::check_size("all_gather_v", "the input (counts[rank])", counts[std::size_t(c.rank())], from.size());
    detail::check_size("all_gather_v", "the output (sum of counts)", detail::total(counts), to.size());
    detail::count_collective(c, from.size_bytes());
    return detail::start<collective::all_gather_v, T, no_operation, Space>(c, {.counts = counts}, from.data(), to.data(),
        [&](auto& able) { return able.start_all_gather_v(from, to, counts); });
  }
  return {};
}

// all_gather whose result only the root gets; the others' out is not touched and may be empty.
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
pending<C> start_gather(C& c, In&& in, Out&& out, int root = 0) {
  using T = detail::element_of<In>;
  using Space = detail::space_of<In>;
  if constexpr (detail::matching<In, Out>() && detail::possible<C, collective::gather, T, no_operation, Space>()) {
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    detail::check_rank("gather", "root", root, c.size());
    const auto whole = std::size_t(c.size()) * from.size();
    if (c.rank() == root) detail::check_size("gather", "the output at the root (ranks x input)", whole, to.size());
    detail::count_collective(c, from.size_bytes());
    return detail::start<collective::gather, T, no_operation, Space>(c, {.count = from.size(), .root = root}, from.data(), to.data(),
        [&](auto& able) { return able.start_gather(from, to, root); });
  }
  return {};
}

// Piece r of the root's in -> out of rank r; the others' in is not read and may be empty. Out may be piece r of in.
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
pending<C> start_scatter(C& c, In&& in, Out&& out, int root = 0) {
  using T = detail::element_of<In>;
  using Space = detail::space_of<In>;
  if constexpr (detail::matching<In, Out>() && detail::possible<C, collective::scatter, T, no_operation, Space>()) {
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    detail::check_rank("scatter", "root", root, c.size());
    const auto whole = std::size_t(c.size()) * to.size();
    if (c.rank() == root) detail::check_size("scatter", "the input at the root (ranks x output)", whole, from.size());
    detail::count_collective(c, c.rank() == root ? from.size_bytes() : 0);
    return detail::start<collective::scatter, T, no_operation, Space>(c, {.count = to.size(), .root = root}, from.data(), to.data(),
        [&](auto& able) { return able.start_scatter(from, to, root); });
  }
  return {};
}

// Piece q of rank r's in -> piece r of rank q's out; p pieces of equal size.
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
pending<C> start_all_to_all(C& c, In&& in, Out&& out) {
  using T = detail::element_of<In>;
  using Space = detail::space_of<In>;
  if constexpr (detail::matching<In, Out>() && detail::possible<C, collective::all_to_all, T, no_operation, Space>()) {
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    const auto p = std::size_t(c.size());
    detail::check_size("all_to_all", "the input (a multiple of the ranks)", from.size() / p * p, from.size());
    detail::check_size("all_to_all", "the output", from.size(), to.size());
    detail::count_collective(c, from.size_bytes());
    return detail::start<collective::all_to_all, T, no_operation, Space>(c, {.count = from.size() / p}, from.data(), to.data(),
        [&](auto& able) { return able.start_all_to_all(from, to); });
  }
  return {};
}

// The same with send[q] elements to rank q and receive[q] elements from it, packed in rank order.
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
pending<C> start_all_to_all_v(C& c, In&& in, std::span<const std::size_t> send, Out&& out, std::span<const std::size_t> receive) {
  using T = detail::element_of<In>;
  using Space = detail::space_of<In>;
  if constexpr (detail::matching<In, Out>() && detail::possible<C, collective::all_to_all_v, T, no_operation, Space>()) {
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    detail::check_size("all_to_all_v", "the send counts (one a rank)", std::size_t(c.size()), send.size());
    detail::check_size("all_to_all_v", "the receive counts (one a rank)", std::size_t(c.size()), receive.size());
    detail::check_size("all_to_all_v", "the input (sum of send counts)", detail::total(send), from.size());
    detail::check_size("all_to_all_v", "the output (sum of receive counts)", detail::total(receive), to.size());
    detail::count_collective(c, from.size_bytes());
    return detail::start<collective::all_to_all_v, T, no_operation, Space>(c, {.counts = send, .receive_counts = receive}, from.data(), to.data(),
        [&](auto& able) { return able.start_all_to_all_v(from, send, to, receive); });
  }
  return {};
}

// The blocking forms: the same, done when they return.
template <class C>
void barrier(C& c) { start_barrier(c).wait(); }
template <class C, class Data>
  requires detail::viewable<Data>
void broadcast(C& c, Data&& data, int root = 0) { start_broadcast(c, data, root).wait(); }
template <class C, class In, class Out, class Op = sum>
  requires(detail::viewable<In> && detail::viewable<Out>)
void reduce(C& c, In&& in, Out&& out, Op op = {}, int root = 0) { start_reduce(c, in, out, op, root).wait(); }
template <class C, class Data, class Op = sum>
  requires(detail::viewable<Data> && !detail::viewable<Op>)
void reduce(C& c, Data&& data, Op op = {}, int root = 0) { start_reduce(c, data, data, op, root).wait(); }
template <class C, class In, class Out, class Op = sum>
  requires(detail::viewable<In> && detail::viewable<Out>)
void all_reduce(C& c, In&& in, Out&& out, Op op = {}) {
  if constexpr (requires { c.all_reduce(detail::input(in), detail::output(out), op); }) {  // a blocking form that beats start and wait
    const auto from = detail::input(in);
    const auto to = detail::output(out);
    detail::check_size("all_reduce", "the output", from.size(), to.size());
    detail::count_collective(c, from.size_bytes());
    c.all_reduce(from, to, op);
  } else {
    start_all_reduce(c, in, out, op).wait();
  }
}
template <class C, class Data, class Op = sum>
  requires(detail::viewable<Data> && !detail::viewable<Op>)
void all_reduce(C& c, Data&& data, Op op = {}) { all_reduce(c, data, data, op); }
template <class C, class In, class Out, class Op = sum>
  requires(detail::viewable<In> && detail::viewable<Out>)
void reduce_scatter(C& c, In&& in, Out&& out, Op op = {}) { start_reduce_scatter(c, in, out, op).wait(); }
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
void all_gather(C& c, In&& in, Out&& out) { start_all_gather(c, in, out).wait(); }
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
void all_gather_v(C& c, In&& in, Out&& out, std::span<const std::size_t> counts) { start_all_gather_v(c, in, out, counts).wait(); }
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
void gather(C& c, In&& in, Out&& out, int root = 0) { start_gather(c, in, out, root).wait(); }
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
void scatter(C& c, In&& in, Out&& out, int root = 0) { start_scatter(c, in, out, root).wait(); }
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
void all_to_all(C& c, In&& in, Out&& out) { start_all_to_all(c, in, out).wait(); }
template <class C, class In, class Out>
  requires(detail::viewable<In> && detail::viewable<Out>)
void all_to_all_v(C& c, In&& in, std::span<const std::size_t> send, Out&& out, std::span<const std::size_t> receive) {
  start_all_to_all_v(c, in, send, out, receive).wait();
}

// Carries on, without waiting, with what this thread has in flight: to be called now and then in a long computation that collectives
// shall overlap. True if anything happened.
inline bool progress() { return progress_list::of_this_thread().advance(); }

// One value a rank, reduced: `if (comm::all_reduce_value(world, done, comm::minimum{})) ...`.
template <class C, class T, class Op = sum>
T all_reduce_value(C& c, T value, Op op = {}) {
  all_reduce(c, view<T>(&value, 1), op);
  return value;
}

}  // namespace entrain::comm
