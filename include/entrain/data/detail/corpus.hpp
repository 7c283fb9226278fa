// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <entrain/core/error.hpp>
#include <entrain/data/detail/source.hpp>

// The files of a folder as one text: what data/bytes.hpp reads. The order is that of the relative paths compared byte by
// byte, so that it is the same on every machine.

namespace entrain::data::detail {

inline std::vector<std::filesystem::path> corpus_files(const std::filesystem::path& folder, const std::vector<std::string>& extensions) {
  namespace fs = std::filesystem;
  std::set<std::string> found;  // relative paths
  std::error_code failed;
  auto entry = fs::recursive_directory_iterator(folder, failed);
  for (; !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
    const auto& path = entry->path();
    const auto kind = entry->symlink_status(failed);
    if (failed) break;
    if (path.filename().string().starts_with('.')) {  // .git and the like
      if (fs::is_directory(kind)) entry.disable_recursion_pending();
      continue;
    }
    const bool wanted =
        extensions.empty() || std::find(extensions.begin(), extensions.end(), path.extension().string()) != extensions.end();
    if (fs::is_regular_file(kind) && wanted) found.insert(path.lexically_relative(folder).generic_string());
  }
  if (failed) throw file_error(folder.string(), "the folder cannot be read: " + failed.message());
  std::vector<fs::path> out;
  out.reserve(found.size());
  for (const auto& name : found) out.push_back(folder / name);
  return out;
}

inline bool looks_binary(std::string_view content) { return content.substr(0, 8192).find('\0') != std::string_view::npos; }

inline std::string read_corpus(const std::filesystem::path& path, const std::vector<std::string>& extensions, bool binary,
                               std::uint64_t limit) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return source(path, {.bytes = limit}, false).read_text();
  std::string all;
  const auto files = corpus_files(path, extensions);
  for (const auto& file : files) {
    source in(file, {.bytes = limit}, false);
    if (in.remaining() > limit - all.size())
      throw file_error(file.string(), "the folder's files are together larger than the limit (bytes_options::size_limit)",
                       "at most " + in_bytes(limit), in_bytes(all.size() + in.remaining()) + " up to this file");
    const auto content = in.read_text();
    if (binary || !looks_binary(content)) all += content;
  }
  if (all.empty()) {
    std::string wanted;
    for (const auto& e : extensions) wanted += " " + e;
    throw file_error(path.string(), "the folder holds no text",
                     "files with text" + (wanted.empty() ? wanted : " and an extension of" + wanted),
                     text(files.size(), " files, empty or binary"));
  }
  return all;
}

}  // namespace entrain::data::detail
