// SPDX-License-Identifier: Apache-2.0
// entrain-test: emulated, because it provokes failures of NCCL
#include "../catch.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <unistd.h>

#include <entrain/comm/nccl.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/comm/self.hpp>
#include <entrain/comm/threads.hpp>
#include <entrain/core/small_float.hpp>
#include <entrain/testing/communicator_laws.hpp>

#include "device_test.hpp"

// comm::nccl over NCCL's emulation among threads: what it computes, and that it ends where a rank does not come.

using namespace entrain;
using entrain::emulated::faults;
using world_type = comm::nccl<comm::threads>;

static_assert(comm::communicator<world_type>);
static_assert(comm::communicator<comm::nccl<comm::nccl_ranks>>);
static_assert(comm::native<world_type, comm::collective::all_reduce, bfloat16, comm::minimum, cuda_space>);
static_assert(!comm::native<world_type, comm::collective::all_reduce, std::int16_t, comm::sum, cuda_space>);
static_assert(comm::native<world_type, comm::collective::broadcast, std::int16_t, comm::no_operation, cuda_space>);
static_assert(comm::native<world_type, comm::collective::all_to_all_v, std::int16_t, comm::no_operation, cuda_space>);
static_assert(comm::native<world_type, comm::collective::all_to_all_v, float, comm::no_operation, host_space>);

namespace {

template <class T>
T value(int rank, std::size_t i) { return T(int((i * 7 + std::size_t(rank) * 3) % 5) + 1); }  // exact sums and products in every type
template <class T>
std::vector<T> values(int rank, std::size_t n) {
  std::vector<T> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = value<T>(rank, i);
  return out;
}
template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(double(a[i]) == double(b[i]))) return false;
  return true;
}
template <class Op, class T>
std::vector<T> reduced(int ranks, std::size_t n) {
  auto out = values<T>(0, n);
  for (int r = 1; r < ranks; ++r)
    for (std::size_t i = 0; i < n; ++i) out[i] = Op::combine(out[i], value<T>(r, i));
  return out;
}
template <class T>
view<T, cuda_space> at(const test::on_device<T>& x) { return {x.data(), x.size()}; }
template <class T>
view<T, cuda_space> at(const test::on_device<T>& x, std::size_t from, std::size_t n) { return {x.data() + from, n}; }

// Catch's assertions are for one thread: what fails on a rank is thrown.
void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error("not so: " + what);
}
template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const communication_error& e) {
    return e.what();
  }
  return "none";
}
template <class Body>
void on_ranks(int ranks, Body&& body, comm::nccl_options options = {.deadline = std::chrono::seconds(20)}) {
  comm::run_ranks(ranks, {.deadline = std::chrono::seconds(60)}, [&](comm::threads& host) {
    const auto engine = engine::cuda{}.start();
    comm::nccl world{host, engine, options};
    body(world, host, engine);
  });
}

template <class T, class Op>
void check_reductions(world_type& world, std::size_t n) {
  const int p = world.size(), rank = world.rank();
  const auto all = reduced<Op, T>(p, n * std::size_t(p));
  const test::on_device<T> in(values<T>(rank, n * std::size_t(p))), out = test::on_device<T>::poisoned(n * std::size_t(p));
  comm::all_reduce(world, at(in), at(out), Op{});
  expect(same(out.host(), all) && same(in.host(), values<T>(rank, n * std::size_t(p))), "all_reduce");
  const auto piece = test::on_device<T>::poisoned(n);
  comm::reduce_scatter(world, at(in), at(piece), Op{});
  const auto begin = all.begin() + std::ptrdiff_t(n * std::size_t(rank));
  expect(same(piece.host(), std::vector<T>(begin, begin + std::ptrdiff_t(n))), "reduce_scatter");
  const int root = p - 1;
  test::on_device<T> mine(values<T>(rank, n));
  comm::reduce(world, at(mine), Op{}, root);
  expect(same(mine.host(), rank == root ? reduced<Op, T>(p, n) : values<T>(rank, n)), "reduce in place");
  test::on_device<T> again(values<T>(rank, n));
  comm::all_reduce(world, at(again), Op{});
  expect(same(again.host(), reduced<Op, T>(p, n)), "all_reduce in place");
}

template <class T>
void check_copies(world_type& world, std::size_t n) {
  const int p = world.size(), rank = world.rank();
  const std::size_t total = n * std::size_t(p);
  test::on_device<T> data(values<T>(rank, n));
  comm::broadcast(world, at(data), p / 2);
  expect(same(data.host(), values<T>(p / 2, n)), "broadcast");
  const test::on_device<T> mine(values<T>(rank, n)), all = test::on_device<T>::zeros(total);
  comm::all_gather(world, at(mine), at(all));
  std::vector<T> gathered, turned;
  for (int r = 0; r < p; ++r) {
    const auto piece = values<T>(r, n), long_piece = values<T>(r, total);
    gathered.insert(gathered.end(), piece.begin(), piece.end());
    const auto from = long_piece.begin() + std::ptrdiff_t(n * std::size_t(rank));
    turned.insert(turned.end(), from, from + std::ptrdiff_t(n));
  }
  expect(same(all.host(), gathered), "all_gather");
  const test::on_device<T> before(values<T>(rank, total)), after = test::on_device<T>::zeros(total);
  comm::all_to_all(world, at(before), at(after));
  expect(same(after.host(), turned), "all_to_all");
}

// Uneven, and zero for some.
std::size_t length(int from, int to, std::size_t n) { return (n * std::size_t(from + 2 * to)) % (n + 5) * std::size_t((from + to) % 3 != 1); }
template <class T>
std::vector<T> letter(int from, int to, std::size_t n) {  // what `from` has for `to`
  auto out = values<T>(from, n + std::size_t(to));
  out.erase(out.begin(), out.begin() + to);
  return out;
}
template <class T>
void append(std::vector<T>& to, const std::vector<T>& what) { to.insert(to.end(), what.begin(), what.end()); }

template <class T>
void check_pieces(world_type& world, std::size_t n) {
  const int p = world.size(), rank = world.rank();
  for (const int root : {0, p - 1}) {
    std::vector<T> gathered, spread;
    for (int r = 0; r < p; ++r) append(gathered, values<T>(r, n)), append(spread, letter<T>(root, r, n));
    const auto whole = rank == root ? gathered.size() : 0;
    const test::on_device<T> mine(values<T>(rank, n)), all = test::on_device<T>::zeros(whole);
    comm::gather(world, at(mine), at(all), root);
    expect(same(all.host(), rank == root ? gathered : std::vector<T>{}), "gather");
    expect(same(mine.host(), values<T>(rank, n)), "gather leaves its input alone");
    const test::on_device<T> source(rank == root ? spread : std::vector<T>{}), got = test::on_device<T>::zeros(n);
    comm::scatter(world, at(source), at(got), root);
    expect(same(got.host(), letter<T>(root, rank, n)), "scatter");
    if (rank == root) comm::scatter(world, at(source), at(source, std::size_t(rank) * n, n), root);  // in its place
    else comm::scatter(world, at(source), at(got), root);
    expect(same(rank == root ? source.host() : got.host(), rank == root ? spread : letter<T>(root, rank, n)), "scatter in place");
  }
  std::vector<std::size_t> counts, send, receive;
  std::vector<T> collected, out, in;
  for (int r = 0; r < p; ++r) {
    counts.push_back(length(r, r, n)), send.push_back(length(rank, r, n)), receive.push_back(length(r, rank, n));
    append(collected, values<T>(r, counts.back())), append(out, letter<T>(rank, r, send.back())), append(in, letter<T>(r, rank, receive.back()));
  }
  const auto own = counts[std::size_t(rank)];
  const test::on_device<T> mine(values<T>(rank, own)), all = test::on_device<T>::zeros(collected.size());
  comm::all_gather_v(world, at(mine), at(all), counts);
  expect(same(all.host(), collected), "all_gather_v");
  std::size_t before = 0;
  for (int r = 0; r < rank; ++r) before += counts[std::size_t(r)];
  std::vector<T> only(collected.size());
  std::copy_n(collected.begin() + std::ptrdiff_t(before), own, only.begin() + std::ptrdiff_t(before));
  const test::on_device<T> placed(only);
  comm::all_gather_v(world, at(placed, before, own), at(placed), counts);
  expect(same(placed.host(), collected), "all_gather_v in place");
  const test::on_device<T> letters(out), received = test::on_device<T>::zeros(in.size());
  comm::all_to_all_v(world, at(letters), send, at(received), receive);
  expect(same(received.host(), in) && same(letters.host(), out), "all_to_all_v");
}

template <class T>
void check_type(world_type& world) {
  for (const std::size_t n : {0, 1, 37}) {
    check_reductions<T, comm::sum>(world, n);
    check_reductions<T, comm::product>(world, n);
    check_reductions<T, comm::maximum>(world, n);
    check_reductions<T, comm::minimum>(world, n);
    check_copies<T>(world, n);
    check_pieces<T>(world, n);
  }
}

}  // namespace

TEST_CASE("device collectives of every type give the plain results", "[nccl]") {
  for (const int ranks : {1, 2, 3, 4, 5})
    for (const int slow : {0, 3}) {
      faults().slow_launches = slow;  // calls that only begin
      on_ranks(ranks, [](world_type& world, comm::threads&, const engine::cuda_queue&) {
        check_type<float>(world);
        check_type<double>(world);
        check_type<bfloat16>(world);
        check_type<float16>(world);
        check_type<std::int8_t>(world);
        check_type<std::int32_t>(world);
        check_type<std::uint32_t>(world);
        check_type<std::int64_t>(world);
        check_type<std::uint64_t>(world);
        check_copies<std::int16_t>(world, 11);
        check_pieces<std::int16_t>(world, 11);
      });
    }
  faults().slow_launches = 0;
}

TEST_CASE("pieces travel in one group, also beside reductions, and are counted by the rule", "[nccl]") {
  faults().groups = 0;
  on_ranks(3, [](world_type& world, comm::threads&, const engine::cuda_queue&) {
    const auto rank = std::size_t(world.rank());
    world.counters() = {};
    const std::vector<std::size_t> counts{3, 0, 5}, turn{1, 2, 3}, back(3, rank + 1);
    const test::on_device<float> mine(values<float>(world.rank(), counts[rank])), letters(values<float>(world.rank(), 6)), x(values<float>(world.rank(), 9));
    const auto all = test::on_device<float>::poisoned(8), received = test::on_device<float>::poisoned(3 * back[0]), rows = test::on_device<float>::poisoned(18);
    {
      auto together = world.batch();
      auto a = comm::start_all_gather_v(world, at(mine), at(all), counts), b = comm::start_all_reduce(world, at(x));
      auto c = comm::start_all_to_all_v(world, at(letters), turn, at(received), back), d = comm::start_gather(world, at(letters), at(rows), 1);
      together.launch();
      d.wait();
      expect(a.test() && b.test() && c.test(), "all of a batch is done at once");
    }
    expect(world.counters().collectives == 4 && world.counters().bytes == 4 * (counts[rank] + 9 + 6 + 6), "traffic");
    auto expected = values<float>(0, 3);
    append(expected, values<float>(2, 5));
    expect(same(all.host(), expected) && same(x.host(), reduced<comm::sum, float>(3, 9)), "all_gather_v beside all_reduce");
    std::vector<float> table, own;
    for (int r = 0; r < 3; ++r) {
      const auto row = values<float>(r, 6);
      append(table, row);
      for (std::size_t i = 0, first = rank * (rank + 1) / 2; i <= rank; ++i) own.push_back(row[first + i]);
    }
    expect(same(received.host(), own) && (rank != 1 || same(rows.host(), table)), "all_to_all_v beside gather");
    bool refused = false;
    std::vector<std::size_t> uneven(3);
    uneven[rank] = 2, uneven[(rank + 1) % 3] = 1;  // of each to itself 1, it says, and 2
    try {
      comm::all_to_all_v(world, at(letters, 0, 3), std::vector<std::size_t>{1, 1, 1}, at(letters, 3, 3), uneven);
    } catch (const usage_error& e) {
      refused = std::string(e.what()).find("what a rank sends to itself") != std::string::npos;
    }
    expect(refused, "a rank that sends itself more than it takes is refused");
  });
  CHECK(faults().groups == 3);
}

TEST_CASE("what lies in host memory goes by the host communicator, and everything is counted once", "[nccl]") {
  on_ranks(3, [](world_type& world, comm::threads& host, const engine::cuda_queue&) {
    host.counters() = {};
    std::vector<float> numbers(10, float(world.rank() + 1));
    comm::all_reduce(world, numbers);
    expect(numbers[9] == 6, "host all_reduce");
    expect(world.counters().bytes == 40 && world.counters().collectives == 1, "host traffic");
    comm::pending<world_type> both[2] = {comm::start_all_reduce(world, numbers, comm::maximum{}), {}};
    test::on_device<float> device(numbers);
    both[1] = comm::start_all_reduce(world, at(device));
    both[1].wait(), both[0].wait();
    expect(device.host()[0] == 18, "device all_reduce");
    expect(world.counters().bytes == 120 && world.counters().collectives == 3, "both kinds of traffic");
    comm::barrier(world);
    int token = world.rank();
    comm::broadcast(world, view<int>(&token, 1), 2);
    expect(token == 2, "host broadcast");
    int from = -1;
    comm::send_receive(world, view<int>(&token, 1), (world.rank() + 1) % 3, view<int>(&from, 1), (world.rank() + 2) % 3);
    expect(from == 2, "host messages");
  });
}

TEST_CASE("in host memory it obeys the laws of communicators", "[nccl]") {
  for (const int ranks : {1, 3})
    on_ranks(ranks, [](world_type& world, comm::threads&, const engine::cuda_queue&) { testing::check_communicator(world, {.largest = 130}); });
}

TEST_CASE("a host communicator of messages alone is enough", "[nccl]") {
  comm::run_ranks(3, [](comm::threads& threads) {
    comm::point_to_point_only host{threads};
    comm::nccl world{host, 0};
    std::vector<double> numbers(5, 1.0);
    comm::all_reduce(world, numbers);
    test::on_device<double> device(numbers);
    comm::all_reduce(world, at(device));
    expect(numbers[4] == 3 && device.host()[4] == 9, "sums");
  });
}

TEST_CASE("device messages form rings without locking up, in the order of each pair", "[nccl]") {
  for (const int ranks : {1, 2, 3, 4})
    on_ranks(ranks, [](world_type& world, comm::threads&, const engine::cuda_queue&) {
      const int p = world.size(), next = (world.rank() + 1) % p, before = (world.rank() + p - 1) % p;
      const test::on_device<float> out(values<float>(world.rank(), 20));
      auto in = test::on_device<float>::poisoned(20);
      comm::send_receive(world, at(out), next, at(in), before);
      expect(same(in.host(), values<float>(before, 20)), "ring");
      auto first = test::on_device<float>::poisoned(5), second = test::on_device<float>::poisoned(15);
      auto r1 = comm::start_receive(world, at(first), before), r2 = comm::start_receive(world, at(second), before);
      auto s1 = comm::start_send(world, at(out, 0, 5), next), s2 = comm::start_send(world, at(out, 5, 15), next);
      r2.wait(), r1.wait(), s2.wait(), s1.wait();
      const auto all = in.host();
      expect(same(first.host(), std::vector<float>(all.begin(), all.begin() + 5)) && same(second.host(), std::vector<float>(all.begin() + 5, all.end())), "order");
    });
}

TEST_CASE("a batch of collectives is one group", "[nccl]") {
  faults().groups = 0;
  on_ranks(2, [](world_type& world, comm::threads&, const engine::cuda_queue& engine) {
    test::on_device<float> x(values<float>(world.rank(), 30)), y(values<float>(world.rank(), 7));
    {
      auto together = world.batch();
      auto a = comm::start_all_reduce(world, at(x)), b = comm::start_all_reduce(world, at(y), comm::maximum{});
      together.launch();
      b.wait();
      expect(a.test(), "all of a batch is done at once");
    }
    expect(same(x.host(), reduced<comm::sum, float>(2, 30)) && same(y.host(), reduced<comm::maximum, float>(2, 7)), "a batch");
    auto c = comm::start_all_reduce(world, at(x));
    world.hold(engine);  // the engine's work comes after it; the host did not wait
    expect(c.test(), "held");
  });
  CHECK(faults().groups == 2 * 2);
}

TEST_CASE("as the documentation has it", "[nccl]") {
  comm::run_ranks(2, [](comm::threads& host) {
    //! [use]
    const auto engine = engine::cuda{.device = 0}.start();
    comm::nccl world{host, engine, {.deadline = std::chrono::seconds(60)}};

    buffer<float, cuda_space> gradient(1000), norms(10);
    std::vector<double> losses(4, 1.0);
    comm::all_reduce(world, gradient);  // NCCL, on the device
    comm::all_reduce(world, losses);    // the host communicator

    auto together = world.batch();  // one launch
    auto first = comm::start_all_reduce(world, gradient), second = comm::start_all_reduce(world, norms, comm::maximum{});
    together.launch();
    world.hold(engine);  // the engine's next work waits, on the device
    second.wait();       // the host waits, at most 60 seconds
    //! [use]
    expect(losses[3] == 2, "losses");
  });
}

TEST_CASE("parts have their own devices' group, ordered by key", "[nccl]") {
  for (const int ranks : {1, 2, 3, 4})
    on_ranks(ranks, [](world_type& world, comm::threads&, const engine::cuda_queue&) {
      auto part = world.split(world.rank() % 2, -world.rank());
      std::vector<float> numbers(3, float(world.rank()));
      test::on_device<float> device(numbers);
      comm::all_reduce(part, at(device));
      comm::all_reduce(part, numbers);
      expect(same(device.host(), numbers), "part");
      const test::on_device<int> mine(std::vector<int>{world.rank()}), all = test::on_device<int>::zeros(std::size_t(part.size()));
      comm::all_gather(part, at(mine), at(all));
      for (int r = 1; r < part.size(); ++r) expect(all.host()[std::size_t(r)] < all.host()[std::size_t(r) - 1], "order by key");
      comm::all_reduce(world, at(device));
    });
  comm::run_ranks(1, [](comm::threads& host) {
    comm::nccl world{host, 0};
    bool refused = false;
    try {
      (void)world.split(-1, 0);
    } catch (const usage_error&) { refused = true; }
    expect(refused, "negative colours are refused");
  });
}

TEST_CASE("a rank that does not come ends the others at the deadline, by name", "[nccl]") {
  const comm::nccl_options hasty{.deadline = std::chrono::milliseconds(100)};
  std::vector<std::string> said(3);
  const int aborted = faults().aborted;
  comm::run_ranks(3, [&](comm::threads& host) {
    const auto engine = engine::cuda{}.start();
    comm::nccl world{host, engine, hasty};
    comm::barrier(host);
    test::on_device<float> x(values<float>(world.rank(), 8));
    comm::all_reduce(world, at(x));
    comm::barrier(host);
    if (world.rank() != 1) said[std::size_t(world.rank())] = error_of([&] { comm::all_reduce(world, at(x)); });
    comm::barrier(host);
    const auto after = error_of([&] { comm::all_reduce(world, at(x)); });
    expect(after.find("device 0") != std::string::npos, "later calls say so, too: " + after);
  });
  CHECK(faults().aborted - aborted == 3);
  CHECK_THAT(said[0] + said[2], Catch::Contains("all_reduce #1: not complete within 100 ms"));
  CHECK_THAT(said[0], Catch::Contains("comm::nccl, rank 0 of 3"));
  CHECK_THAT(said[2], Catch::Contains("comm::nccl, rank 2 of 3"));
}

TEST_CASE("collectives of pieces end at the deadline, and where ranks disagree", "[nccl]") {
  std::vector<std::string> said(3);
  comm::run_ranks(3, [&](comm::threads& host) {
    comm::nccl world{host, 0, {.deadline = std::chrono::milliseconds(300)}};
    const test::on_device<float> x(values<float>(host.rank(), 9)), out = test::on_device<float>::zeros(27);
    if (host.rank() != 2) said[std::size_t(host.rank())] = error_of([&] { comm::gather(world, at(x), at(out), 2); });
    comm::barrier(host);
  });
  CHECK_THAT(said[0] + said[1], Catch::Contains("gather #0: not complete within 300 ms"));
  for (const int rank : {0, 1}) CHECK_THAT(said[std::size_t(rank)], Catch::Contains("gather #0: "));
  comm::run_ranks(2, [&](comm::threads& host) {
    comm::nccl world{host, 0, {.deadline = std::chrono::seconds(5)}};
    const test::on_device<float> x(values<float>(host.rank(), 9)), out = test::on_device<float>::zeros(9);
    const std::size_t other = host.rank() == 0 ? 4 : 5;  // each takes as much as it gives, but not what the other does
    const std::vector<std::size_t> counts = host.rank() == 0 ? std::vector<std::size_t>{9 - other, other} : std::vector<std::size_t>{other, 9 - other};
    said[std::size_t(host.rank())] = error_of([&] { comm::all_to_all_v(world, at(x), counts, at(out), counts); });
    comm::barrier(host);
  });
  for (const int rank : {0, 1}) CHECK_THAT(said[std::size_t(rank)], Catch::Contains("all_to_all_v #0: "));
}

TEST_CASE("joining ends at the deadline, too", "[nccl]") {
  comm::nccl_ranks job{1, 2};
  const auto id = comm::make_nccl_id();
  CHECK_THAT(error_of([&] { comm::nccl world{job, 0, id, {.deadline = std::chrono::milliseconds(50)}}; }), Catch::Contains("rank 1 of 2") && Catch::Contains("joining the group #0: not complete within 50 ms"));
  CHECK_THROWS_AS(comm::nccl_ranks(2, 2), usage_error);
}

TEST_CASE("operations that never end, and asynchronous errors, neither hang nor pass", "[nccl]") {
  comm::run_ranks(1, [&](comm::threads& host) {
    comm::nccl world{host, 0, {.deadline = std::chrono::milliseconds(50)}};
    test::on_device<float> x(values<float>(0, 8));
    faults().never_complete = true;
    const int aborted = faults().aborted;
    { auto dropped = comm::start_all_reduce(world, at(x)); }  // waits, gives up
    expect(faults().aborted == aborted + 1, "a dropped request gives up");
    const auto said = error_of([&] { comm::all_reduce(world, at(x)); });
    expect(said.find("unusable: all_reduce #0: not complete") != std::string::npos, said);
  });
  comm::run_ranks(1, [&](comm::threads& host) {
    comm::nccl world{host, 0};  // a long deadline: a passing exception must not wait for it
    test::on_device<float> x(values<float>(0, 8));
    try {
      auto pending = comm::start_all_reduce(world, at(x));
      throw std::runtime_error("something else");
    } catch (const std::runtime_error&) {}
    expect(error_of([&] { comm::all_reduce(world, at(x)); }).find("an exception passed") != std::string::npos, "broken off");
  });
  faults().never_complete = false;
  comm::run_ranks(1, [&](comm::threads& host) {
    comm::nccl world{host, 0};
    test::on_device<float> x(values<float>(0, 8));
    faults().asynchronous = ncclSystemError;
    const auto said = error_of([&] { comm::reduce_scatter(world, at(x), at(x)); });
    faults().asynchronous = ncclSuccess;
    expect(said.find("reduce_scatter #0: unhandled system error: provoked") != std::string::npos, said);
  });
}

TEST_CASE("ranks that call different things are told", "[nccl]") {
  std::vector<std::string> said(2);
  comm::run_ranks(2, [&](comm::threads& host) {
    comm::nccl world{host, 0, {.deadline = std::chrono::seconds(5)}};
    test::on_device<float> x(values<float>(0, 8));
    said[std::size_t(host.rank())] = error_of([&] { comm::all_reduce(world, at(x, 0, host.rank() == 0 ? 8 : 4)); });
  });
  CHECK_THAT(said[0], Catch::Contains("all_reduce #0"));
  CHECK_THAT(said[1], Catch::Contains("all_reduce #0"));
}

TEST_CASE("nothing is allocated once as much has been under way", "[nccl]") {
  comm::run_ranks(1, [&](comm::threads& host) {
    const int destroyed = faults().destroyed, aborted = faults().aborted;
    {
      comm::nccl world{host, 0};
      test::on_device<float> x(values<float>(0, 8));
      comm::all_reduce(world, at(x));
      const long before = emulated::allocations;
      for (int i = 0; i < 10; ++i) comm::all_reduce(world, at(x));
      expect(emulated::allocations == before, "device allocations");
    }
    expect(faults().destroyed == destroyed + 1 && faults().aborted == aborted, "what went well is finalised, not aborted");
  });
}

TEST_CASE("the unique id travels by a file", "[nccl]") {
  const auto path = std::filesystem::temp_directory_path() / ("entrain_nccl_id_" + std::to_string(::getpid()));
  std::filesystem::remove(path);
  comm::run_ranks(3, [&](comm::threads& threads) {
    comm::nccl_ranks job{threads.rank(), threads.size()};
    comm::nccl world{job, 0, comm::nccl_id_from_file(path, job.rank(), std::chrono::seconds(20)), {.deadline = std::chrono::seconds(20)}};
    test::on_device<float> x(values<float>(world.rank(), 8));
    comm::all_reduce(world, at(x));
    expect(same(x.host(), reduced<comm::sum, float>(3, 8)), "all_reduce");
    bool refused = false;
    std::vector<float> numbers(3);
    try {
      comm::all_reduce(world, numbers);
    } catch (const usage_error&) { refused = true; }
    expect(refused, "host memory is refused");
  });
  CHECK_THROWS_WITH(comm::nccl_id_from_file(path, 0, std::chrono::milliseconds(1)), Catch::Contains("left from another run"));
  std::ofstream(path) << "something else";
  CHECK_THROWS_WITH(comm::nccl_id_from_file(path, 1, std::chrono::milliseconds(1)), Catch::Contains("holds no unique id"));
  std::filesystem::remove(path);
  CHECK_THROWS_WITH(comm::nccl_id_from_file(path, 1, std::chrono::milliseconds(20)), Catch::Contains(path.string()) && Catch::Contains("rank 1") && Catch::Contains("20 ms"));
  CHECK_THROWS_AS(comm::nccl_id_from_file("/nonexistent/folder/id", 0, std::chrono::milliseconds(1)), file_error);
}

TEST_CASE("the unique id travels over TCP", "[nccl]") {
  for (const int ranks : {1, 2, 3, 5}) {
    comm::rendezvous_host first{{.size = ranks, .port = 0, .key = "a run"}};
    comm::run_ranks(ranks, [&](comm::threads& threads) {
      auto job = first.job();
      job.rank = threads.rank();
      comm::nccl_ranks alone{job.rank, job.size};
      const auto id = job.rank == 0 ? comm::nccl_id_over_tcp(first, std::chrono::seconds(20)) : comm::nccl_id_over_tcp(job, std::chrono::seconds(20));
      comm::nccl world{alone, 0, id, {.deadline = std::chrono::seconds(20)}};
      test::on_device<float> x(values<float>(world.rank(), 8));
      comm::all_reduce(world, at(x));
      expect(same(x.host(), reduced<comm::sum, float>(ranks, 8)), "all_reduce");
    });
  }
  comm::rendezvous_host alone{{.size = 2, .port = 0}};
  CHECK_THAT(error_of([&] { (void)comm::nccl_id_over_tcp(alone, std::chrono::milliseconds(50)); }),
             Catch::Contains("rank 0 of 2") && Catch::Contains("not all ranks have come within 50 ms"));
  CHECK_THROWS_AS(comm::nccl_id_over_tcp({.rank = 2, .size = 2}, std::chrono::milliseconds(1)), usage_error);
}

TEST_CASE("by the address of rank 0, as the documentation has it", "[nccl]") {
  const char* const variables[][2] = {{"MASTER_ADDR", "127.0.0.1"}, {"MASTER_PORT", "29500"}, {"RANK", "0"}, {"WORLD_SIZE", "1"}, {"LOCAL_RANK", "0"}};
  for (const auto& [name, value] : variables) ::setenv(name, value, 1);
  //! [address]
  const auto job = comm::job_address::from_environment();  // or {.rank = 3, .size = 8, .host = "node17", .port = 29500, .key = "run 12"}
  const auto engine = engine::cuda{.device = job.local_rank}.start();
  comm::nccl_ranks ranks{job.rank, job.size};
  comm::nccl world{ranks, engine, comm::nccl_id_over_tcp(job, std::chrono::minutes(2))};
  //! [address]
  for (const auto& one : variables) ::unsetenv(one[0]);
  CHECK(world.size() == 1);
}
