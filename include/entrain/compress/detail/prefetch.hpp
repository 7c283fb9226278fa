// SPDX-License-Identifier: Apache-2.0
#pragma once

// Asks for the cache line of an address some time before it is read or written: for gathers and scatters whose indices are
// known ahead, so that many lines are on their way at once. Changes no result; nothing where the compiler has no word for it.

namespace entrain::compress::detail {

template <class T>
inline void prefetch_to_read([[maybe_unused]] const T* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 0);
#endif
}

template <class T>
inline void prefetch_to_write([[maybe_unused]] T* address) {
#if defined(__GNUC__)
  __builtin_prefetch(address, 1);
#endif
}

}  // namespace entrain::compress::detail
