// SPDX-License-Identifier: Apache-2.0
#include "espalier/report/gnuplot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "espalier/base/error.h"
#include "espalier/base/files.h"
#include "espalier/base/words.h"

namespace espalier {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kInstall =
    "install it (Debian: apt-get install gnuplot-nox fonts-dejavu-core)";

constexpr std::array kFormats = {FigureFormat::Svg, FigureFormat::Pdf, FigureFormat::Png};

/// Pixels per inch of a PNG.
constexpr int kPngResolution = 300;

/// A file descriptor that is closed once.
struct Descriptor {
  int number = -1;
  explicit Descriptor(int opened) : number(opened) {}
  ~Descriptor() { close_now(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void close_now() {
    if (number >= 0) close(number);
    number = -1;
  }
};

/// How a program ended.
struct Ended {
  int exit_code = 0;
  bool timed_out = false;
  std::string messages;  ///< what it wrote to stderr
};

/// The child's half of `run_program`: becomes the program, or ends with 127 and the reason.
[[noreturn]] void become(const fs::path& folder, const std::vector<std::string>& arguments,
                         int messages) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int nowhere = open("/dev/null", O_RDWR);
  dup2(nowhere, STDIN_FILENO);
  dup2(nowhere, STDOUT_FILENO);
  dup2(messages, STDERR_FILENO);
  if (chdir(folder.c_str()) == 0) execvp(argv[0], argv.data());
  const char* reason = std::strerror(errno);
  const auto ignored = write(STDERR_FILENO, reason, std::strlen(reason));
  _exit(ignored < 0 ? 126 : 127);
}

/// Reads until the other end is closed. \return false if the time ran out before
bool read_until(int descriptor, std::chrono::steady_clock::time_point end, std::string& text) {
  std::array<char, 4096> block{};
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd ready{.fd = descriptor, .events = POLLIN, .revents = 0};
    const int answer = poll(&ready, 1, static_cast<int>(left.count()));
    if (answer < 0 && errno == EINTR) continue;
    if (answer == 0) return false;
    const auto length = read(descriptor, block.data(), block.size());
    if (length <= 0) return true;
    text.append(block.data(), static_cast<std::size_t>(length));
  }
}

/// Runs a program in a folder, without a shell, and waits.
Ended run_program(const fs::path& folder, const std::vector<std::string>& arguments,
                  int time_limit_seconds) {
  std::array<int, 2> ends{};
  require(pipe2(ends.data(), O_CLOEXEC) == 0, "{}: cannot be started ({})", arguments[0],
          std::strerror(errno));
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  const pid_t child = fork();
  require(child >= 0, "{}: cannot be started ({})", arguments[0], std::strerror(errno));
  if (child == 0) become(folder, arguments, writing.number);
  writing.close_now();
  Ended ended;
  ended.timed_out = !read_until(
      reading.number, std::chrono::steady_clock::now() + std::chrono::seconds(time_limit_seconds),
      ended.messages);
  if (ended.timed_out) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  ended.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

/// Runs gnuplot over a script in its folder, where the script names its output.
void run_gnuplot(const fs::path& folder, const Figure& figure, FigureFormat format,
                 const GnuplotOptions& options) {
  const std::string script = figure.name + ".gp";
  const fs::path output = folder / fmt::format("{}.{}", figure.name, name_of(format));
  // -d: without what the user's own gnuplotrc says.
  const Ended ended = run_program(
      folder, {options.program, "-d", "-e", fmt::format("format='{}'", name_of(format)), script},
      options.time_limit_seconds);
  require(ended.exit_code != 127,
          "{}: cannot be started ({}); figures are drawn with gnuplot 5.4: {}", options.program,
          ended.messages, kInstall);
  require(!ended.timed_out, "{}: gnuplot took longer than {} s over {}; nothing was written",
          output.filename().string(), options.time_limit_seconds, script);
  require(ended.exit_code == 0, "{}: gnuplot failed over {} (exit {}): {}",
          output.filename().string(), script, ended.exit_code, ended.messages);
  std::error_code ignored;
  require(fs::file_size(output, ignored) > 0 && !ignored,
          "{}: gnuplot wrote nothing{}{}; its terminal {}cairo may be missing: {}",
          output.filename().string(), ended.messages.empty() ? "" : ", but said: ", ended.messages,
          name_of(format), kInstall);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

/// Prefixes each id after one of these openings, up to its closing quote or bracket.
std::string with_own_ids(std::string_view svg, const std::string& prefix) {
  constexpr std::array<std::string_view, 5> kOpenings = {"id='", "id=\"", "href='#", "href=\"#",
                                                         "url(#"};
  std::string text(svg);
  for (const auto opening : kOpenings) {
    for (std::size_t at = text.find(opening); at != std::string::npos;
         at = text.find(opening, at + 1)) {
      text.insert(at + opening.size(), prefix);
    }
  }
  return text;
}

/// Each "rgb( 31,  78, 121)" of gnuplot's as "#1f4e79".
std::string with_hex_colours(std::string_view svg) {
  std::string text;
  std::size_t done = 0;
  for (std::size_t at = svg.find("rgb("); at != std::string_view::npos; at = svg.find("rgb(", at)) {
    std::array<int, 3> colour{};
    const std::size_t end = svg.find(')', at);
    const std::string parts(svg.substr(at, end - at));
    at += 4;
    if (std::sscanf(parts.c_str(), "rgb(%d,%d,%d", &colour[0], &colour[1], &colour[2]) != 3)
      continue;
    text += svg.substr(done, at - 4 - done);
    text += fmt::format("#{:02x}{:02x}{:02x}", colour[0], colour[1], colour[2]);
    done = end + 1;
  }
  return text.append(svg.substr(done));
}

/// gnuplot's SVG with ids of its own, a size in inches and fonts that other machines have.
std::string finished_svg(const std::string& drawn, const Figure& figure) {
  std::string svg = with_hex_colours(with_own_ids(drawn, figure.name + "-"));
  const std::string family = "font-family=\"DejaVu Sans, Verdana, Geneva, sans-serif\"";
  replace_all(svg, "font-family=\"DejaVu Sans\"", family);
  replace_all(svg, "font-family=\"DejaVu Sans:Bold\"", family + " font-weight=\"bold\"");
  // Points drawn as rings have hairlines in gnuplot's SVG, whatever the line width.
  replace_all(svg, "stroke-width='0.281'", "stroke-width='0.55'");
  replace_all(svg, "<title>Gnuplot</title>",
              fmt::format("<title>{}</title>", html_escape(figure.title)));
  const std::size_t root = svg.find("<svg");
  require(root != std::string::npos, "{}.svg: gnuplot wrote no SVG", figure.name);
  svg.insert(root + 4, fmt::format(" width=\"{:.3f}in\" height=\"{:.3f}in\"", figure.width / 72,
                                   figure.height / 72));
  return svg;
}

/// A PDF whose date of creation is the epoch, so that the same figure gives the same bytes. The
/// length stays, on which the file's table of offsets depends.
std::string finished_pdf(std::string pdf) {
  constexpr std::string_view kKey = "/CreationDate (D:";
  const std::size_t key = pdf.find(kKey);
  if (key == std::string::npos) return pdf;
  constexpr std::string_view kEpoch = "19700101000000";
  std::size_t at = key + kKey.size();
  for (std::size_t i = 0; at < pdf.size() && pdf[at] != ')' && i < kEpoch.size(); ++at, ++i) {
    pdf[at] = kEpoch[i];
  }
  return pdf;
}

}  // namespace

std::string_view name_of(FigureFormat format) {
  switch (format) {
    case FigureFormat::Svg:
      return "svg";
    case FigureFormat::Pdf:
      return "pdf";
    case FigureFormat::Png:
      return "png";
  }
  return "";
}

std::vector<FigureFormat> parse_figure_formats(std::string_view text) {
  std::vector<FigureFormat> formats;
  for (const std::string& word : split_at_commas(text)) {
    const auto* known = std::ranges::find(kFormats, word, name_of);
    require(known != kFormats.end(), "--formats: wanted some of svg,pdf,png, found '{}'", word);
    require(std::ranges::find(formats, *known) == formats.end(), "--formats: {} is named twice",
            word);
    formats.push_back(*known);
  }
  return formats;
}

std::string script_of(const Figure& figure) {
  // One point is one unit of the SVG. The cairo terminals take a point for one of 96, not of 72, to
  // the inch; pdfcairo halves lines.
  return fmt::format(
      "# {title}\n"
      "# gnuplot 5.4 or later, run in this folder, draws it again:\n"
      "#   gnuplot {name}.gp                     {name}.svg\n"
      "#   gnuplot -e \"format='pdf'\" {name}.gp   {name}.pdf; likewise png\n"
      "set encoding utf8\n"
      "if (!exists(\"format\")) format = 'svg'\n"
      "if (format eq 'svg') set terminal svg noenhanced size {width:.0f},{height:.0f} dynamic font "
      "'DejaVu Sans,{size}'\n"
      "if (format eq 'pdf') set terminal pdfcairo noenhanced size "
      "{width_in:.4f}in,{height_in:.4f}in "
      "font 'DejaVu Sans,{size}' fontscale 0.75 linewidth 2\n"
      "if (format eq 'png') set terminal pngcairo noenhanced size {width_px:.0f},{height_px:.0f} "
      "font 'DejaVu Sans,{size}' fontscale {font_scale:.4f} linewidth {scale:.4f} pointscale "
      "{scale:.4f}\n"
      "set output '{name}.' . format\n"
      "set datafile separator comma\n"
      "set border 0\n"
      "unset key\n"
      "set format xy '%g'\n"
      "set tics nomirror textcolor rgb '{ink}'\n"
      "{commands}"
      "unset output\n",
      fmt::arg("title", gnuplot_string(figure.title)), fmt::arg("name", figure.name),
      fmt::arg("width", figure.width), fmt::arg("height", figure.height),
      fmt::arg("width_in", figure.width / 72), fmt::arg("height_in", figure.height / 72),
      fmt::arg("width_px", figure.width / 72 * kPngResolution),
      fmt::arg("height_px", figure.height / 72 * kPngResolution), fmt::arg("size", kTextSize),
      fmt::arg("font_scale", kPngResolution / 96.0), fmt::arg("scale", kPngResolution / 72.0),
      fmt::arg("ink", kInk), fmt::arg("commands", figure.commands));
}

void draw_figure(const Figure& figure, const fs::path& folder,
                 std::span<const FigureFormat> formats, const GnuplotOptions& options) {
  for (const Table& table : figure.data) {
    write_file(folder / (table.name + ".csv"), to_csv(table), /*force=*/false);
  }
  write_file(folder / (figure.name + ".gp"), script_of(figure), /*force=*/false);
  for (const FigureFormat format : formats) {
    run_gnuplot(folder, figure, format, options);
    const fs::path picture = folder / fmt::format("{}.{}", figure.name, name_of(format));
    if (format == FigureFormat::Svg) {
      write_file(picture, finished_svg(read_file(picture), figure), /*force=*/true);
    } else if (format == FigureFormat::Pdf) {
      write_file(picture, finished_pdf(read_file(picture)), /*force=*/true);
    }
  }
}

std::string inline_svg(std::string_view svg, const Figure& figure) {
  const std::size_t root = svg.find("<svg");
  const std::size_t body = svg.find('>', root);
  assume(root != std::string_view::npos && body != std::string_view::npos, "an SVG has a root");
  std::string text =
      fmt::format("<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\">",
                  figure.width, figure.height, html_escape(figure.title));
  text += svg.substr(body + 1);
  // In HTML the old spelling needs a namespace, the new one none.
  replace_all(text, "xlink:href", "href");
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kRoles = {
      {{kInk, "ink"},
       {kMuted, "muted"},
       {kLine, "line"},
       {kKept, "kept"},
       {kPaper, "paper"},
       {kRemoved, "removed"}}};
  for (const auto& [colour, role] : kRoles) {
    replace_all(text, colour, fmt::format("var(--figure-{})", role));
  }
  return text;
}

}  // namespace espalier
