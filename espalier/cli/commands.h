// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "espalier/cli/arguments.h"

namespace espalier {

/// What each command does once its command line is understood. Results go to stdout, talk to
/// stderr. The first six are dry; the others need LibTorch and live in espalier-engine.
///
/// \throws InputError and what the floors below throw
/// \return the exit code
int run_inspect(const InspectArguments& arguments);
int run_init(const InitArguments& arguments);
int run_rank(const RankArguments& arguments);
int run_prune(const PruneArguments& arguments);
int run_report(const ReportArguments& arguments);
int run_synth(const SynthArguments& arguments);
int run_generate(const GenerateArguments& arguments);
int run_trace(const TraceArguments& arguments);
int run_probe(const ProbeArguments& arguments);
int run_finetune(const FinetuneArguments& arguments);
int run_merge(const MergeArguments& arguments);
int run_verify(const VerifyArguments& arguments);
int run_eval(const EvalArguments& arguments);

}  // namespace espalier
