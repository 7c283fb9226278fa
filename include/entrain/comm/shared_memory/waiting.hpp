// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#if defined(__linux__) || defined(__APPLE__)
#include <sched.h>
#endif
#include <thread>

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

// Cores that this process may run on.
inline int available_cores() {
#if defined(__linux__)
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof(cores), &cores) == 0) return CPU_COUNT(&cores);
#endif
  return int(std::thread::hardware_concurrency());
}

class waiting {
 public:
  explicit waiting(bool crowded) : crowded_(crowded) {}
  // True when it is time to let others than the awaited one make progress, too.
  bool pass() {
    ++looks_;
    if (crowded_ || looks_ > patience) {
      std::this_thread::yield();
      return crowded_ ? looks_ % 4 == 0 : true;
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
