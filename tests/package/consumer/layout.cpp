// Sizes of the public classes: the same whatever language version the user compiles with.
#include <tasklib/executor.h>

#include <iostream>

int main() {
  std::cout << sizeof(tasklib::Executor) << ' ' << sizeof(tasklib::Context) << ' '
            << sizeof(tasklib::Context::OutputSpec) << ' ' << sizeof(tasklib::DataInstance) << ' '
            << sizeof(tasklib::MemDataInstance) << ' ' << sizeof(tasklib::FileDataInstance) << ' '
            << sizeof(tasklib::MutableBlob) << ' ' << sizeof(tasklib::Value) << ' '
            << sizeof(tasklib::Sid) << '\n';
}
