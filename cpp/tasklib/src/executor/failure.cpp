#include "executor/failure.h"

#include <cxxabi.h>

#include <cstdlib>
#include <exception>
#include <memory>
#include <typeinfo>

#include "tasklib/array.h"
#include "tasklib/datainstance.h"

namespace tasklib::executor {
namespace {

std::string current_type() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (type == nullptr) return "an unknown type";
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> readable(
      abi::__cxa_demangle(type->name(), nullptr, nullptr, &status), &std::free);
  return status == 0 && readable ? readable.get() : type->name();
}

std::string with_origin(const std::string& text, const std::string& task_type) {
  return text + "\nC++ exception of type " + current_type() + " left the task '" + task_type + "'";
}

}  // namespace

std::string describe_current_exception(const std::string& task_type) {
  try {
    throw;
  } catch (const abi::__forced_unwind&) {
    throw;
  } catch (const StoreFull& error) {
    return std::string("StoreFull: ") + error.what();
  } catch (const TypeMismatch& error) {
    return error.what();
  } catch (const std::exception& error) {
    return with_origin(error.what(), task_type);
  } catch (const std::string& text) {
    return with_origin(text, task_type);
  } catch (const char* text) {
    return with_origin(text == nullptr ? "(null)" : text, task_type);
  } catch (...) {
    return with_origin("an exception without a text (not derived from std::exception)", task_type);
  }
}

}  // namespace tasklib::executor
