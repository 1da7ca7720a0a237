// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "espalier/checkpoint/model_directory.h"
#include "espalier/train/stepped.h"

namespace espalier {

/// A model as the teacher of one that was pruned from it, or of itself. Which layers the student
/// kept is taken from the student's plan.
///
/// \throws InputError  for a teacher of another width, vocabulary or vision tower, or one that the
///                     student was not pruned from
Teacher make_teacher(const ModelDirectory& directory, const Qwen3VL& model,
                     const ModelDirectory& student_directory, const Qwen3VL& student);

/// Lets the teacher use the student's pictures' features where both towers are equal and the
/// student's is not trained, and frees the memory of weights that both have.
void share_vision(Teacher& teacher, TrainedModel& student);

}  // namespace espalier
