// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <unistd.h>

// Owns a descriptor of the system.

namespace entrain::comm::detail {

class file_handle {
 public:
  explicit file_handle(int handle = -1) : handle_(handle) {}
  file_handle(file_handle&& other) noexcept : handle_(std::exchange(other.handle_, -1)) {}
  file_handle& operator=(file_handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~file_handle() {
    if (handle_ >= 0) ::close(handle_);
  }
  int get() const { return handle_; }
  explicit operator bool() const { return handle_ >= 0; }

 private:
  int handle_;
};

}  // namespace entrain::comm::detail
