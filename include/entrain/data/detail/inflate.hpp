// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <istream>
#include <memory>
#include <string>

#include <entrain/core/config.hpp>
#include <entrain/core/error.hpp>

#if ENTRAIN_WITH_ZLIB
#include <zlib.h>
#endif

// Decompression of gzip streams, piece by piece, with their check sums; the only place that knows zlib. Without zlib a
// compressed file is an error that says what to do.

namespace entrain::data::detail {

#if ENTRAIN_WITH_ZLIB

class inflater {
 public:
  inflater(std::istream& in, std::string name) : in_(in), name_(std::move(name)) {
    if (inflateInit2(&state_, 15 + 16) != Z_OK) throw file_error(name_, "zlib could not be started");  // 16: gzip only
  }
  inflater(const inflater&) = delete;
  inflater& operator=(const inflater&) = delete;
  ~inflater() { inflateEnd(&state_); }

  // Up to `count` decompressed bytes; fewer only at the end of the last member.
  std::size_t read(std::uint8_t* out, std::size_t count) {
    std::size_t done = 0;
    while (done < count && !ended_) {
      if (state_.avail_in == 0) refill();
      const auto room = uInt(std::min<std::size_t>(count - done, std::size_t{1} << 30));
      state_.next_out = out + done;
      state_.avail_out = room;
      const int result = inflate(&state_, Z_NO_FLUSH);
      done += room - state_.avail_out;
      if (result == Z_STREAM_END) next_member();
      else if (result != Z_OK) fail(result);
    }
    return done;
  }

 private:
  void refill() {
    in_.read(reinterpret_cast<char*>(input_.data()), std::streamsize(input_.size()));
    const auto found = in_.gcount();
    consumed_ += std::uint64_t(found);
    if (found == 0 && !between_members_)
      throw file_error(name_ + ":" + std::to_string(consumed_), "the compressed data is cut off", "more compressed bytes",
                       "the end of the file");
    state_.next_in = input_.data();
    state_.avail_in = uInt(found);
  }

  // A gzip file may hold several members, one after another.
  void next_member() {
    between_members_ = true;
    if (state_.avail_in == 0) refill();
    between_members_ = false;
    if (state_.avail_in == 0) ended_ = true;
    else if (inflateReset(&state_) != Z_OK) fail(Z_STREAM_ERROR);
  }

  [[noreturn]] void fail(int result) const {
    throw file_error(name_ + ":" + std::to_string(consumed_ - state_.avail_in), "the compressed data is damaged",
                     "a gzip stream with matching check sums", state_.msg ? state_.msg : "zlib error " + std::to_string(result));
  }

  std::istream& in_;
  std::string name_;
  z_stream state_{};
  std::array<std::uint8_t, 1 << 16> input_;
  std::uint64_t consumed_ = 0;
  bool ended_ = false, between_members_ = false;
};

inline std::unique_ptr<inflater> make_inflater(std::istream& in, const std::string& name) { return std::make_unique<inflater>(in, name); }

#else

class inflater {
 public:
  std::size_t read(std::uint8_t*, std::size_t) { return 0; }
};

inline std::unique_ptr<inflater> make_inflater(std::istream&, const std::string& name) {
  throw file_error(name + ":0",
                   "the file is gzip-compressed and this program was built without zlib: unpack the file, or build with "
                   "zlib (CMake links it to entrain::entrain where it is found; by hand, -DENTRAIN_WITH_ZLIB=1 -lz)",
                   "a plain file", "a gzip header");
}

#endif

}  // namespace entrain::data::detail
