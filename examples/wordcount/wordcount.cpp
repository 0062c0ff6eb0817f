// Executor "wordcount": how often each word occurs in a text.
//
// Input: one blob of text. A word is a longest run of ASCII letters and "_".
// Output: one line "<count> <word>" for each word, in no order.

#include <tasklib/executor.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

bool is_word_byte(char byte) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
}

std::unordered_map<std::string_view, std::size_t> count_words(std::string_view text) {
  std::unordered_map<std::string_view, std::size_t> counts;
  std::size_t at = 0;
  while (at < text.size()) {
    while (at < text.size() && !is_word_byte(text[at])) ++at;
    const std::size_t begin = at;
    while (at < text.size() && is_word_byte(text[at])) ++at;
    if (at > begin) ++counts[text.substr(begin, at - begin)];
  }
  return counts;
}

}  // namespace

int main() {
  tasklib::Executor executor("wordcount");
  executor.add_task("count", [](tasklib::Context& ctx, auto& inputs, auto& outputs) {
    if (!ctx.check_n_args(1)) return;
    // The words are views of the input itself, which lies in shared memory or in the message.
    const std::string_view text(inputs[0]->template as<char>(), inputs[0]->get_size());
    std::string lines;
    for (const auto& [word, count] : count_words(text)) {
      lines += std::to_string(count);
      lines += ' ';
      lines += word;
      lines += '\n';
    }
    outputs.push_back(std::make_unique<tasklib::MemDataInstance>(lines));
  });
  executor.start();
}
