// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <entrain/core/error.hpp>

// The arrays of a file that make_fixtures.py wrote.

struct fixture {
  struct array {
    std::vector<std::size_t> dims;
    std::vector<double> values;
  };
  std::map<std::string, array> arrays;

  explicit fixture(const std::string& name) {
    const std::string path = std::string(ENTRAIN_SOURCE_DIR) + "/tests/nn/fixtures/" + name + ".txt";
    std::ifstream file(path);
    std::string header, line;
    while (std::getline(file, header) && std::getline(file, line)) {
      std::istringstream names(header), numbers(line);
      std::string key;
      names >> key;
      auto& a = arrays[key];
      for (std::size_t dim; names >> dim;) a.dims.push_back(dim);
      for (double value; numbers >> value;) a.values.push_back(value);
    }
    if (arrays.empty()) throw entrain::file_error(path, "no arrays", "the output of make_fixtures.py", "an empty or missing file");
  }

  bool has(const std::string& key) const { return arrays.count(key) > 0; }
  const array& operator[](const std::string& key) const { return arrays.at(key); }
  template <class T>
  std::vector<T> as(const std::string& key) const {
    return {arrays.at(key).values.begin(), arrays.at(key).values.end()};
  }
};
