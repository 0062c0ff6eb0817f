#include "origin.h"

#include <frameobject.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <span>

namespace rain::bindings {
namespace {

std::string& own_directory() {
  static std::string path;
  return path;
}

bool is_own(PyCodeObject* code) {
  Py_ssize_t size = 0;
  const char* file = PyUnicode_AsUTF8AndSize(code->co_filename, &size);
  if (!file) {
    PyErr_Clear();
    return false;
  }
  const std::string& own = own_directory();
  return !own.empty() && static_cast<std::size_t>(size) > own.size() &&
         std::memcmp(file, own.data(), own.size()) == 0;
}

int position_of(PyFrameObject* frame) {
#if PY_VERSION_HEX >= 0x030b0000
  return PyFrame_GetLasti(frame);
#else
  return frame->f_lasti * 2;  // counted in instructions of 2 bytes
#endif
}

std::size_t hash_of(std::span<const Origins::Frame> frames) {
  std::size_t hash = frames.size();
  for (const auto& frame : frames)
    hash = hash * 1000003 ^ std::hash<const void*>()(frame.code) ^
           static_cast<std::size_t>(frame.position) << 20;
  return hash;
}

}  // namespace

Origins::~Origins() {
  for (const auto& place : places_)
    for (const auto& frame : place) Py_DECREF(frame.code);
}

std::uint32_t Origins::capture() {
  std::array<Frame, kMaxFrames> frames;
  int count = 0;
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  while (frame && count < kMaxFrames) {
    PyCodeObject* code = PyFrame_GetCode(frame);
    Py_DECREF(code);  // the frame keeps it
    if (!is_own(code)) frames[count++] = {code, position_of(frame)};
    PyFrameObject* outer = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = outer;
  }
  Py_XDECREF(frame);

  const std::span<const Frame> here(frames.data(), static_cast<std::size_t>(count));
  if (!places_.empty() && std::ranges::equal(here, places_[last_])) return last_;
  const std::size_t hash = hash_of(here);
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto found = begin; found != end; ++found)
    if (std::ranges::equal(here, places_[found->second])) return last_ = found->second;
  last_ = static_cast<std::uint32_t>(places_.size());
  places_.emplace_back(here.begin(), here.end());
  for (const auto& kept : here) Py_INCREF(kept.code);
  by_hash_.emplace(hash, last_);
  return last_;
}

void Origins::set_own_directory(std::string path) { own_directory() = std::move(path); }

}  // namespace rain::bindings
