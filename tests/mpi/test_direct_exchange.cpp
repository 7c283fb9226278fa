// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <entrain/comm/comm.hpp>
#include <entrain/comm/point_to_point_only.hpp>
#include <entrain/compress/none.hpp>
#include <entrain/compress/sign.hpp>
#include <entrain/parallel/direct_exchange.hpp>
#include <entrain/parallel/reaching_exchange.hpp>

#include "world.hpp"

// Gradients that travel straight from a device's memory, on a device that does nothing until it is looked at, and then one thing after
// the other: whoever does not wait for it, or lets it read too early, gets what was there before.

using namespace entrain;

namespace late {

struct memory {
  static constexpr std::string_view name = "late";
  static constexpr bool host_accessible = false;
  static void* allocate_zeroed(std::size_t bytes) { return std::calloc(bytes, 1); }
  static void deallocate(void* pointer, std::size_t) noexcept { std::free(pointer); }
};

// A stream: what is done when `patience` looks have been had at it.
struct stream {
  std::deque<std::function<void()>> work;
  std::size_t given = 0, done = 0;
  int patience = 1, looks = 0;

  void give(std::function<void()> what) { work.push_back(std::move(what)), ++given; }
  void do_one() {
    auto next = std::move(work.front());
    work.pop_front();
    next();
    ++done;
  }
  void look() {
    if (!work.empty() && ++looks % patience == 0) do_one();
  }
};

class event {
 public:
  bool reached() {
    if (stream_ && stream_->done < place_) stream_->look();
    return !stream_ || stream_->done >= place_;
  }
  void wait() const {
    while (stream_ && stream_->done < place_) stream_->do_one();
  }

 private:
  friend class queue;
  std::shared_ptr<stream> stream_;
  std::size_t place_ = 0;
};

class queue {
 public:
  using space = memory;
  using staging_space = host_space;
  using event = late::event;

  explicit queue(int patience) : here_(std::make_shared<stream>()), beside_(std::make_shared<stream>()) { here_->patience = beside_->patience = patience; }
  queue beside() const {
    queue other = *this;
    other.here_ = beside_;
    return other;
  }
  void mark(event& e) const { e.stream_ = here_, e.place_ = here_->given; }
  void await(const event& e) const {
    here_->give([e] { e.wait(); });
  }
  void wait() const {
    while (!here_->work.empty()) here_->do_one();
  }
  void give(std::function<void()> what) const { here_->give(std::move(what)); }
  template <class T>
  void copy(const T* from, T* to, std::size_t n) const {
    give([=] { std::copy_n(from, n, to); });
  }

 private:
  std::shared_ptr<stream> here_, beside_;
};

template <class T>
void add(const queue& on, const T* left, const T* right, T* sum, std::size_t n) {
  on.give([=] {
    for (std::size_t i = 0; i < n; ++i) sum[i] = left[i] + right[i];
  });
}

}  // namespace late

namespace {

// What this rank's MPI says of itself.
struct environment {
  explicit environment(const char* value) { ::setenv("ENTRAIN_CUDA_AWARE_MPI", value, 1); }
  ~environment() { ::unsetenv("ENTRAIN_CUDA_AWARE_MPI"); }
};

template <class T>
T value(int rank, std::size_t i, int step) { return T(1) / T(3 + (i * 7 + std::size_t(rank) * 5 + std::size_t(step) * 11) % 97); }

parameter_layout some_layout() {
  parameter_layout made;
  made.add("mean", {3}, block_kind::statistic);
  made.add("a", {7, 9}, block_kind::weight);
  made.add("b", {33}, block_kind::weight);
  made.add("c", {2, 200}, block_kind::weight);
  made.add("d", {1}, block_kind::weight);
  return made;
}

// One step: each block is final only when the device has written it, others of the job talk meanwhile, and the device reads what it finds.
template <class T, class Exchange>
std::vector<T> step(comm::mpi& world, Exchange& exchange, const late::queue& engine, const parameter_layout& layout, buffer<T, late::memory>& gradient, int number) {
  std::vector<T> found(layout.size());
  exchange.begin_step({});
  T* memory = gradient.data();
  for (std::size_t block = layout.blocks().size(); block-- > 0;) {
    const auto& b = layout[block];
    const int rank = world.rank();
    engine.give([=] {
      for (std::size_t i = b.offset; i < b.offset + b.count; ++i) memory[i] = std::numeric_limits<T>::quiet_NaN();
    });
    engine.give([=] {
      for (std::size_t i = b.offset; i < b.offset + b.count; ++i) memory[i] = value<T>(rank, i, number);
    });
    exchange.ready(block, gradient.all());
  }
  std::vector<double> losses(3, 1.0);
  comm::all_reduce(world, losses);
  CHECK(losses[2] == world.size());
  exchange.finish(gradient.all(), 1);
  engine.copy(static_cast<const T*>(memory), found.data(), layout.size());
  engine.wait();
  return found;
}

template <class T>
void check_direct(comm::mpi& world, std::size_t bucket_bytes, bool whole_blocks) {
  const auto layout = some_layout();
  const late::queue engine(1 + 2 * world.rank());
  buffer<T, late::memory> gradient(layout.size());
  parallel::direct_exchange<T, late::queue, comm::mpi> exchange(layout, engine, world, compress::none{}, bucket_bytes, whole_blocks);
  parallel::plan plan;
  exchange.add_to(plan, 0);
  comm::point_to_point_only<comm::mpi> on_host(world);
  on_host.use(comm::algorithms::ring_all_reduce);
  for (int number = 0; number < 3; ++number) {
    const auto before = world.counters();
    const auto found = step<T>(world, exchange, engine, layout, gradient, number);
    CHECK(world.counters().bytes - before.bytes == parallel::bytes_sent(plan) + 3 * sizeof(double));
    std::vector<T> expected(layout.size());
    for (const auto& b : layout.blocks())
      for (std::size_t i = b.offset; i < b.offset + b.count; ++i) expected[i] = value<T>(world.rank(), i, number);
    for (const auto& b : parallel::cut_for_sums<T>(layout, world.size(), bucket_bytes, whole_blocks))
      comm::all_reduce(on_host, std::span(expected).subspan(b.begin, std::min(b.end, layout.size()) - b.begin));
    bool same = true;
    for (const auto& b : layout.blocks())
      for (std::size_t i = b.offset; i < b.offset + b.count; ++i) same &= found[i] == expected[i];
    CHECK(same);
  }
}

}  // namespace

static_assert(parallel::may_exchange_directly<float, float, late::queue, comm::mpi, compress::none>);
static_assert(!parallel::may_exchange_directly<bfloat16, float, late::queue, comm::mpi, compress::none>);
static_assert(!parallel::may_exchange_directly<float, float, late::queue, comm::mpi, compress::sign>);
static_assert(!parallel::may_exchange_directly<float, float, late::queue, comm::threads, compress::none>);
static_assert(!parallel::may_exchange_directly<float, float, late::queue, comm::point_to_point_only<comm::mpi>, compress::none>);

TEST_CASE("sums straight from device memory are those of the same ring on the host, bit by bit", "[device]") {
  const environment aware("1");
  for (const bool shared : {true, false}) {
    comm::mpi world{tests::world().native_handle(), {.shared_memory = shared}};
    for (const std::size_t bytes : {std::size_t(1), std::size_t(200), std::size_t(1) << 20}) {
      check_direct<float>(world, bytes, false);
      check_direct<double>(world, bytes, true);
    }
  }
}

TEST_CASE("straight or through host memory is agreed upon by all ranks", "[device]") {
  const auto layout = some_layout();
  const late::queue engine(1);
  const auto says = [&](const char* last) {
    const environment aware(tests::world().rank() + 1 == tests::world().size() ? last : "1");
    comm::mpi world{tests::world().native_handle()};
    parallel::reaching_exchange<float, float, late::queue, comm::mpi, compress::none> exchange(layout, engine, world, compress::none{}, 1 << 20, false);
    CHECK(exchange.is_direct() == (last == std::string("1")));
    buffer<float, late::memory> gradient(layout.size());
    const auto found = step<float>(world, exchange, engine, layout, gradient, 0);
    double sum = 0;
    for (int r = 0; r < world.size(); ++r) sum += double(value<float>(r, layout[3].offset, 0));
    CHECK(found[layout[3].offset] == Approx(sum));
    parallel::plan plan;
    exchange.add_to(plan, 0);
    for (const auto& sent : plan) CHECK(sent.on_device == exchange.is_direct());
    return exchange.explain(0);
  };
  const bool alone = tests::world().size() == 1;
  CHECK_THAT(says("1"), Catch::Contains(alone ? "nothing travels" : "straight from device memory"));
  CHECK_THAT(says("0"), Catch::Contains(alone ? "nothing travels" : "through pinned host memory"));
}

TEST_CASE("what MPI says of itself can be overridden, by 0 and 1 alone", "[device]") {
  const auto reaches = [](const char* value) {
    const environment aware(value);
    return comm::mpi(tests::world().native_handle()).reaches_device_memory();
  };
  CHECK(reaches("1"));
  CHECK(!reaches("0"));
  for (const char* wrong : {"yes", ""}) CHECK_THROWS_WITH(reaches(wrong), Catch::Contains("ENTRAIN_CUDA_AWARE_MPI") && Catch::Contains("0, 1, or not set"));
  const environment aware("0");
  comm::mpi world{tests::world().native_handle()};
  buffer<float, late::memory> x(3);
  CHECK_THROWS_WITH(world.start_receive(x.all(), 0, 0), Catch::Contains("CUDA-aware"));
}
