// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <filesystem>
#include <string_view>
#include <vector>

namespace espalier {

/// A typeface that problems are drawn in, and where it comes from.
struct Face {
  const char* family;
  bool bold;
  const char* file;     ///< its name, in whatever folder
  const char* package;  ///< of Debian
};

/// Chosen to differ: sans, serif, slab, monospaced, narrow; thin and bold. Not Comic
/// Neue, whose "×" is so small that the demo model took it for a "+".
inline constexpr auto kFaces = std::to_array<Face>({
    {"DejaVu Sans", false, "DejaVuSans.ttf", "fonts-dejavu-core"},
    {"DejaVu Serif", true, "DejaVuSerif-Bold.ttf", "fonts-dejavu-core"},
    {"DejaVu Sans Mono", false, "DejaVuSansMono.ttf", "fonts-dejavu-core"},
    {"Liberation Sans", true, "LiberationSans-Bold.ttf", "fonts-liberation"},
    {"Liberation Sans Narrow", false, "LiberationSansNarrow-Regular.ttf", "fonts-liberation"},
    {"Liberation Serif", false, "LiberationSerif-Regular.ttf", "fonts-liberation"},
    {"FreeMono", true, "FreeMonoBold.ttf", "fonts-freefont-ttf"},
});

/// The file of each face, searched for by its name in the folders and what is below them, in the
/// order of the folders and there of the paths.
///
/// \throws InputError  if a face is not there, naming its package
std::vector<std::filesystem::path> find_faces(const std::vector<std::filesystem::path>& folders);

}  // namespace espalier
