// SPDX-License-Identifier: Apache-2.0
#include "espalier/synth/typesetter.h"

#include <cairo.h>
#include <fontconfig/fontconfig.h>
#include <pango/pangocairo.h>
#include <pango/pangofc-font.h>
#include <pango/pangofc-fontmap.h>

#include <new>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/synth/faces.h"

namespace espalier {

namespace {

/// Something of a C library, freed by its function.
template <typename Thing, auto free>
struct Free {
  void operator()(Thing* thing) const { free(thing); }
};
template <typename Thing, auto free>
using Owned = std::unique_ptr<Thing, Free<Thing, free>>;

/// Up to pango 1.50 a map does not let go of its configuration by itself.
void free_font_map(PangoFontMap* fonts) {
  pango_fc_font_map_set_config(PANGO_FC_FONT_MAP(fonts), nullptr);
  g_object_unref(fonts);
}

using Config = Owned<FcConfig, FcConfigDestroy>;
using FontMap = Owned<PangoFontMap, free_font_map>;
using Context = Owned<PangoContext, g_object_unref>;
using Layout = Owned<PangoLayout, g_object_unref>;
using Font = Owned<PangoFont, g_object_unref>;
using Description = Owned<PangoFontDescription, pango_font_description_free>;
using Attributes = Owned<PangoAttrList, pango_attr_list_unref>;
using FontOptions = Owned<cairo_font_options_t, cairo_font_options_destroy>;
using Surface = Owned<cairo_surface_t, cairo_surface_destroy>;
using Pen = Owned<cairo_t, cairo_destroy>;
using Path = Owned<cairo_path_t, cairo_path_destroy>;

/// Texts are set at one size, in units of it, whatever the size that they are drawn at.
constexpr double kEm = 256.0;

/// Every sign that is drawn; a face must have them all.
constexpr const char* kSigns = "0123456789+\u2212\u00d7=?x sumrowcol";

Description describe(const Face& face) {
  Description description(pango_font_description_new());
  pango_font_description_set_family(description.get(), face.family);
  pango_font_description_set_weight(description.get(),
                                    face.bold ? PANGO_WEIGHT_BOLD : PANGO_WEIGHT_NORMAL);
  pango_font_description_set_absolute_size(description.get(), kEm * PANGO_SCALE);
  return description;
}

/// Keeps pango from loading the system's fonts and the user's settings, which it would do in the
/// background for any map: where there is a current configuration, though an empty one, it does
/// not.
void shut_out_the_system() {
  static const bool done = [] {
    const Config empty(FcConfigCreate());
    return empty && FcConfigSetCurrent(empty.get()) == FcTrue;
  }();
  if (!done) throw std::bad_alloc();
}

/// The text that a font's pattern has under a key; empty if none.
std::string text_in(FcPattern* pattern, const char* key) {
  FcChar8* text = nullptr;
  if (FcPatternGetString(pattern, key, 0, &text) != FcResultMatch) return {};
  return reinterpret_cast<const char*>(text);
}

OutlineStep step_of(const cairo_path_data_t* data) {
  const auto point = [&](int i) {
    return Point{.x = data[i].point.x / kEm, .y = data[i].point.y / kEm};
  };
  switch (data->header.type) {
    case CAIRO_PATH_MOVE_TO:
      return {.kind = OutlineStep::Kind::Move, .points = {point(1)}};
    case CAIRO_PATH_LINE_TO:
      return {.kind = OutlineStep::Kind::Line, .points = {point(1)}};
    case CAIRO_PATH_CURVE_TO:
      return {.kind = OutlineStep::Kind::Curve, .points = {point(1), point(2), point(3)}};
    default:
      return {.kind = OutlineStep::Kind::Close};
  }
}

}  // namespace

struct Typesetter::Parts {
  // In the order in which they are made; what is made later uses what was made earlier.
  Config config;
  FontMap fonts;
  Context context;
  Layout layout;
  std::vector<Description> faces;
  Surface surface;
  Pen pen;

  explicit Parts(const std::vector<std::filesystem::path>& files) {
    open_fonts(files);
    open_layout();
    // Paths need no pixels.
    surface.reset(cairo_image_surface_create(CAIRO_FORMAT_A8, 1, 1));
    pen.reset(cairo_create(surface.get()));
    if (cairo_status(pen.get()) != CAIRO_STATUS_SUCCESS) throw std::bad_alloc();
    for (std::size_t i = 0; i < kFaces.size(); ++i) check(i, files.at(i));
  }

  void open_fonts(const std::vector<std::filesystem::path>& files) {
    shut_out_the_system();
    config.reset(FcConfigCreate());
    if (!config) throw std::bad_alloc();
    for (const auto& file : files) {
      const auto* name = reinterpret_cast<const FcChar8*>(file.c_str());
      require(FcConfigAppFontAddFile(config.get(), name) == FcTrue,
              "{}: wanted a font, found none that can be read", file.string());
    }
    fonts.reset(pango_cairo_font_map_new_for_font_type(CAIRO_FONT_TYPE_FT));
    assume(fonts != nullptr, "pango draws FreeType's fonts");
    pango_fc_font_map_set_config(PANGO_FC_FONT_MAP(fonts.get()), config.get());
    for (const Face& face : kFaces) faces.push_back(describe(face));
  }

  void open_layout() {
    context.reset(pango_font_map_create_context(fonts.get()));
    const FontOptions options(cairo_font_options_create());
    cairo_font_options_set_antialias(options.get(), CAIRO_ANTIALIAS_GRAY);
    cairo_font_options_set_hint_style(options.get(), CAIRO_HINT_STYLE_NONE);
    cairo_font_options_set_hint_metrics(options.get(), CAIRO_HINT_METRICS_OFF);
    pango_cairo_context_set_font_options(context.get(), options.get());
    pango_context_set_round_glyph_positions(context.get(), FALSE);
    pango_context_set_language(context.get(), pango_language_from_string("en"));
    layout.reset(pango_layout_new(context.get()));
    const Attributes attributes(pango_attr_list_new());
    pango_attr_list_insert(attributes.get(), pango_attr_fallback_new(FALSE));
    pango_layout_set_attributes(layout.get(), attributes.get());
    pango_layout_set_single_paragraph_mode(layout.get(), TRUE);
  }

  /// \throws InputError unless the face that is loaded is the one in the file
  void check(std::size_t face, const std::filesystem::path& file) const {
    const Face& wanted = kFaces.at(face);
    const Font font(pango_font_map_load_font(fonts.get(), context.get(), faces.at(face).get()));
    FcPattern* pattern = font ? pango_fc_font_get_pattern(PANGO_FC_FONT(font.get())) : nullptr;
    const std::string family = pattern ? text_in(pattern, FC_FAMILY) : "nothing";
    require(family == wanted.family && text_in(pattern, FC_FILE) == file.string(),
            "{}: wanted the typeface {}{}, found {}; install it: apt-get install {}", file.string(),
            wanted.family, wanted.bold ? " Bold" : "", family, wanted.package);
    lay_out(face, kSigns);
    require(pango_layout_get_unknown_glyphs_count(layout.get()) == 0,
            "{}: wanted the signs {}, found not all of them; install it: apt-get install {}",
            file.string(), kSigns, wanted.package);
  }

  void lay_out(std::size_t face, const std::string& text) const {
    pango_layout_set_font_description(layout.get(), faces.at(face).get());
    pango_layout_set_text(layout.get(), text.data(), static_cast<int>(text.size()));
  }
};

Typesetter::Typesetter(const std::vector<std::filesystem::path>& files)
    : parts_(std::make_unique<Parts>(files)) {}
Typesetter::~Typesetter() = default;
Typesetter::Typesetter(Typesetter&& other) noexcept = default;
Typesetter& Typesetter::operator=(Typesetter&& other) noexcept = default;

Outline Typesetter::set(std::size_t face, const std::string& text) const {
  parts_->lay_out(face, text);
  cairo_t* pen = parts_->pen.get();
  cairo_new_path(pen);
  cairo_move_to(pen, 0.0, 0.0);
  pango_cairo_layout_line_path(pen, pango_layout_get_line_readonly(parts_->layout.get(), 0));
  const Path path(cairo_copy_path(pen));
  if (path->status != CAIRO_STATUS_SUCCESS) throw std::bad_alloc();
  Outline outline;
  for (int i = 0; i < path->num_data; i += path->data[i].header.length) {
    outline.push_back(step_of(&path->data[i]));
  }
  // A move that nothing follows encloses nothing, but would count as a point.
  while (!outline.empty() && outline.back().kind == OutlineStep::Kind::Move) outline.pop_back();
  return outline;
}

}  // namespace espalier
