// SPDX-License-Identifier: Apache-2.0
#include "../catch.hpp"

#include <filesystem>
#include <fstream>
#include <string>

#include <entrain/core/assert.hpp>
#include <entrain/core/error.hpp>
#include <entrain/data/idx.hpp>

// The code of docs/errors.md.

using namespace entrain;

TEST_CASE("a bad file is named with the place and what was expected", "[docs]") {
  const auto path = std::filesystem::temp_directory_path() / "entrain_docs_images";
  std::ofstream(path) << "\x7f" "ELF";
  std::string where, expected, found;
  //! [file]
  try {
    const data::idx digits{path, path};
  } catch (const file_error& e) {
    where = e.where();        // the path and, after a colon, the byte offset
    expected = e.expected();  // "two zero bytes"
    found = e.found();        // "127 69"
  }
  //! [file]
  CHECK(where == path.string() + ":0");
  CHECK(expected == "two zero bytes");
  CHECK(found == "127 69");
  std::filesystem::remove(path);
}

TEST_CASE("an assertion throws", "[docs]") {
  const auto update = [](std::size_t values, std::size_t gradients) {
    //! [assert]
    ENTRAIN_ASSERT(1, gradients == values, values, gradients);
    //! [assert]
  };
  CHECK_NOTHROW(update(3, 3));
  if (ENTRAIN_ASSERT_LEVEL >= 1) CHECK_THROWS_WITH(update(3, 4), Catch::EndsWith("assertion failed: gradients == values; expected 3, found 4"));
}
