// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "espalier/records/probe_record.h"

namespace espalier::test {

/// A probe record of two domains ("math" with three subtasks, "nonmath" with two) over a model of 6
/// layers and 4 hidden values; every number is drawn, and right in shape and range.
///
/// \param pictures  a domain
ProbeRecord random_record(std::uint64_t seed, std::int64_t pictures = 3);

/// The part of a record over some of its pictures, with the sums scaled to fit: what a probe over
/// these pictures alone might have found.
ProbeRecord half_of(const ProbeRecord& record, bool first);

}  // namespace espalier::test
