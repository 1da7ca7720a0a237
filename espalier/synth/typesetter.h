// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "espalier/synth/outline.h"

namespace espalier {

/// Sets single lines of text with pango, from the given font files and nothing else: neither the
/// system's choice of fonts nor the user's settings matter. Glyphs are outlines without hints, so
/// a line looks the same at every size. One thread at a time.
class Typesetter {
 public:
  /// \param files        of each of kFaces, as find_faces gives them
  /// \throws InputError  if a file is no font, is another than its face, or lacks a sign we draw
  explicit Typesetter(const std::vector<std::filesystem::path>& files);
  ~Typesetter();
  Typesetter(Typesetter&& other) noexcept;
  Typesetter& operator=(Typesetter&& other) noexcept;
  Typesetter(const Typesetter&) = delete;
  Typesetter& operator=(const Typesetter&) = delete;

  /// The outline of a line of UTF-8 text, in units of the em: it begins at x = 0, and its baseline
  /// is y = 0.
  ///
  /// \param face  of kFaces
  [[nodiscard]] Outline set(std::size_t face, const std::string& text) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace espalier
