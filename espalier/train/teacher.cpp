// SPDX-License-Identifier: Apache-2.0
#include "espalier/train/teacher.h"

#include <ATen/ATen.h>

#include <numeric>
#include <vector>

#include "espalier/base/error.h"
#include "espalier/model/tensors.h"

namespace espalier {

namespace {

void check_shapes(const ModelDirectory& directory, const Qwen3VLConfig& teacher,
                  const Qwen3VLConfig& student) {
  const std::string place = directory.path.string();
  const auto check = [&](const char* key, std::int64_t of_teacher, std::int64_t of_student) {
    require(of_teacher == of_student,
            "--teacher {}: its {} is {}, the student's {}: a teacher has the student's width and "
            "vocabulary",
            place, key, of_teacher, of_student);
  };
  check("hidden_size", teacher.text.hidden_size, student.text.hidden_size);
  check("vocab_size", teacher.text.vocab_size, student.text.vocab_size);
  check("vision hidden_size", teacher.vision.hidden_size, student.vision.hidden_size);
  check("patch_size", teacher.vision.patch_size, student.vision.patch_size);
}

/// The student's layers by the teacher's numbers.
std::vector<std::int64_t> layers_of(const ModelDirectory& teacher, const ModelDirectory& student) {
  if (!student.plan) {
    require(student.config.text.num_hidden_layers == teacher.config.text.num_hidden_layers,
            "--teacher {}: it has {} layers, the student {} and no plan (espalier.json) that says "
            "which of them they are",
            teacher.path.string(), teacher.config.text.num_hidden_layers,
            student.config.text.num_hidden_layers);
    std::vector<std::int64_t> all(static_cast<std::size_t>(student.config.text.num_hidden_layers));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  const Plan& plan = *student.plan;
  const std::string found = fingerprint(teacher);
  if (plan.base_fingerprint == found) return plan.kept;
  const bool is_original = !plan.lineage.empty() && plan.lineage.front().base_fingerprint == found;
  require(is_original,
          "--teacher {}: the student {} was pruned from the model {}..., this is {}...",
          teacher.path.string(), student.path.string(), plan.base_fingerprint.substr(0, 12),
          found.substr(0, 12));
  return plan.kept_original;
}

/// Lets a tensor be another one's where they are equal.
bool share(at::Tensor& tensor, const at::Tensor& other) {
  const bool equal = tensor.defined() == other.defined() &&
                     (!tensor.defined() ||
                      (tensor.scalar_type() == other.scalar_type() && at::equal(tensor, other)));
  if (equal) tensor = other;
  return equal;
}

}  // namespace

Teacher make_teacher(const ModelDirectory& directory, const Qwen3VL& model,
                     const ModelDirectory& student_directory, const Qwen3VL& student) {
  check_shapes(directory, model.config, student.config);
  const bool same = fingerprint(directory) == fingerprint(student_directory);
  Teacher teacher{.model = model, .layers = {}};
  if (same) {
    teacher.layers.resize(model.language_model.layers.size());
    std::iota(teacher.layers.begin(), teacher.layers.end(), 0);
  } else {
    teacher.layers = layers_of(directory, student_directory);
  }
  return teacher;
}

void share_vision(Teacher& teacher, TrainedModel& student) {
  std::vector<at::Tensor*> of_student;
  visit_tensors(student.model.visual,
                [&](const std::string&, at::Tensor& tensor) { of_student.push_back(&tensor); });
  bool equal = true;
  std::size_t next = 0;
  visit_tensors(teacher.model.visual, [&](const std::string&, at::Tensor& tensor) {
    equal = equal && next < of_student.size() && share(tensor, *of_student[next]);
    ++next;
  });
  teacher.shares_vision =
      equal && next == of_student.size() && !student.part.vision && !student.part.projector;
}

}  // namespace espalier
