// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

// Zeroed memory that the processes of a node share: a file that is mapped by all and then removed, so that nothing is left
// behind however they end; or, where all ranks are threads of one process, plain memory.

namespace entrain::comm::watched_detail {

class pages {
 public:
  pages() = default;
  pages(pages&& other) noexcept { swap(other); }
  pages& operator=(pages&& other) noexcept {
    pages old(std::move(*this));
    swap(other);
    return *this;
  }
  ~pages() {
    if (mapped_) ::munmap(memory_, bytes_);
    else if (memory_) ::operator delete(memory_, std::align_val_t(64));
  }

  static pages plain(std::size_t bytes) {
    pages out;
    out.memory_ = ::operator new(bytes, std::align_val_t(64));
    out.bytes_ = bytes;
    std::memset(out.memory_, 0, bytes);
    return out;
  }
  // The file `name` in the node's memory, or where there is none in a directory for temporary files. Empty if that fails.
  static pages shared(const std::string& name, std::size_t bytes, bool create) {
    pages out;
    for (const auto& path : places(name)) {
      const int file = ::open(path.c_str(), create ? O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC : O_RDWR | O_CLOEXEC, 0600);
      if (file < 0) continue;
      const bool sized = !create || (::ftruncate(file, off_t(bytes)) == 0 && ::posix_fallocate(file, 0, off_t(bytes)) == 0);
      void* memory = sized ? ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
      ::close(file);
      if (memory == MAP_FAILED) {
        if (create) ::unlink(path.c_str());
        continue;
      }
      out.memory_ = memory, out.bytes_ = bytes, out.mapped_ = true;
      break;
    }
    return out;
  }
  static void remove(const std::string& name) {
    for (const auto& path : places(name)) ::unlink(path.c_str());
  }

  void* data() const { return memory_; }
  explicit operator bool() const { return memory_ != nullptr; }

 private:
  static const char* temporary() {
    const char* given = std::getenv("TMPDIR");
    return given && *given ? given : "/tmp";
  }
  struct place_list {
    std::string paths[2];
    const std::string* begin() const { return paths; }
    const std::string* end() const { return paths + 2; }
  };
  static place_list places(const std::string& name) { return {{"/dev/shm/" + name, std::string(temporary()) + "/" + name}}; }
  void swap(pages& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    std::swap(mapped_, other.mapped_);
  }
  void* memory_ = nullptr;
  std::size_t bytes_ = 0;
  bool mapped_ = false;
};

}  // namespace entrain::comm::watched_detail
