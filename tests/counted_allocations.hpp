// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>

// Every allocation of the process while `counting` is set, from whichever library. Included by one test program only: it
// replaces the C library's allocator by forwards to itself. (Sanitizers bring their own allocator: then nothing is counted.)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ENTRAIN_TEST_COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ENTRAIN_TEST_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef ENTRAIN_TEST_COUNTS_ALLOCATIONS
#define ENTRAIN_TEST_COUNTS_ALLOCATIONS 1
#endif

namespace entrain::test {
inline std::atomic<bool> counting = false;
inline std::atomic<long> allocations = 0;
inline void count_allocation() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}
}  // namespace entrain::test

#if ENTRAIN_TEST_COUNTS_ALLOCATIONS
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t n) { return entrain::test::count_allocation(), __libc_malloc(n); }
void* calloc(std::size_t n, std::size_t m) { return entrain::test::count_allocation(), __libc_calloc(n, m); }
void* realloc(void* p, std::size_t n) { return entrain::test::count_allocation(), __libc_realloc(p, n); }
void* aligned_alloc(std::size_t a, std::size_t n) { return entrain::test::count_allocation(), __libc_memalign(a, n); }
int posix_memalign(void** out, std::size_t a, std::size_t n) {
  entrain::test::count_allocation();
  return (*out = __libc_memalign(a, n)) ? 0 : 12;
}
}
#endif
