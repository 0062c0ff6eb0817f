// main() where there is no libFuzzer: runs the target once on each file of the corpus.

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size);

int main(int argc, char** argv) {
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      // In a heap block of its exact size, so that a sanitizer sees a read beyond.
      const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
      std::vector<unsigned char> exact(bytes.begin(), bytes.end());
      exact.shrink_to_fit();
      LLVMFuzzerTestOneInput(exact.data(), exact.size());
      ++files;
    }
  }
  std::printf("%d files\n", files);
  return files > 0 ? 0 : 1;
}
