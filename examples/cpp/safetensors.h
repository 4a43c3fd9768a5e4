// Read float32 tensors from a safetensors file: 8 bytes of header length, a JSON header, the bytes of the tensors.
//
// The file may be damaged or hostile: every length is checked before it is used, and anything unexpected throws.
#pragma once

#include <cctype>
#include <cstdint>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace safetensors {

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// The few words of JSON that a header is made of: objects, arrays, strings without escapes, and natural numbers.
class Header {
 public:
  explicit Header(std::string text) : text_(std::move(text)) {}

  struct Entry {
    std::string dtype;
    std::vector<uint64_t> shape;
    std::vector<uint64_t> offsets;
  };

  std::map<std::string, Entry> parse() {
    std::map<std::string, Entry> entries;
    object([&](const std::string& name) {
      if (name == "__metadata__") {
        object([&](const std::string&) { string(); });
        return;
      }
      Entry entry;
      object([&](const std::string& key) {
        if (key == "dtype") {
          entry.dtype = string();
        } else if (key == "shape") {
          entry.shape = numbers();
        } else if (key == "data_offsets") {
          entry.offsets = numbers();
        } else {
          fail("an unknown key '" + key + "'");
        }
      });
      if (!entries.emplace(name, entry).second) fail("two tensors named '" + name + "'");
    });
    if (next() != '\0') fail("text after the last brace");
    return entries;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("safetensors header: " + what + " at byte " + std::to_string(position_));
  }

  char next() {
    while (position_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[position_]))) ++position_;
    return position_ < text_.size() ? text_[position_] : '\0';
  }

  void expect(char wanted) {
    if (next() != wanted) fail(std::string("no '") + wanted + "'");
    ++position_;
  }

  template <typename Visit>
  void object(Visit visit) {
    expect('{');
    if (next() == '}') {
      ++position_;
      return;
    }
    for (;;) {
      const std::string key = string();
      expect(':');
      visit(key);
      if (next() != ',') break;
      ++position_;
    }
    expect('}');
  }

  std::string string() {
    expect('"');
    const size_t end = text_.find('"', position_);
    if (end == std::string::npos) fail("an unfinished string");
    const std::string found = text_.substr(position_, end - position_);
    if (found.find('\\') != std::string::npos) fail("an escaped character, which no name needs");
    position_ = end + 1;
    return found;
  }

  std::vector<uint64_t> numbers() {
    std::vector<uint64_t> found;
    expect('[');
    while (next() != ']') {
      if (!found.empty()) expect(',');
      found.push_back(number());
    }
    ++position_;
    return found;
  }

  uint64_t number() {
    if (!std::isdigit(static_cast<unsigned char>(next()))) fail("no number");
    uint64_t value = 0;
    while (position_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[position_]))) {
      value = value * 10 + static_cast<uint64_t>(text_[position_++] - '0');
      if (value > (uint64_t{1} << 48)) fail("a number that no file is as long as");
    }
    return value;
  }

  std::string text_;
  size_t position_ = 0;
};

inline std::map<std::string, Tensor> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  const uint64_t size = static_cast<uint64_t>(file.tellg());
  file.seekg(0);
  unsigned char prefix[8];
  if (size < 8 || !file.read(reinterpret_cast<char*>(prefix), 8)) throw std::runtime_error(path + ": no header");
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | prefix[i];
  if (length > size - 8) throw std::runtime_error(path + ": the header is longer than the file");
  std::string text(length, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(length))) throw std::runtime_error(path + ": cut short");

  std::map<std::string, Tensor> tensors;
  const uint64_t num_bytes = size - 8 - length;
  for (const auto& [name, entry] : Header(text).parse()) {
    const std::string where = path + ": " + name;
    if (entry.dtype != "F32") throw std::runtime_error(where + " is " + entry.dtype + ", expected F32");
    if (entry.offsets.size() != 2 || entry.offsets[0] > entry.offsets[1] || entry.offsets[1] > num_bytes)
      throw std::runtime_error(where + " lies outside the file");
    const uint64_t extent = entry.offsets[1] - entry.offsets[0];
    uint64_t count = 1;
    for (const uint64_t dimension : entry.shape) {
      // No product can pass the size of the file, so none can overflow.
      if (dimension == 0 || dimension > num_bytes / count) throw std::runtime_error(where + " has an impossible shape");
      count *= dimension;
    }
    if (extent != count * sizeof(float)) throw std::runtime_error(where + " has bytes that do not fit its shape");
    Tensor tensor{{entry.shape.begin(), entry.shape.end()}, std::vector<float>(count)};
    file.seekg(static_cast<std::streamoff>(8 + length + entry.offsets[0]));
    if (!file.read(reinterpret_cast<char*>(tensor.values.data()), static_cast<std::streamsize>(extent)))
      throw std::runtime_error(where + " is cut short");
    tensors.emplace(name, std::move(tensor));
  }
  return tensors;
}

}  // namespace safetensors
