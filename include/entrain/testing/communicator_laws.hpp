// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/concepts.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/philox.hpp>
#include <entrain/testing/detail/communicator_values.hpp>

// The laws of a communicator, for any back-end or wrapper: every rank of the group calls
// entrain::testing::check_communicator(world); it throws entrain::error that says which law is broken, where.
//
//   1. Messages arrive whole, matched by (peer, tag), in order; a default request is complete; requests move.
//   2. Every collective gives what a plain sequential program gives: for integers, floats, bfloat16 and a user's struct,
//      sum, product, maximum, minimum, and an operation that does not commute; for no elements, fewer elements than ranks,
//      and sizes that no number of ranks divides; in place where that is allowed; with different ranks as the root.
//   3. Several operations in flight complete in any order in which they are waited for or tested.
//   4. Where sums are rounded, all_reduce gives all ranks the same bits; and a back-end that says
//      `static constexpr bool reproducible = true` gives the same bits in all_reduce and reduce_scatter.
//   5. split makes groups of equal colour ordered by (key, rank), and they work at the same time.
//   6. Traffic is counted by the rule in comm/concepts.hpp.
//
// Values are small integers, so that results are exact in every type. Takes seconds: for tests.

namespace entrain::testing {

namespace communicator_detail {

template <class T, class Op, class C> void check_reductions(C& c, std::size_t n) {
  const int p = c.size(), r = c.rank(), root = int(n % std::size_t(p));
  const auto expected = reduced<T, Op>(p, n);
  const auto mine = operand<T>(r, n);
  const std::string with = " with " + std::string(Op::name);

  std::vector<T> out(n);
  comm::all_reduce(c, mine, out, Op{});
  expect_same(c, label<T>("all_reduce", n) + with, expected, out);
  expect_same(c, label<T>("all_reduce leaves its input alone", n), operand<T>(r, n), mine);
  out = mine;
  comm::all_reduce(c, out, Op{});
  expect_same(c, label<T>("all_reduce in place", n) + with, expected, out);

  out.assign(n, T{});
  comm::reduce(c, mine, out, Op{}, root);
  expect_same(c, label<T>("reduce", n) + with, r == root ? expected : std::vector<T>(n), out);
  out = mine;
  comm::reduce(c, out, Op{}, root);
  expect_same(c, label<T>("reduce in place", n) + with, r == root ? expected : mine, out);

  const auto total = n * std::size_t(p);
  const auto all = reduced<T, Op>(p, total);
  const auto first = all.begin() + std::ptrdiff_t(n * std::size_t(r));
  const std::vector<T> own(first, first + std::ptrdiff_t(n));
  auto whole = operand<T>(r, total);
  std::vector<T> piece(n);
  comm::reduce_scatter(c, whole, piece, Op{});
  expect_same(c, label<T>("reduce_scatter", n) + with, own, piece);
  const view<T> part = view<T>(whole).subview(n * std::size_t(r), n);
  comm::reduce_scatter(c, whole, part, Op{});
  expect_same(c, label<T>("reduce_scatter in place", n) + with, own, std::vector<T>(part.begin(), part.end()));
}

template <class T, class C> void check_gathers(C& c, std::size_t n) {
  const int p = c.size(), r = c.rank(), root = int(n % std::size_t(p));
  const auto total = n * std::size_t(p), offset = n * std::size_t(r);
  const auto mine = operand<T>(r, n);
  std::vector<T> everything;
  for (int q = 0; q < p; ++q) {
    const auto theirs = operand<T>(q, n);
    everything.insert(everything.end(), theirs.begin(), theirs.end());
  }

  auto data = r == root ? mine : std::vector<T>(n);
  comm::broadcast(c, data, root);
  expect_same(c, label<T>("broadcast", n), operand<T>(root, n), data);

  std::vector<T> out(total);
  comm::all_gather(c, mine, out);
  expect_same(c, label<T>("all_gather", n), everything, out);
  out.assign(total, T{});
  const view<T> own = view<T>(out).subview(offset, n);
  std::copy(mine.begin(), mine.end(), own.begin());
  comm::all_gather(c, own, out);
  expect_same(c, label<T>("all_gather in place", n), everything, out);

  out.assign(r == root ? total : 0, T{});
  comm::gather(c, mine, out, root);
  expect_same(c, label<T>("gather", n), r == root ? everything : std::vector<T>{}, out);

  std::vector<T> piece(n);
  comm::scatter(c, r == root ? everything : std::vector<T>{}, piece, root);
  expect_same(c, label<T>("scatter", n), mine, piece);

  const auto sent = operand<T>(r, total);
  std::vector<T> transposed(total), expected;
  for (int q = 0; q < p; ++q)
    for (std::size_t i = 0; i < n; ++i) expected.push_back(value<T>(q, offset + i));
  comm::all_to_all(c, sent, transposed);
  expect_same(c, label<T>("all_to_all", n), expected, transposed);
}

// Pieces of different sizes, some of them empty.
template <class T, class C> void check_uneven(C& c, std::size_t n) {
  const int p = c.size(), r = c.rank();
  const auto length = [&](int from, int to) { return (std::size_t(from) * 2 + std::size_t(to)) % 3 * n; };
  std::vector<std::size_t> counts, send, receive;
  std::vector<T> gathered, exchanged, out;
  for (int q = 0; q < p; ++q) {
    counts.push_back(length(q, q)), send.push_back(length(r, q)), receive.push_back(length(q, r));
    const auto theirs = operand<T>(q, counts.back());
    gathered.insert(gathered.end(), theirs.begin(), theirs.end());
    std::size_t begin = 0;
    for (int k = 0; k < r; ++k) begin += length(q, k);
    for (std::size_t i = 0; i < receive.back(); ++i) exchanged.push_back(value<T>(q, begin + i));
  }
  out.resize(gathered.size());
  comm::all_gather_v(c, operand<T>(r, counts[std::size_t(r)]), out, counts);
  expect_same(c, label<T>("all_gather_v", n), gathered, out);
  out.resize(exchanged.size());
  comm::all_to_all_v(c, operand<T>(r, std::accumulate(send.begin(), send.end(), std::size_t{})), send, out, receive);
  expect_same(c, label<T>("all_to_all_v", n), exchanged, out);
}

template <class T, class C> void check_messages(C& c, std::size_t n) {
  const int p = c.size(), r = c.rank(), right = (r + 1) % p, left = (r + p - 1) % p;
  const auto mine = operand<T>(r, n);
  std::vector<T> got(n);
  comm::send_receive(c, mine, right, got, left);
  expect_same(c, label<T>("send_receive", n), operand<T>(left, n), got);

  // Three messages, two of one tag: those in order, the other whenever it is asked for.
  const auto a = operand<T>(r, n, 1), b = operand<T>(r, n, 2), other = operand<T>(r, n, 3);
  std::vector<T> x(n), y(n), z(n);
  auto s1 = comm::start_send(c, a, right, 5), s2 = comm::start_send(c, other, right, 6), s3 = comm::start_send(c, b, right, 5);
  auto q3 = comm::start_receive(c, z, left, 6), q1 = comm::start_receive(c, x, left, 5), q2 = comm::start_receive(c, y, left, 5);
  q2.wait(), q3.wait();
  auto moved = std::move(q1);
  moved.wait();
  while (!s1.test()) std::this_thread::yield();
  s2.wait(), s3.wait();
  expect_same(c, label<T>("messages of one tag arrive in order (first)", n), operand<T>(left, n, 1), x);
  expect_same(c, label<T>("messages of one tag arrive in order (second)", n), operand<T>(left, n, 2), y);
  expect_same(c, label<T>("messages are matched by tag", n), operand<T>(left, n, 3), z);
}

// Many operations at once, completed in an order that differs from rank to rank.
template <class C> void check_in_flight(C& c, std::uint64_t seed) {
  using T = float;
  constexpr int kinds = 4, rounds = 5;
  const int p = c.size(), r = c.rank(), right = (r + 1) % p, left = (r + p - 1) % p;
  const std::array<std::size_t, rounds> sizes{0, 1, 67, 1000, 20011};
  struct flight {
    comm::pending<C> request;
    std::vector<T> in, out, expected;
  };
  std::vector<flight> flights;
  flights.reserve(2 * kinds * rounds);  // references must stay valid
  for (int k = 0; k < kinds * rounds; ++k) {
    auto& f = flights.emplace_back();
    const std::size_t n = sizes[std::size_t(k / kinds)];
    f.in = operand<T>(r, n, k);
    f.out.assign(n, T{});
    if (k % kinds == 0) {
      f.expected = reduced<T, comm::sum>(p, n, k);
      f.request = comm::start_all_reduce(c, f.in, f.out);
    } else if (k % kinds == 1) {
      f.expected = operand<T>(k % p, n, k);
      if (r == k % p) f.out = f.in;
      f.request = comm::start_broadcast(c, f.out, k % p);
    } else if (k % kinds == 2) {
      f.out.assign(n * std::size_t(p), T{});
      for (int q = 0; q < p; ++q) {
        const auto theirs = operand<T>(q, n, k);
        f.expected.insert(f.expected.end(), theirs.begin(), theirs.end());
      }
      f.request = comm::start_all_gather(c, f.in, f.out);
    } else {
      f.expected = operand<T>(left, n, k);
      f.request = comm::start_receive(c, f.out, left, k);
      auto& sent = flights.emplace_back();
      sent.in = f.in;
      sent.request = comm::start_send(c, sent.in, right, k);
    }
  }
  const random_stream random{seed, purpose::user, std::uint32_t(r)};
  std::vector<std::size_t> order(flights.size());
  std::iota(order.begin(), order.end(), std::size_t{});
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
  for (const auto k : order) {
    if (k % 3 == 0) {
      while (!flights[k].request.test()) std::this_thread::yield();
    } else {
      flights[k].request.wait();
    }
    if (!flights[k].out.empty() || !flights[k].expected.empty())
      expect_same(c, "operation " + std::to_string(k) + " of many in flight", flights[k].expected, flights[k].out);
  }
}

// Sums that round: all ranks have the same bits, and reduce_scatter those of all_reduce.
template <class T, class C> void check_bits(C& c, std::size_t n) {
  const int p = c.size(), r = c.rank();
  const auto total = n * std::size_t(p);
  const random_stream random{7, purpose::user, std::uint32_t(r)};
  std::vector<T> in(total), out(total), piece(n), root(total);
  for (std::size_t i = 0; i < total; ++i) in[i] = T(float(random.normal(i)));
  comm::all_reduce(c, in, out);
  comm::reduce_scatter(c, in, piece);
  root = out;
  comm::broadcast(c, root, 0);
  expect(c, total == 0 || std::memcmp(root.data(), out.data(), total * sizeof(T)) == 0,
         label<T>("all_reduce gives all ranks the same bits", n));
  if constexpr (requires { requires bool(C::reproducible); }) {
    const bool same = n == 0 || std::memcmp(piece.data(), out.data() + n * std::size_t(r), n * sizeof(T)) == 0;
    expect(c, same, label<T>("reduce_scatter gives the bits of all_reduce", n));
  }
}

template <class C> void check_split(C& c) {
  const int p = c.size(), r = c.rank();
  C part = c.split(r % 2, -r);  // even and odd ranks, in reverse order
  expect(c, part.size() == (r % 2 == 0 ? (p + 1) / 2 : p / 2), "split: number of ranks of a part");
  expect(c, part.rank() == part.size() - 1 - r / 2, "split: ranks of a part are ordered by key");
  C same = c.split(3, 0);
  expect(c, same.size() == p && same.rank() == r, "split: equal keys keep the order");

  // Both parts and the whole at once.
  std::vector<double> inner(1000, double(r)), outer(1000, 1.0);
  auto whole = comm::start_all_reduce(c, outer);
  auto half = comm::start_all_reduce(part, inner);
  half.wait(), whole.wait();
  double sum = 0;
  for (int q = r % 2; q < p; q += 2) sum += q;
  expect_same(c, "all_reduce in a part", std::vector<double>(1000, sum), inner);
  expect_same(c, "all_reduce in the whole while the parts work", std::vector<double>(1000, double(p)), outer);
  check_reductions<float, comm::sum>(part, 1000);
  check_gathers<std::int32_t>(part, 37);
  C alone = part.split(part.rank(), 0);
  expect(c, alone.size() == 1 && alone.rank() == 0, "split of a part into single ranks");
  check_reductions<float, comm::sum>(alone, 5);
}

template <class C> void check_traffic(C& c) {
  const int p = c.size(), r = c.rank();
  const auto before = c.counters();
  std::vector<float> in(std::size_t(p) * 10), out(std::size_t(p) * 10), piece(10);
  comm::barrier(c);
  comm::all_reduce(c, in);
  comm::broadcast(c, piece, p - 1);
  comm::reduce_scatter(c, in, piece);
  comm::all_gather(c, piece, out);
  comm::scatter(c, in, piece, 0);
  comm::all_to_all(c, in, out);
  comm::send_receive(c, piece, (r + 1) % p, view<float>(out).subview(0, 10), (r + p - 1) % p);
  const std::uint64_t whole = 40 * std::uint64_t(p), part = 40;
  const auto& now = c.counters();
  expect(c, now.collectives - before.collectives == 7, "traffic: number of collectives");
  expect(c, now.messages - before.messages == 1, "traffic: number of messages");
  expect(c, now.bytes - before.bytes == 3 * whole + 2 * part + (r == p - 1 ? part : 0) + (r == 0 ? whole : 0), "traffic: bytes");
}

}  // namespace communicator_detail

struct communicator_sizes {
  std::size_t largest = 65537;  // elements; smaller for a quicker check
};

// Every rank calls it. Leaves nothing behind in c but its traffic.
template <comm::communicator C> void check_communicator(C& c, communicator_sizes sizes = {}) {
  namespace d = communicator_detail;
  const std::size_t p = std::size_t(c.size());
  comm::pending<C> idle;
  d::expect(c, idle.test(), "a default request is complete");
  idle.wait();

  std::vector<std::size_t> lengths{0, 1, p - 1, p, p + 1, 7, 13, 61, 127, 257, 1000, 65537};
  std::erase_if(lengths, [&](std::size_t n) { return n > sizes.largest; });
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  for (const auto n : lengths) {
    d::check_reductions<float, comm::sum>(c, n);
    d::check_gathers<float>(c, n);
    d::check_messages<float>(c, n);
    if (n > 1000) continue;
    d::check_reductions<std::int32_t, comm::sum>(c, n);
    d::check_reductions<std::int64_t, comm::maximum>(c, n);
    d::check_reductions<float, comm::minimum>(c, n);
    d::check_reductions<double, comm::product>(c, n);
    d::check_reductions<bfloat16, comm::sum>(c, n);
    d::check_reductions<d::vote, d::merge_votes>(c, n);
    d::check_reductions<d::affine, d::compose>(c, n);
    d::check_gathers<double>(c, n);
    d::check_gathers<bfloat16>(c, n);
    d::check_gathers<d::vote>(c, n);
    d::check_gathers<std::int64_t>(c, n);
    d::check_uneven<float>(c, n);
    d::check_uneven<d::vote>(c, n);
    d::check_messages<d::vote>(c, n);
    d::check_bits<float>(c, n);
    d::check_bits<bfloat16>(c, n);
  }
  for (std::uint64_t seed = 0; seed < 5; ++seed) d::check_in_flight(c, seed);
  d::check_split(c);
  d::check_traffic(c);
  comm::barrier(c);
}

}  // namespace entrain::testing
