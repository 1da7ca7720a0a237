// SPDX-License-Identifier: Apache-2.0
// The main job from end to end: probe, rank, prune, verify, report.
#include <gmock/gmock.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "espalier/base/files.h"
#include "espalier/base/safetensors.h"
#include "espalier/records/plan.h"
#include "espalier/records/ranking.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::CommandResult;
using testing::HasSubstr;

/// A small checkpoint with pictures of two domains.
class MainJob : public testing::Test {
 protected:
  MainJob() {
    for (const char* folder : {"problems", "photos", "run"}) {
      fs::create_directories(scratch_ / folder);
    }
    for (const char* name : {"exif1.jpg", "cmyk.jpg", "exif6.png"}) {
      fs::copy_file(test::fixture("images") / name, scratch_ / "problems" / name);
    }
    for (const char* name : {"exif.webp", "exif5.jpg"}) {
      fs::copy_file(test::fixture("images") / name, scratch_ / "photos" / name);
    }
    run({"init", path("model"), "--preset", "small", "--quiet"});
  }

  [[nodiscard]] std::string path(const std::string& name) const { return scratch_ / name; }

  static CommandResult run(const std::vector<std::string>& arguments) {
    CommandResult result = test::run_espalier(arguments);
    EXPECT_EQ(result.exit_code, 0) << arguments.front() << ": " << result.err;
    return result;
  }

  void probe() {
    run({"probe", path("model"), "--domain", "math=" + path("problems"), "--domain",
         "nonmath=" + path("photos"), "--quiet", "--out", path("run/probe")});
  }

  const test::TemporaryDirectory scratch_;
};

TEST_F(MainJob, GoesFromPicturesToASmallerCheckpointWithAProofAndAReport) {
  probe();
  run({"rank", path("run"), "--quiet", "--out", path("run/ranking.json")});
  const Ranking ranking = read_ranking(path("run/ranking.json"));
  EXPECT_EQ(ranking.prunable.size(), 14U);
  for (const char* budget : {"10%", "25%", "40%"}) {
    const std::string out = path(std::string("run/pruned-") + budget);
    run({"prune", path("model"), "--ranking", path("run/ranking.json"), "--budget", budget,
         "--quiet", "--out", out});
    const Plan plan = read_plan(fs::path(out) / "espalier.json");
    EXPECT_EQ(plan.k, layers_to_remove(parse_budget(budget), 14));
    EXPECT_EQ(std::ssize(plan.removed), plan.k);
    EXPECT_THAT(run({"verify", out, "--against", path("model")}).out, HasSubstr("bit for bit"));
    EXPECT_THAT(run({"inspect", out}).out, HasSubstr(std::to_string(16 - plan.k)));
  }
  run({"report", path("run"), "--formats", "svg", "--quiet"});
  EXPECT_THAT(read_file(path("run/report.html")), HasSubstr("<svg"));
}

/// Makes a layer the identity: what its branches add becomes zero.
void plant(const fs::path& model, int layer) {
  const fs::path file = model / "model.safetensors";
  std::string bytes = read_file(file);
  std::size_t data = 0;
  std::memcpy(&data, bytes.data(), sizeof data);
  data += sizeof data;
  const SafetensorsFile tensors(file);
  for (const char* name : {"self_attn.o_proj", "mlp.down_proj"}) {
    const auto& info = tensors.tensors().at("model.language_model.layers." + std::to_string(layer) +
                                            "." + name + ".weight");
    std::memset(bytes.data() + data + info.begin, 0, info.end - info.begin);
  }
  test::write_quickly(file, bytes);
}

TEST_F(MainJob, PutsALayerThatDoesNothingFirst) {
  constexpr std::int64_t kPlanted = 6;
  plant(path("model"), kPlanted);
  probe();
  run({"rank", path("run"), "--all", "--bootstrap", "50", "--quiet", "--out",
       path("run/ranking.json")});
  const Ranking ranking = read_ranking(path("run/ranking.json"));
  int similarity_criteria = 0;
  for (const CriterionResult& criterion : ranking.criteria) {
    // These do not look at what a layer does: one counts from the end, one draws lots; and the
    // paper's CKA to the letter, of two inputs, holds the neighbour responsible.
    if (criterion.name == "tail" || criterion.name == "random") continue;
    const bool literal = criterion.name.find("in-in-literal") != std::string::npos;
    EXPECT_EQ(criterion.order.front(), literal ? kPlanted + 1 : kPlanted) << criterion.name;
    ++similarity_criteria;
  }
  EXPECT_GE(similarity_criteria, 12);
  for (const char* domain : {"math", "nonmath", "math:visual", "nonmath:text", "mixed"}) {
    const auto found = std::ranges::find(ranking.criteria, domain, &CriterionResult::name);
    ASSERT_NE(found, ranking.criteria.end()) << domain;
    EXPECT_EQ(found->rank_interval[kPlanted], (RankInterval{.lo = 1, .hi = 1})) << domain;
  }
}

}  // namespace
}  // namespace espalier
