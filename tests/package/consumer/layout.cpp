// Sizes of the public classes: the same whatever language version the user compiles with.
#include <tasklib/testing.h>

#include <iostream>

int main() {
  std::cout << sizeof(tasklib::Executor) << ' ' << sizeof(tasklib::Context) << ' '
            << sizeof(tasklib::Context::OutputSpec) << ' ' << sizeof(tasklib::DataInstance) << ' '
            << sizeof(tasklib::MemDataInstance) << ' ' << sizeof(tasklib::FileDataInstance) << ' '
            << sizeof(tasklib::Signature) << ' ' << sizeof(tasklib::span<int>) << ' '
            << sizeof(tasklib::string_view) << ' ' << sizeof(tasklib::ndview<int, 3>) << ' '
            << sizeof(tasklib::MutableArray<int, 3>) << ' ' << sizeof(tasklib::testing::Call) << ' '
            << sizeof(tasklib::testing::Result) << ' ' << sizeof(tasklib::MutableBlob) << ' '
            << sizeof(tasklib::Value) << ' ' << sizeof(tasklib::Sid) << '\n';
}
