// An executor with a libcbor of its own, of which nothing fits ours.
#include <tasklib/executor.h>

#include <cstdlib>
#include <string>

extern "C" {
int cbor_encode_uint() { return 42; }
int cbor_encode_array_start() { std::abort(); }
int cbor_encode_map_start() { std::abort(); }
int cbor_encode_string_start() { std::abort(); }
int cbor_encode_bytestring_start() { std::abort(); }
int cbor_stream_decode() { std::abort(); }
int _cbor_encode_uint8() { std::abort(); }
int _cbor_malloc = 0;
}

int main() {
  tasklib::Executor executor("example1");
  executor.add_task("hello", [](tasklib::Context&, auto&, auto& outputs) {
    std::string text = std::to_string(cbor_encode_uint());
    outputs.push_back(std::make_unique<tasklib::MemDataInstance>(text));
  });
  executor.start();
}
