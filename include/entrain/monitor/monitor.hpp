// SPDX-License-Identifier: Apache-2.0
#pragma once

// All of monitor/, for programs. Inside the library include the one header that you need.

#include <entrain/monitor/concepts.hpp>
#include <entrain/monitor/html_report.hpp>
#include <entrain/monitor/json_lines.hpp>
#include <entrain/monitor/progress.hpp>
#include <entrain/monitor/record.hpp>
#include <entrain/monitor/svg.hpp>
