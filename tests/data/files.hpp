// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <unistd.h>

#include <entrain/core/config.hpp>
#include <entrain/core/error.hpp>

#if ENTRAIN_WITH_ZLIB
#include <zlib.h>
#endif

// Files for the tests of the readers: a folder that disappears, builders of small files, and where real data may lie.

namespace files {

namespace fs = std::filesystem;

class folder {
 public:
  folder() {
    std::string name = (fs::temp_directory_path() / "entrain-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path path(const std::string& name) const { return path_ / name; }
  fs::path write(const std::string& name, const std::string& content) const {
    fs::create_directories(path(name).parent_path());
    std::ofstream(path(name), std::ios::binary).write(content.data(), std::streamsize(content.size()));
    return path(name);
  }

 private:
  fs::path path_;
};

inline std::string big_endian(std::uint32_t v) { return {char(v >> 24), char(v >> 16), char(v >> 8), char(v)}; }

inline std::string idx_header(int type, std::initializer_list<std::uint32_t> dims) {
  std::string out = {'\0', '\0', char(type), char(dims.size())};
  for (auto d : dims) out += big_endian(d);
  return out;
}

#if ENTRAIN_WITH_ZLIB
inline std::string gzip(const std::string& content) {
  z_stream s{};
  deflateInit2(&s, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&s, uLong(content.size())) + 64, '\0');
  s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  s.avail_in = uInt(content.size());
  s.next_out = reinterpret_cast<Bytef*>(out.data());
  s.avail_out = uInt(out.size());
  deflate(&s, Z_FINISH);
  out.resize(s.total_out);
  deflateEnd(&s);
  return out;
}
#endif

// A file of the real data sets, or an empty path.
inline fs::path real(const std::string& name) {
  std::error_code ignored;
  const char* given = std::getenv("ENTRAIN_DATA");
  const fs::path source_tree = fs::path(__FILE__).parent_path() / ".." / "..";
  for (const auto& base :
       {given ? fs::path(given) : fs::path(), source_tree / ".." / "shared" / "data", fs::path("..") / "shared" / "data"})
    if (!base.empty() && fs::exists(base / name, ignored)) return base / name;
  return {};
}

// The message of the file_error that `action` throws; empty when it throws none.
template <class Action> std::string file_error_of(Action action) {
  try {
    action();
  } catch (const entrain::file_error& e) { return e.what(); }
  return {};
}

}  // namespace files
