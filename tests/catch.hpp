// SPDX-License-Identifier: Apache-2.0
#pragma once

// One place that knows which Catch2 is installed: v2 (Debian 12) or v3.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
namespace Catch {  // v2's names of the string matchers
using Matchers::EndsWith, Matchers::StartsWith;
inline auto Contains(const std::string& part) { return Matchers::ContainsSubstring(part); }
}  // namespace Catch
#else
#include <catch2/catch.hpp>
#endif
