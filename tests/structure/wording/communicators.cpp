// SPDX-License-Identifier: Apache-2.0
//
// A communicator that reduces in memory of its own, as comm::nccl does on GPUs, and what cannot be asked of it.
#include <concepts>
#include <cstdlib>
#include <string_view>

#include <entrain/comm/collectives.hpp>
#include <entrain/comm/self.hpp>

namespace en = entrain;
namespace comm = entrain::comm;

struct far_away {
  static constexpr std::string_view name = "far_away";
  static constexpr bool host_accessible = false;
  static void* allocate_zeroed(std::size_t bytes) { return std::calloc(1, bytes); }
  static void deallocate(void* pointer, std::size_t) noexcept { std::free(pointer); }
};

struct gpus {
  using slot_type = en::slot::communicator;
  static constexpr std::string_view name = "gpus";
  struct request {
    bool test() { return true; }
    void wait() {}
  };
  struct abilities {
    static constexpr bool best = true;
    template <comm::collective Kind, class T, class Op, class Space>
    static constexpr bool native = Kind == comm::collective::all_reduce && std::same_as<T, float> && std::same_as<Op, comm::sum> && std::same_as<Space, far_away>;
  };
  int rank() const { return 0; }
  int size() const { return 1; }
  comm::traffic& counters() { return counted; }
  std::uint64_t& sequence() { return number; }
  gpus split(int, int) { return {}; }
  template <class T>
  request start_send(en::view<const T>, int, int) { return {}; }
  template <class T>
  request start_receive(en::view<T>, int, int) { return {}; }
  template <class T, class Op>
  request start_all_reduce(en::view<const T, far_away>, en::view<T, far_away>, Op) { return {}; }
  comm::traffic counted;
  std::uint64_t number = 0;
};

struct larger_magnitude {
  static constexpr std::string_view name = "larger_magnitude";
  static constexpr bool commutative = false;
  template <class T>
  static constexpr T combine(T a, T b) { return a * a < b * b ? b : a; }
};

#if defined(CASE_operation)
// expect: in memory of this space this communicator reduces numbers by sum, product, maximum or minimum; for another operation or element type, copy the operands to host memory
void meet(gpus& world, en::view<float, far_away> x) { comm::all_reduce(world, x, larger_magnitude{}); }
#endif

#if defined(CASE_element)
// expect: in memory of this space this communicator reduces numbers by sum, product, maximum or minimum; for another operation or element type, copy the operands to host memory
void meet(gpus& world, en::view<short, far_away> x) { comm::all_reduce(world, x); }
#endif

#if defined(CASE_collective)
// expect: this communicator has no such collective for memory of this space, and it cannot be built from messages there
void meet(gpus& world, en::view<float, far_away> x) { comm::reduce_scatter(world, x, x); }
#endif

#if defined(CASE_spaces)
// expect: input and output of a collective must lie in the same memory space
void meet(gpus& world, en::view<float, far_away> x, en::view<float> y) { comm::all_reduce(world, x, y); }
#endif

// What fits.
void fits(gpus& world, comm::self& alone, en::view<float, far_away> x, en::view<float> y) {
  comm::all_reduce(world, x);
  comm::all_reduce(alone, y, larger_magnitude{});
}
