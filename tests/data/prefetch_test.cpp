// SPDX-License-Identifier: Apache-2.0
#include "espalier/data/prefetch.h"

#include <gmock/gmock.h>

#include <array>

#include "tests/png.h"
#include "tests/support.h"

namespace espalier {
namespace {

namespace fs = std::filesystem;
using test::input_error;
using test::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;

/// Samples whose pictures tell them apart: number i has i pictures, each i pixels wide, 2 high.
class Samples {
 public:
  explicit Samples(int count) {
    for (int i = 0; i < count; ++i) {
      TrainingSample sample{.ids = {}, .labels = {}};
      sample.place = "rows.jsonl:" + std::to_string(i + 1);
      sample.images.assign(static_cast<std::size_t>(i), path(i));
      sample.picture_sizes.assign(static_cast<std::size_t>(i), Size{.width = i, .height = 2});
      if (i > 0) write(i, 2);
      all_.push_back(std::move(sample));
    }
  }

  [[nodiscard]] const std::vector<TrainingSample>& all() const { return all_; }
  [[nodiscard]] fs::path path(int i) const { return folder_ / (std::to_string(i) + ".png"); }
  /// Replaces number i's picture by one of another height.
  void write(int i, std::uint32_t height) const {
    test::write_quickly(path(i), test::png_bytes(static_cast<std::uint32_t>(i), height, height));
  }

 private:
  TemporaryDirectory folder_;
  std::vector<TrainingSample> all_;
};

void expect_sample(const std::vector<Image>& pictures, std::size_t number) {
  ASSERT_EQ(pictures.size(), number);
  for (const Image& picture : pictures) EXPECT_EQ(picture.width, static_cast<int>(number));
}

TEST(PicturePrefetcher, HandsOutWhatWasAskedForInOrder) {
  const Samples samples(12);
  for (const std::size_t threads : {1U, 3U}) {
    for (const std::size_t max_bytes : {std::size_t{0}, std::size_t{300}, std::size_t{1} << 30U}) {
      PicturePrefetcher prefetcher(samples.all(), {.threads = threads, .max_bytes = max_bytes});
      const std::array<std::size_t, 5> first = {7, 0, 11, 7, 1};
      const std::array<std::size_t, 3> then = {2, 11, 0};
      prefetcher.ask(first);
      for (std::size_t i = 0; i < 2; ++i) expect_sample(prefetcher.next(), first.at(i));
      prefetcher.ask(then);
      EXPECT_EQ(prefetcher.waiting(), 6U);
      for (std::size_t i = 2; i < 5; ++i) expect_sample(prefetcher.next(), first.at(i));
      for (const std::size_t sample : then) expect_sample(prefetcher.next(), sample);
      EXPECT_EQ(prefetcher.waiting(), 0U);
    }
  }
}

TEST(PicturePrefetcher, SaysAtItsTurnWhatIsWrongWithASample) {
  const Samples samples(5);
  samples.write(3, 4);
  PicturePrefetcher prefetcher(samples.all());
  const std::array<std::size_t, 3> asked = {2, 3, 4};
  prefetcher.ask(asked);
  expect_sample(prefetcher.next(), 2);
  EXPECT_THAT(input_error([&] { (void)prefetcher.next(); }),
              AllOf(HasSubstr("rows.jsonl:4: "), HasSubstr("3.png")));
  expect_sample(prefetcher.next(), 4);
}

TEST(PicturePrefetcher, EndsWhateverWasAskedFor) {
  const Samples samples(5);
  const std::vector<std::size_t> many(1000, 4);
  for (int round = 0; round < 20; ++round) {
    PicturePrefetcher prefetcher(samples.all(), {.threads = 3, .max_bytes = 1000});
    prefetcher.ask(many);
    expect_sample(prefetcher.next(), 4);
  }
}

TEST(PicturePrefetcher, DecodesNoMoreAheadThanItMayHold) {
  // Sample 4 has 4 pictures of 4 * 2 pixels, 96 bytes; sample 5 has 150. Into 200 bytes go two of
  // the former, or the latter alone: it is begun when both were taken, and sees what changed until
  // then.
  const Samples samples(6);
  PicturePrefetcher prefetcher(samples.all(), {.threads = 2, .max_bytes = 200});
  const std::array<std::size_t, 3> asked = {4, 4, 5};
  prefetcher.ask(asked);
  samples.write(5, 3);
  expect_sample(prefetcher.next(), 4);
  expect_sample(prefetcher.next(), 4);
  EXPECT_THAT(input_error([&] { (void)prefetcher.next(); }), HasSubstr("rows.jsonl:6: "));
}

TEST(PicturePrefetcher, NeedsAThreadAndSomethingToTake) {
  const Samples samples(1);
  EXPECT_THAT(input_error([&] { PicturePrefetcher prefetcher(samples.all(), {.threads = 0}); }),
              HasSubstr("at least one thread"));
  PicturePrefetcher prefetcher(samples.all());
  EXPECT_THROW((void)prefetcher.next(), std::logic_error);
  const std::array<std::size_t, 1> surplus = {1};
  EXPECT_THROW(prefetcher.ask(surplus), std::logic_error);
  EXPECT_THAT(prefetcher.waiting(), 0U);
}

}  // namespace
}  // namespace espalier
