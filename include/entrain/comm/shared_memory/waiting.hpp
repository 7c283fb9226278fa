// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

// How to pass the time until another rank has come further: look often while it surely runs on another core, and give the
// core away when it may need ours. A group that has more ranks than cores gives it away at once; others after about 20
// microseconds, which is long against a round and short against a time slice.

namespace entrain::comm::shared_memory {

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The cores that this process may run on, a bit each.
using core_set = std::array<std::uint64_t, 16>;
inline core_set own_cores() {
  core_set out{};
#if defined(__linux__)
  cpu_set_t cores;
  static_assert(sizeof(cores) == sizeof(out));
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) {
    std::memcpy(out.data(), &cores, sizeof(out));
    return out;
  }
#endif
  for (unsigned core = 0; core < std::min(1024u, std::thread::hardware_concurrency()); ++core)
    out[core / 64] |= std::uint64_t{1} << core % 64;
  return out;
}
inline int count_of(const core_set& cores) {
  int out = 0;
  for (const std::uint64_t some : cores) out += std::popcount(some);
  return out;
}

class waiting {
 public:
  explicit waiting(bool crowded) : crowded_(crowded) {}
  // True when it is time to let others than the awaited one make progress, too.
  bool pass() {
    ++looks_;
    if (crowded_ || looks_ > patience) {
      std::this_thread::yield();
      return crowded_ ? looks_ % 32 == 0 : true;
    }
    if (looks_ > 32) pause();
    return looks_ % 128 == 0;
  }
  void progressed() { looks_ = 0; }

 private:
  static constexpr std::uint32_t patience = 500;
  bool crowded_;
  std::uint32_t looks_ = 0;
};

}  // namespace entrain::comm::shared_memory
