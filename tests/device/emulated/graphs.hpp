// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

// Capture of streams and graphs (see cuda_runtime_api.h beside this, which includes it). While a stream is captured, what it is given is
// kept as a closure; a graph runs its closures. As on a device, what may not happen meanwhile breaks the capture: allocations and waits by
// the thread that captures. Stricter than a device: copies from or to memory that CUDA has not given out (pageable, so that a copy would
// be of what lies there later) and events in a captured stream.

namespace entrain::emulated {

struct work;

enum class node_kind { kernel, copy, zero, product };
struct graph_node {
  node_kind kind;
  const void* what;  // the kernel
  std::function<bool()> run;
};
struct graph { std::vector<graph_node> nodes; };

struct stream {
  std::shared_ptr<work> last;
  std::unique_ptr<graph> captured;
  bool broken = false;
};

// How often the host has given a stream something: kernels, products, copies, graphs. Of all threads.
inline std::atomic<long> submissions = 0, graphs_launched = 0, graphs_made = 0, graphs_updated = 0;
inline std::atomic<bool> refuse_updates = false;

inline stream*& captured_by_this_thread() {
  thread_local stream* one = nullptr;
  return one;
}
// Whether this thread may not do now what it is about to do.
inline bool breaks_capture() {
  stream* s = captured_by_this_thread();
  if (s) s->broken = true;
  return s != nullptr;
}
inline bool is_captured(const stream* s) { return s && s->captured; }

// Device and pinned memory: where it begins, and how long it is.
class memory_map {
 public:
  static memory_map& all() {
    static memory_map one;
    return one;
  }
  void add(const void* p, std::size_t n) {
    const std::lock_guard guard(lock_);
    known_[static_cast<const char*>(p)] = n;
  }
  void remove(const void* p) {
    const std::lock_guard guard(lock_);
    known_.erase(static_cast<const char*>(p));
  }
  bool has(const void* p, std::size_t n) {
    const std::lock_guard guard(lock_);
    auto after = known_.upper_bound(static_cast<const char*>(p));
    if (after == known_.begin()) return false;
    --after;
    return static_cast<const char*>(p) + n <= after->first + after->second;
  }

 private:
  std::mutex lock_;
  std::map<const char*, std::size_t> known_;
};

// Runs it, or keeps it for a graph.
template <class Run>
bool submit(stream* to, node_kind kind, const void* what, Run&& run) {
  if (is_captured(to)) {
    to->captured->nodes.push_back({kind, what, std::forward<Run>(run)});
    return true;
  }
  ++submissions;
  return run();
}

}  // namespace entrain::emulated
