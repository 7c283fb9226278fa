// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>

#include <entrain/checkpoint/atomic_file.hpp>
#include <entrain/checkpoint/safetensors.hpp>
#include <entrain/checkpoint/safetensors_writer.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/json_reader.hpp>

// Tensors in one safetensors file or in several with an index, as public models come: model-00001-of-00003.safetensors, ..., and
// model.safetensors.index.json, {"metadata": {...}, "weight_map": {"tensor": "file", ...}}. The map and the files' headers must say the
// same: a tensor that the map names is in that file, and a file holds no tensor that the map does not give to it.

namespace entrain::checkpoint {

class safetensors_set {
 public:
  struct tensor {
    const safetensors_file* file;
    const tensor_entry* entry;
  };

  // `path`: a safetensors file, an index (*.json), or a directory with "model.safetensors" or else "model.safetensors.index.json".
  explicit safetensors_set(const std::filesystem::path& path) : path_(file_in(path)) {
    if (path_.extension() == ".json") open_index();
    else files_.emplace_back(path_);
    for (const auto& file : files_)
      for (const auto& entry : file.tensors()) tensors_.push_back({&file, &entry});
  }
  safetensors_set(const safetensors_set&) = delete;

  const std::filesystem::path& path() const { return path_; }  // of the file or the index
  const std::deque<safetensors_file>& files() const { return files_; }
  const std::vector<tensor>& tensors() const { return tensors_; }

  // Holds those files that carry a checksum of ours against it: reads them once. Throws file_error.
  void verify() const {
    for (const auto& file : files_)
      if (file.header_text().starts_with(detail::checksum_prefix)) verify_safetensors(file);
  }

 private:
  static std::filesystem::path file_in(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) return path;
    const auto single = path / "model.safetensors", index = path / "model.safetensors.index.json";
    if (std::filesystem::exists(single)) return single;
    if (std::filesystem::exists(index)) return index;
    throw file_error(path.string(), "a directory without weights", "model.safetensors or model.safetensors.index.json in it", "neither");
  }

  static std::string text_of(const std::filesystem::path& path) {
    const detail::descriptor file(path, O_RDONLY, "open the file");
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) detail::throw_file_error(path, "ask for the file's size", errno);
    if (!S_ISREG(status.st_mode)) throw file_error(path.string(), "not a regular file");
    if (std::uint64_t(status.st_size) > safetensors_max_header)
      throw file_error(path.string(), "too long for an index", std::to_string(safetensors_max_header) + " bytes at most", std::to_string(status.st_size));
    std::string text(std::size_t(status.st_size), '\0');
    for (std::size_t done = 0; done < text.size();) {
      const auto count = ::pread(file.get(), text.data() + done, text.size() - done, off_t(done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) detail::throw_file_error(path, "read at offset " + std::to_string(done), errno);
      if (count == 0) throw file_error(path.string() + ":" + std::to_string(done), "the file ends early");
      done += std::size_t(count);
    }
    return text;
  }

  void open_index() {
    const std::string text = text_of(path_);
    json::reader in(text, path_.string());
    std::unordered_map<std::string, std::string> file_of;
    bool has_map = false;
    in.object([&](const std::string& key) {
      if (key != "weight_map") return in.skip();
      has_map = true;
      in.object([&](const std::string& name) {
        std::string file = in.string();
        if (file.empty() || file == "." || file == ".." || file.find_first_of(std::string_view("/\\\0", 3)) != file.npos)
          in.fail("tensor " + detail::quote(name) + " lies in a file that is not beside the index", "a file name without folders", detail::quote(file));
        file_of.emplace(name, std::move(file));
      });
    });
    in.end();
    if (!has_map) throw file_error(path_.string(), "not an index of weights", "a member \"weight_map\"", "none");
    open_shards(file_of);
  }

  void open_shards(const std::unordered_map<std::string, std::string>& file_of) {
    std::set<std::string> names;
    for (const auto& mapped : file_of) names.insert(mapped.second);
    std::size_t found = 0;
    for (const auto& name : names) {
      const auto& file = files_.emplace_back(path_.parent_path() / name);
      for (const auto& entry : file.tensors()) {
        const auto mapped = file_of.find(entry.name);
        if (mapped == file_of.end() || mapped->second != name)
          throw file_error(file.path().string(), "holds tensor " + detail::quote(entry.name) + ", which the index " + path_.string() + " does not give to it",
                           "what the index says", mapped == file_of.end() ? "no such tensor in the index" : "in the index it lies in " + detail::quote(mapped->second));
        ++found;
      }
    }
    if (found == file_of.size()) return;
    for (const auto& [name, shard] : file_of)
      for (const auto& file : files_)
        if (file.path().filename() == shard && !file.find(name))
          throw file_error(file.path().string(), "lacks tensor " + detail::quote(name), "the tensors that " + path_.string() + " gives to it", "no tensor of this name");
  }

  std::filesystem::path path_;
  std::deque<safetensors_file> files_;  // does not move what it holds
  std::vector<tensor> tensors_;
};

// The index that belongs to a list of (tensor, file). `total_bytes`: of the tensors' data.
inline void write_safetensors_index(const std::filesystem::path& path, const std::vector<std::pair<std::string, std::string>>& weight_map,
                                    std::uint64_t total_bytes) {
  std::string text = "{\"metadata\": {\"total_size\": " + std::to_string(total_bytes) + "}, \"weight_map\": {";
  for (std::size_t i = 0; i < weight_map.size(); ++i) {
    json::append_quoted(text += i ? ",\n" : "\n", weight_map[i].first);
    json::append_quoted(text += ": ", weight_map[i].second);
  }
  text += "}}\n";
  atomic_file file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace entrain::checkpoint
