// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <array>
#include <chrono>
#include <numeric>
#include <string>
#include <vector>

#include <entrain/comm/mpi.hpp>

#include "mpi/world.hpp"

// comm::mpi's own promises: native collectives for every kind of element, operands in pieces, aliasing, groups, errors.
// What holds for every communicator stands in test_communicator.cpp.

using namespace entrain;

static_assert(comm::communicator<comm::mpi>);
static_assert(comm::native<comm::mpi, comm::collective::all_reduce, bfloat16, comm::sum>);

namespace mpi_cases {

struct reading {  // a user's element
  float value;
  std::int32_t count;
  bool operator==(const reading&) const = default;
};
struct merge {  // a user's operation
  static constexpr std::string_view name = "merge";
  static constexpr bool commutative = true;
  template <class T>
  static constexpr T combine(T a, T b) { return {a.value + b.value, a.count + b.count}; }
};
struct affine {  // x -> a x + b modulo 2^32; composition is associative and not commutative
  std::uint32_t a, b;
  bool operator==(const affine&) const = default;
};
struct compose {
  static constexpr std::string_view name = "compose";
  static constexpr bool commutative = false;
  template <class T>
  static constexpr T combine(T f, T g) { return {f.a * g.a, f.a * g.b + f.b}; }
};

}  // namespace mpi_cases

using namespace mpi_cases;

namespace {

template <class T>
view<const T> in(const std::vector<T>& data) { return view<const T>(data); }
template <class T>
view<T> out(std::vector<T>& data) { return view<T>(data); }

const std::array<std::size_t, 5> sizes{0, 1, 7, 64, 1000};

template <class T, class Op, class Make>
void check_reductions(comm::mpi& comm, Op op, Make make) {
  const int rank = comm.rank(), ranks = comm.size();
  for (const std::size_t n : sizes) {
    CAPTURE(n);
    const std::size_t all = n * std::size_t(ranks);
    std::vector<T> mine(all), expected(all);
    for (std::size_t i = 0; i < all; ++i) {
      mine[i] = make(rank, i);
      expected[i] = make(0, i);
      for (int r = 1; r < ranks; ++r) expected[i] = Op::combine(expected[i], make(r, i));
    }
    std::vector<T> result(all), alias = mine;
    comm.start_all_reduce(in(mine), out(result), op).wait();
    CHECK(result == expected);
    comm.start_all_reduce(in(alias), out(alias), op).wait();
    CHECK(alias == expected);
    alias = mine;
    comm.all_reduce(in(alias), out(alias), op);
    CHECK(alias == expected);
    for (int root = 0; root < ranks; ++root) {
      alias = mine, result.assign(all, T{});
      comm.start_reduce(in(mine), out(result), op, root).wait();
      comm.start_reduce(in(alias), out(alias), op, root).wait();
      CHECK(result == (rank == root ? expected : std::vector<T>(all)));
      CHECK(alias == (rank == root ? expected : mine));
    }
    const auto begin = std::ptrdiff_t(std::size_t(rank) * n);
    const std::vector<T> piece(expected.begin() + begin, expected.begin() + begin + std::ptrdiff_t(n));
    result.assign(n, T{}), alias = mine;
    comm.start_reduce_scatter(in(mine), out(result), op).wait();
    CHECK(result == piece);
    comm.start_reduce_scatter(in(alias), out(alias).subview(std::size_t(begin), n), op).wait();
    CHECK(std::vector<T>(alias.begin() + begin, alias.begin() + begin + std::ptrdiff_t(n)) == piece);
  }
}

template <class T, class Make>
void check_moves(comm::mpi& comm, Make make) {
  const int rank = comm.rank(), ranks = comm.size();
  for (const std::size_t n : sizes) {
    CAPTURE(n);
    const std::size_t all = n * std::size_t(ranks), own = std::size_t(rank) * n;
    std::vector<T> mine(n), whole(all);
    for (std::size_t i = 0; i < all; ++i) whole[i] = make(int(i / n), i % n);
    for (std::size_t i = 0; i < n; ++i) mine[i] = make(rank, i);

    std::vector<T> result(all), alias(all);
    std::copy_n(mine.begin(), n, alias.begin() + std::ptrdiff_t(own));
    comm.start_all_gather(in(mine), out(result)).wait();
    comm.start_all_gather(in(alias).subview(own, n), out(alias)).wait();
    CHECK(result == whole);
    CHECK(alias == whole);
    for (int root = 0; root < ranks; ++root) {
      std::vector<T> gathered(rank == root ? all : 0), piece(n), data = rank == root ? whole : std::vector<T>(all);
      comm.start_gather(in(mine), out(gathered), root).wait();
      CHECK(gathered == (rank == root ? whole : std::vector<T>{}));
      comm.start_scatter(in(gathered), out(piece), root).wait();
      CHECK(piece == mine);
      comm.start_broadcast(out(data), root).wait();
      CHECK(data == whole);
    }
    for (std::size_t i = 0; i < all; ++i) whole[i] = make(rank * ranks + int(i / n), i % n);
    comm.start_all_to_all(in(whole), out(result)).wait();
    for (std::size_t i = 0; i < all; ++i) whole[i] = make(int(i / n) * ranks + rank, i % n);
    CHECK(result == whole);
  }
}

void check_uneven(comm::mpi& comm) {
  const int rank = comm.rank(), ranks = comm.size();
  for (const std::size_t n : sizes) {
    std::vector<std::size_t> counts, send, receive;
    std::vector<int> expected, whole, outgoing, incoming;
    for (int r = 0; r < ranks; ++r) {
      counts.push_back(n * std::size_t(r % 3));
      expected.insert(expected.end(), counts.back(), r);
      send.push_back(n * std::size_t((rank + 2 * r) % 3));
      outgoing.insert(outgoing.end(), send.back(), 100 * rank + r);
      receive.push_back(n * std::size_t((r + 2 * rank) % 3));
      incoming.insert(incoming.end(), receive.back(), 100 * r + rank);
    }
    const std::vector<int> mine(counts[std::size_t(rank)], rank);
    whole.assign(expected.size(), -1);
    comm.start_all_gather_v(in(mine), out(whole), counts).wait();
    CHECK(whole == expected);
    std::vector<int> got(incoming.size());
    comm.start_all_to_all_v(in(outgoing), send, out(got), receive).wait();
    CHECK(got == incoming);
  }
}

void check_everything(comm::mpi& comm) {
  check_reductions<float>(comm, comm::sum{}, [](int r, std::size_t i) { return float(r + int(i % 10)); });
  check_reductions<std::int64_t>(comm, comm::maximum{}, [](int r, std::size_t i) { return std::int64_t((r * 7 + int(i)) % 5) << 40; });
  check_reductions<std::uint8_t>(comm, comm::minimum{}, [](int r, std::size_t i) { return std::uint8_t(200 - r - int(i % 9)); });
  check_reductions<bfloat16>(comm, comm::sum{}, [](int r, std::size_t i) { return bfloat16(float(r + int(i % 4))); });
  check_reductions<reading>(comm, merge{}, [](int r, std::size_t i) { return reading{float(i % 10), r}; });
  check_reductions<affine>(comm, compose{}, [](int r, std::size_t i) { return affine{std::uint32_t(2 * r + 3), std::uint32_t(i + 1)}; });
  check_moves<double>(comm, [](int r, std::size_t i) { return r * 1000.0 + double(i); });
  check_moves<std::array<char, 3>>(comm, [](int r, std::size_t i) { return std::array<char, 3>{char(r), char(i), char(i / 100)}; });
  check_uneven(comm);
  comm.start_barrier().wait();
}

}  // namespace

TEST_CASE("native collectives on all elements and operations") {
  check_everything(tests::world());
  comm::mpi plain{tests::world().native_handle(), {.shared_memory = false}};
  CHECK(plain.native_name(comm::collective::all_reduce, 1000) == "MPI_Iallreduce");
  check_everything(plain);
}

TEST_CASE("operands beyond the largest count travel in pieces") {
  for (const std::size_t largest : {1, 3, 100}) {
    comm::mpi narrow{tests::world().native_handle(), {.largest_count = largest, .shared_memory = false}};
    if (largest > 1) check_everything(narrow);
    std::vector<int> data{1, 2, 3, 4, 5, 6, 7}, got(7);
    const int next = (narrow.rank() + 1) % narrow.size(), last = (narrow.rank() + narrow.size() - 1) % narrow.size();
    auto receive = narrow.start_receive(out(got), last, 3);
    narrow.start_send(in(data), next, 3).wait();
    receive.wait();
    CHECK(got == data);
  }
}

TEST_CASE("sub-groups are ordered by key and separate") {
  auto& world = tests::world();
  const int rank = world.rank();
  auto part = world.split(rank % 2, -rank);
  CHECK(part.size() == (world.size() + 1 - rank % 2) / 2);
  std::vector<int> mine{rank}, all(std::size_t(part.size()));
  part.start_all_gather(in(mine), out(all)).wait();
  CHECK(std::is_sorted(all.rbegin(), all.rend()));
  check_everything(part);
  auto single = part.split(part.rank(), 0);
  CHECK(single.size() == 1);
  check_everything(single);
  const auto moved = std::move(single);
  CHECK(moved.rank() == 0);
}

namespace {
void run_several(comm::mpi& world) {
  const int next = (world.rank() + 1) % world.size(), last = (world.rank() + world.size() - 1) % world.size();
  std::vector<float> a(100000, 1.0f), b(100000), c(10, 2.0f), got(100000);
  auto receive = world.start_receive(out(got), last, 1);
  auto send = world.start_send(in(a), next, 1);
  auto long_sum = world.start_all_reduce(in(a), out(b), comm::sum{});
  auto short_sum = world.start_all_reduce(in(c), out(c), comm::sum{});
  while (!(receive.test() && send.test() && long_sum.test() && short_sum.test())) {
  }
  CHECK(got == a);
  CHECK(b == std::vector<float>(b.size(), float(world.size())));
  CHECK(c == std::vector<float>(c.size(), 2.0f * float(world.size())));
  comm::mpi::request idle;
  CHECK(idle.test());
  idle.wait();
}
}  // namespace

TEST_CASE("several operations run at once and make progress by test()") {
  run_several(tests::world());
  comm::mpi plain{tests::world().native_handle(), {.shared_memory = false}};
  run_several(plain);
}

TEST_CASE("a request that is dropped waits for its operation") {
  auto& world = tests::world();
  std::vector<int> data(1000, 1);
  { auto dropped = world.start_all_reduce(in(data), out(data), comm::sum{}); }
  CHECK(data == std::vector<int>(1000, world.size()));
}

TEST_CASE("MPI's errors name call and rank, and break only their group") {
  comm::mpi copy{tests::world().native_handle()};
  std::vector<int> data(4), small(2);
  auto self_send = copy.start_send(in(data), copy.rank(), 1);
  try {
    copy.start_receive(out(small), copy.rank(), 1).wait();
    FAIL("a message longer than its receive passed");
  } catch (const communication_error& e) {
    const std::string text = e.what();
    CHECK(text.find("comm::mpi rank " + std::to_string(copy.rank())) == 0);
    CHECK(text.find("MPI_Irecv failed: ") != std::string::npos);
  }
  CHECK_THROWS_AS(copy.start_barrier(), communication_error);
  CHECK_THROWS_AS(tests::world().split(-1, 0), usage_error);
  tests::world().start_barrier().wait();
}

TEST_CASE("a program that runs MPI itself keeps it") {
  {
    int argc = 0;
    char** argv = nullptr;
    comm::mpi guest{argc, argv};
    CHECK(guest.size() == tests::world().size());
    CHECK(guest.native_handle() != tests::world().native_handle());
  }
  int finalised = 1;
  MPI_Finalized(&finalised);
  CHECK(finalised == 0);
}

// Hidden; test_failure.sh runs them and looks at how the job ends.
TEST_CASE("one rank fails a requirement", "[.][one_rank_requires]") {
  if (tests::world().rank() == 1) REQUIRE(tests::world().size() == 0);
  tests::world().start_barrier().wait();
}
TEST_CASE("one rank throws in a test", "[.][one_rank_throws]") {
  if (tests::world().rank() == 1) throw usage_error("here", "thrown in a test");
  tests::world().start_barrier().wait();
}
TEST_CASE("one rank fails a check", "[.][one_rank_checks]") {
  if (tests::world().rank() == 1) CHECK(tests::world().size() == 0);
  tests::world().start_barrier().wait();
}
