// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace espalier {

/// "45 s", "3 min 20 s", "2 h 05 min".
std::string human_seconds(double seconds);

/// A line on stderr that says how far a long job is: on a terminal it is written over, elsewhere it
/// comes now and then as a line of its own.
class ProgressLine {
 public:
  explicit ProgressLine(bool quiet);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  void show(const std::string& text, bool last = false);

 private:
  bool quiet_;
  bool terminal_;
  bool open_ = false;  ///< the terminal's line waits to be ended
  std::optional<std::chrono::steady_clock::time_point> shown_;
};

}  // namespace espalier
