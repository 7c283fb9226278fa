// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <sys/syscall.h>
#include <unistd.h>

#include <entrain/comm/watched/operation.hpp>

// What Linux says about the processes of this node (/proc): who lives, who has been stopped. A process is known by its number and
// the time of its start, so that a number that is given to another process later is not mistaken for it.

namespace entrain::comm::watched_detail {

struct process_status {
  char letter = 0;  // R running, S sleeping, D waiting for a disk, T stopped, t traced, Z dead; 0: there is none
  std::uint64_t started = 0;
};

// thread 0: the process.
inline process_status status_of(unsigned process, unsigned thread = 0) {
  char path[64];
  if (thread == 0) std::snprintf(path, sizeof path, "/proc/%u/stat", process);
  else std::snprintf(path, sizeof path, "/proc/%u/task/%u/stat", process, thread);
  std::FILE* file = std::fopen(path, "r");
  if (!file) return {};
  char text[1024];
  text[std::fread(text, 1, sizeof text - 1, file)] = 0;
  std::fclose(file);
  const char* rest = std::strrchr(text, ')');  // the name before it may contain anything
  if (!rest || !rest[1] || !rest[2]) return {};
  process_status out;
  out.letter = rest[2];
  rest += 2;
  for (int field = 3; field < 22 && rest; ++field) rest = std::strchr(rest + 1, ' ');
  if (rest) out.started = std::strtoull(rest, nullptr, 10);
  return out;
}

inline unsigned this_process() { return unsigned(::getpid()); }
inline unsigned this_thread() { return unsigned(::syscall(SYS_gettid)); }

// The same for all processes that can see each other's /proc and share memory: machine, boot, and namespace of processes.
inline std::uint64_t node_hash(const std::string& name = {}) {
  std::string text = name;
  if (text.empty()) {
    char part[256] = {};
    if (::gethostname(part, sizeof part - 1) == 0) text += part;
    if (std::FILE* file = std::fopen("/proc/sys/kernel/random/boot_id", "r")) {
      text.append(part, std::fread(part, 1, sizeof part, file));
      std::fclose(file);
    }
    if (const auto length = ::readlink("/proc/self/ns/pid", part, sizeof part); length > 0) text.append(part, std::size_t(length));
  }
  return std::uint64_t(hash_of(text)) << 32 | hash_of(text + "#");
}

}  // namespace entrain::comm::watched_detail
