#pragma once

// CBOR (RFC 8949) through libcbor's encoder functions and streaming decoder. No tree is built:
// a Writer appends items to a string, a Reader walks over bytes item by item.
//
// For the bindings: a value in another language becomes a RawValue with a Writer and is walked
// with a Reader:
//
//   std::string raw;                           Reader reader{base::ByteView(raw)};
//   Writer writer(raw);                        switch (reader.peek()) {
//   writer.map(2);                               case Kind::map: {
//   writer.text("n"); writer.integer(1);           auto map = reader.enter_map();
//   writer.text("x"); writer.number(0.5);          while (reader.more(map)) {
//                                                    std::string key = reader.read_text();
//                                                    ... recurse for the value ...
//                                                  }
//                                                } break;
//                                                case Kind::unsigned_int: reader.read_uint(); ...
//
// A Writer's maps keep the order in which they are written; canonical_value() (codec.h) sorts
// their keys. Nesting is limited by the Reader, not by the Writer.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace tasklib::wire {

/// Containers within containers in one frame; deeper ones are refused (reference 1.3).
constexpr std::size_t kMaxNesting = 127;

bool is_valid_utf8(std::string_view text);

/// Appends CBOR items to a string, in the shortest form that the older governor writes. A value
/// type that holds a reference: the string must outlive it.
class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}

  void null();
  void boolean(bool value);
  void uinteger(std::uint64_t value);
  void integer(std::int64_t value);
  /// Single precision where that keeps the value, else double; inf and nan as half.
  void number(double value);
  void number_single(float value);
  /// What is no valid UTF-8 in `text` becomes U+FFFD: a frame with a broken text would be refused
  /// by every reader.
  void text(std::string_view text);
  /// As text(), for texts known to be valid UTF-8 (map keys, message names).
  void key(std::string_view text);
  void bytes(base::ByteView bytes);
  /// `count` items follow.
  void array(std::uint64_t count);
  /// `count` pairs of key and value follow.
  void map(std::uint64_t count);
  /// One item (or several) that is encoded already.
  void raw(std::string_view items) { out_.append(items); }

 private:
  std::string& out_;
};

/// What comes next in a Reader.
enum class Kind : std::uint8_t {
  end,   // no bytes left
  null,  // or undefined
  boolean,
  unsigned_int,
  negative_int,
  floating,
  text,
  bytes,
  array,
  map,
  stop,  // of an indefinite container; seen by more() only, an error everywhere else
};

/// Walks over CBOR items. Takes definite and indefinite lengths, any integer width, and skips
/// tags. Every read_x() throws ProtocolError, with the offset, when the next item isn't an x, is
/// truncated or malformed. Keeps a view: the bytes must outlive it.
class Reader {
 public:
  /// `nesting`: how many containers are around `bytes` already.
  explicit Reader(base::ByteView bytes, std::size_t nesting = 0)
      : bytes_(bytes), nesting_(nesting) {}

  /// The kind of the next item; tags before it are skipped.
  Kind peek() {
    if (!has_head_) load();
    return head_.kind;
  }
  /// Where the next item begins.
  std::size_t offset_bytes() {
    peek();
    return head_.offset;
  }
  std::size_t left_bytes() const { return bytes_.size - next_; }

  /// Consumes null or undefined if that comes next.
  bool try_null();
  bool read_bool();
  std::uint64_t read_uint(std::uint64_t max = std::numeric_limits<std::uint64_t>::max());
  /// Throws when it is beyond the limits, which include those of int64.
  std::int64_t read_int(std::int64_t min = std::numeric_limits<std::int64_t>::min(),
                        std::int64_t max = std::numeric_limits<std::int64_t>::max());
  /// Any float or integer.
  double read_float();
  /// Text of valid UTF-8, or a byte string that is.
  std::string read_text();
  /// The same without a copy where the text came in one piece, else by way of `scratch`. Valid
  /// as long as the bytes and `scratch`.
  std::string_view read_text(std::string& scratch);
  /// A byte string, a text, or an array of integers below 256. Empty `scratch` afterwards: the
  /// view is into the bytes; else into `scratch`.
  base::ByteView read_bytes(std::string& scratch);

  /// A container that is being read.
  struct Span {
    std::uint64_t left;  // items of an array, pairs of a map; meaningless if indefinite
    bool indefinite;
    std::size_t offset_bytes;
  };
  Span enter_array();
  Span enter_map();
  /// True: an item (of a map: key and value) follows. False: that was the end, which is consumed.
  bool more(Span& span);

  /// Steps over one item of any kind.
  void skip();
  /// Throws unless nothing is left.
  void expect_end();

  /// What is being read, for error messages: "result.success: expected a bool, found a text".
  /// Both must outlive the reading.
  void set_place(std::string_view container, std::string_view field) {
    container_ = container;
    field_ = field;
  }

  /// Throws ProtocolError that says `problem` about the next item or about the one at `offset`.
  [[noreturn]] void fail(const std::string& problem);
  [[noreturn]] void fail_at(std::size_t offset_bytes, const std::string& problem) const;
  /// Throws ProtocolError: "expected X, found Y".
  [[noreturn]] void fail_expected(const char* expected);

 private:
  struct Head {
    Kind kind = Kind::end;
    bool indefinite = false;
    bool tag = false;
    std::uint64_t argument = 0;  // value of an integer (negative: -1 - value), count, bool
    double number = 0;
    const unsigned char* data = nullptr;  // of a definite text or byte string
    std::size_t offset = 0;
  };
  friend struct HeadCallbacks;

  void load();
  void take() { has_head_ = false; }
  Span enter(Kind kind, const char* expected);
  std::string_view join_chunks(Kind kind, std::string& scratch);

  base::ByteView bytes_;
  std::size_t nesting_;
  std::size_t next_ = 0;  // first byte after head_
  bool has_head_ = false;
  Head head_;
  std::string_view container_, field_;
};

}  // namespace tasklib::wire
