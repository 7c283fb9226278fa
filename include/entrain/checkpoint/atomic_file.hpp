// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <entrain/core/error.hpp>

// A file that appears whole or not at all. Bytes go to `name.tmp.<pid>` beside the target; commit() writes them through
// to the disk (fsync), renames the file over the target, and writes the directory through. Whoever opens the target, at
// any moment and after any crash, finds the old file or the new one.
//
// Errors (disk full, I/O) throw file_error and remove the temporary file. An error of fsync is final: the kernel reports
// it once and may have dropped the data, so it is never tried again. A killed process leaves its temporary file behind;
// the name tells it from a checkpoint. POSIX.

namespace entrain::checkpoint {

namespace detail {
[[noreturn]] inline void throw_file_error(const std::filesystem::path& path, const std::string& action, int code) {
  throw file_error(path.string(), "cannot " + action, "success", std::string(std::strerror(code)));
}

// An open file descriptor.
class descriptor {
 public:
  descriptor() = default;
  descriptor(const std::filesystem::path& path, int flags, const char* action) {
    do fd_ = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
    while (fd_ < 0 && errno == EINTR);
    if (fd_ < 0) throw_file_error(path, action, errno);
  }
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  // Closes and returns errno or 0. After EINTR the descriptor is gone all the same.
  int close() {
    const int result = ::close(std::exchange(fd_, -1));
    return result == 0 || errno == EINTR ? 0 : errno;
  }
  // Writes through to the disk and returns errno or 0.
  int sync() const {
    while (::fsync(fd_) != 0)
      if (errno != EINTR) return errno;
    return 0;
  }

 private:
  int fd_ = -1;
};
}  // namespace detail

class atomic_file {
 public:
  explicit atomic_file(std::filesystem::path target)
      : target_(std::move(target)),
        temporary_(target_.string() + ".tmp." + std::to_string(::getpid())),
        file_(temporary_, O_WRONLY | O_CREAT | O_TRUNC, "create the file") {
    buffer_.reserve(buffer_bytes);
  }
  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;
  ~atomic_file() {
    if (!renamed_) ::unlink(temporary_.c_str());
  }

  // Appends. Small pieces are collected, large ones written at once.
  void write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    if (buffer_.size() + bytes.size() > buffer_bytes) flush();
    if (bytes.size() >= buffer_bytes) put(bytes, flushed_), flushed_ += bytes.size();
    else buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }

  // Overwrites bytes that were written before.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    flush();
    put(bytes, offset);
  }

  std::uint64_t size() const { return flushed_ + buffer_.size(); }

  // Publishes the file. After an error the old file still stands, except for one of the last step (writing the directory
  // through): then the new file is in place and whole, but a power cut might still bring the old one back.
  void commit() {
    flush();
    if (const int code = file_.sync()) detail::throw_file_error(temporary_, "write the file through to the disk", code);
    if (const int code = file_.close()) detail::throw_file_error(temporary_, "close the file", code);
    int result;
    do result = ::rename(temporary_.c_str(), target_.c_str());
    while (result != 0 && errno == EINTR);
    if (result != 0) detail::throw_file_error(target_, "rename the finished file to this name", errno);
    renamed_ = true;
    sync_directory(target_.parent_path());
  }

  // Makes renames and removals in a directory last. File systems that cannot do this (EINVAL) are taken at their word.
  static void sync_directory(std::filesystem::path directory) {
    if (directory.empty()) directory = ".";
    const detail::descriptor handle(directory, O_RDONLY | O_DIRECTORY, "open the directory");
    if (const int code = handle.sync(); code != 0 && code != EINVAL && code != ENOTSUP)
      detail::throw_file_error(directory, "write the directory through to the disk", code);
  }

 private:
  static constexpr std::size_t buffer_bytes = std::size_t(256) << 10;
  static constexpr std::size_t chunk_bytes = std::size_t(1) << 30;  // one write() takes less than 2 GiB

  void flush() {
    put(buffer_, flushed_);
    flushed_ += buffer_.size();
    buffer_.clear();
  }
  void put(std::span<const std::byte> bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
      const auto written = ::pwrite(file_.get(), bytes.data(), std::min(bytes.size(), chunk_bytes), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) detail::throw_file_error(temporary_, "write at offset " + std::to_string(offset), written == 0 ? ENOSPC : errno);
      bytes = bytes.subspan(std::size_t(written));
      offset += std::uint64_t(written);
    }
  }

  std::filesystem::path target_, temporary_;
  detail::descriptor file_;
  std::vector<std::byte> buffer_;
  std::uint64_t flushed_ = 0;
  bool renamed_ = false;
};

}  // namespace entrain::checkpoint
