// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "espalier/base/files.h"

namespace espalier {

/// CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected), as in RFC 3720: of "123456789" it is
/// 0xe3069283.
std::uint32_t crc32c(std::string_view bytes);

/// What an event file begins with.
struct EventFileOptions {
  double wall_time;  ///< seconds since 1970, of the beginning
  /// Of a run that goes on after this step: scalars of later steps in older files of the folder are
  /// then left out by TensorBoard.
  std::optional<std::int64_t> resumed_after;
};

/// Writes scalars as TensorBoard reads them: a TFRecord file of `Event` messages. Each is in the
/// file as a whole, so that it can be watched while it grows.
class EventFileWriter {
 public:
  /// Makes the file; nothing that exists is replaced or continued, a resumed run makes a new one.
  ///
  /// \param file         TensorBoard takes a file for one of its own if the name holds "tfevents",
  ///                     and files of one folder for one run, in order of their names
  /// \throws InputError  if the file exists or cannot be written
  EventFileWriter(const std::filesystem::path& file, const EventFileOptions& options);

  /// Adds a point.
  ///
  /// \param tag          the curve's name, e.g. "loss/math"
  /// \param value        is rounded to float32
  /// \param wall_time    seconds since 1970
  /// \throws InputError  on a full or failing disk
  void add_scalar(std::string_view tag, std::int64_t step, double value, double wall_time);

 private:
  void add_record(std::string_view event);

  AppendFile file_;
};

}  // namespace espalier
