// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

// The few command-line arguments of the examples: --name value, and --smoke for a run of a few steps.

inline bool has_flag(int argc, char** argv, std::string_view name) {
  for (int i = 1; i < argc; ++i)
    if (argv[i] == name) return true;
  return false;
}

inline std::string argument(int argc, char** argv, std::string_view name, std::string otherwise) {
  for (int i = 1; i + 1 < argc; ++i)
    if (argv[i] == name) return argv[i + 1];
  return otherwise;
}

inline unsigned long steps_or(int argc, char** argv, unsigned long otherwise) {
  return std::stoul(argument(argc, argv, "--steps", std::to_string(has_flag(argc, argv, "--smoke") ? 3 : otherwise)));
}

// A path of this repository, wherever the program was started.
inline std::string repository(std::string_view path) {
  const char* root = std::getenv("ENTRAIN_SOURCE_DIR");
  return (std::filesystem::path(root ? root : ".") / path).string();
}
