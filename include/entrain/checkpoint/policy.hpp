// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <entrain/checkpoint/archive.hpp>
#include <entrain/checkpoint/concepts.hpp>
#include <entrain/core/describe.hpp>
#include <entrain/core/error.hpp>
#include <entrain/core/policy.hpp>

// The checkpoint policies: none (the default) and safetensors, which keeps the newest few states of a run as
// directory/step-00000100.safetensors, each written atomically and with a checksum. An older file is removed only after
// a newer one was read back and verified, so that at every moment at least one good file exists.

namespace entrain::checkpoint {

// What latest() found; false when there is nothing to resume from. `notes` says which files were passed over, and why.
struct found_checkpoint {
  std::filesystem::path path;
  std::uint64_t step = 0;
  std::vector<std::string> notes;
  explicit operator bool() const { return !path.empty(); }
};

namespace detail {
inline std::string checkpoint_name(std::uint64_t step) {
  const std::string digits = std::to_string(step);
  return "step-" + std::string(digits.size() < 8 ? 8 - digits.size() : 0, '0') + digits + ".safetensors";
}

// The step in "step-00000100.safetensors", or nothing for any other name.
inline std::optional<std::uint64_t> checkpoint_step(std::string_view name) {
  constexpr std::string_view head = "step-", tail = ".safetensors";
  if (name.size() <= head.size() + tail.size() || !name.starts_with(head) || !name.ends_with(tail)) return {};
  std::uint64_t step = 0;
  const std::string_view digits = name.substr(head.size(), name.size() - head.size() - tail.size());
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  if (parsed.ec != std::errc{} || checkpoint_name(step) != name) return {};
  return step;
}

struct listed_checkpoint {
  std::uint64_t step;
  std::filesystem::path path;
};

// The checkpoints of a directory, newest first. A directory that does not exist has none.
inline std::vector<listed_checkpoint> list_checkpoints(const std::filesystem::path& directory) {
  std::vector<listed_checkpoint> found;
  std::error_code code;
  std::filesystem::directory_iterator entries(directory, code);
  if (code == std::errc::no_such_file_or_directory) return found;
  for (; !code && entries != std::filesystem::directory_iterator{}; entries.increment(code))
    if (const auto step = checkpoint_step(entries->path().filename().string())) found.push_back({*step, entries->path()});
  if (code) throw file_error(directory.string(), "cannot list the directory", "success", code.message());
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return found;
}
}  // namespace detail

// The newest checkpoint of a directory that is whole. Cost: reads the files from the newest to the first good one.
inline found_checkpoint latest(const std::filesystem::path& directory) {
  found_checkpoint result;
  for (const auto& candidate : detail::list_checkpoints(directory)) {
    try {
      verify_safetensors(safetensors_file(candidate.path));
      result.path = candidate.path, result.step = candidate.step;
      return result;
    } catch (const file_error& reason) { result.notes.push_back(std::string("skipped a checkpoint: ") + reason.what()); }
  }
  return result;
}

// Keeps nothing.
struct none {
  using slot_type = slot::checkpoint;
  static constexpr std::string_view name = "none";
  static constexpr bool enabled = false;
  static constexpr bool due(std::uint64_t) { return false; }
  void save(const archive&, std::uint64_t) const {}
  found_checkpoint latest() const { return {}; }
  bool operator==(const none&) const = default;
};

// Keeps the newest `keep` states, one every `every` steps (0: only when save is called).
struct safetensors {
  using slot_type = slot::checkpoint;
  static constexpr bool enabled = true;

  std::string directory = "checkpoints";
  std::uint64_t every = 100;
  std::size_t keep = 2;

  bool due(std::uint64_t steps) const { return every > 0 && steps > 0 && steps % every == 0; }

  std::filesystem::path path_of(std::uint64_t step) const { return std::filesystem::path(directory) / detail::checkpoint_name(step); }

  // Writes, reads back, then removes what is no longer kept. Returns the file. Throws file_error; what was there before
  // is then still there. Cost: the state is written once and read once.
  std::filesystem::path save(const archive& state, std::uint64_t step) const {
    if (keep == 0) throw usage_error("checkpoint::safetensors", "keep = 0 would remove every checkpoint", "at least 1", "0");
    make_directory();
    const auto path = path_of(step);
    state.save(path);
    verify_safetensors(safetensors_file(path));
    prune(step);
    return path;
  }

  found_checkpoint latest() const { return checkpoint::latest(directory); }

  std::string describe() const { return describe_members("safetensors", "directory", directory, "every", every, "keep", keep); }

  bool operator==(const safetensors&) const = default;

 private:
  void make_directory() const {
    std::error_code code;
    std::filesystem::create_directories(directory, code);
    if (code) throw file_error(directory, "cannot create the directory", "success", code.message());
  }

  // The state of `verified` is safe; of the older ones the newest keep - 1 stay. Later steps (a run that was resumed from
  // an earlier one) are left alone. A file that cannot be removed is no reason to end a run.
  void prune(std::uint64_t verified) const {
    std::size_t kept = 0;
    std::error_code ignored;
    for (const auto& old : detail::list_checkpoints(directory))
      if (old.step <= verified && ++kept > keep) std::filesystem::remove(old.path, ignored);
    remove_leftovers(verified);
  }

  // Temporary files of runs that were killed while they saved this step or an earlier one.
  void remove_leftovers(std::uint64_t verified) const {
    std::error_code code;
    std::vector<std::filesystem::path> leftovers;
    for (std::filesystem::directory_iterator entry(directory, code), end; !code && entry != end; entry.increment(code)) {
      const std::string name = entry->path().filename().string();
      const auto cut = name.find(".tmp.");
      if (cut == name.npos) continue;
      if (const auto step = detail::checkpoint_step(std::string_view(name).substr(0, cut)); step && *step <= verified)
        leftovers.push_back(entry->path());
    }
    for (const auto& path : leftovers) std::filesystem::remove(path, code);
  }
};

}  // namespace entrain::checkpoint
