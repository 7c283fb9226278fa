// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/uio.h>
#include <unistd.h>
#endif

// The memory of other processes, read by the kernel on their behalf ("cross memory attach"): one copy and no staging, at the price of a
// system call and a walk over the pages. Not everywhere allowed (other users, containers, hardened kernels): to be tried first.

namespace entrain::comm::shared_memory {

// 0, or the error number. Reads from address `from` of process `id`.
inline int read_foreign([[maybe_unused]] int id, [[maybe_unused]] std::uint64_t from, [[maybe_unused]] std::byte* to, std::size_t bytes) {
#if defined(__linux__)
  while (bytes > 0) {
    const iovec local{to, bytes}, remote{reinterpret_cast<void*>(std::uintptr_t(from)), bytes};
    const auto read = process_vm_readv(id, &local, 1, &remote, 1, 0);
    if (read <= 0) return read < 0 ? errno : EIO;
    to += read, from += std::uint64_t(read), bytes -= std::size_t(read);
  }
  return 0;
#else
  return bytes > 0 ? ENOSYS : 0;
#endif
}

inline int own_process() {
#if defined(__linux__)
  return int(getpid());
#else
  return -1;
#endif
}

}  // namespace entrain::comm::shared_memory
