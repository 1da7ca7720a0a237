// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

namespace espalier {

/// Runs a program's body and turns what it throws into a message on stderr and an exit code:
/// 2 for what the user can mend (InputError), 1 for the rest.
int guarded_main(const std::function<int()>& body);

}  // namespace espalier
