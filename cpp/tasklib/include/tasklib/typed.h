#pragma once

#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "context.h"
#include "datainstance.h"
#include "signature.h"
#include "types.h"

// How a function with typed parameters becomes a TaskFunction. Used through Executor::add_task.

namespace tasklib {
namespace typed {

template <class P>
using Plain = typename std::remove_cv<typename std::remove_reference<P>::type>::type;

/// A parameter: what an input becomes before the call.
template <class P>
struct Parameter {
  using Stored = Plain<P>;
  static_assert(!std::is_lvalue_reference<P>::value ||
                    std::is_const<typename std::remove_reference<P>::type>::value,
                "inputs don't change: take the parameter by value or as const reference");
  static_assert(Type<Stored>::readable,
                "tasks don't take this type: see the table in docs/tutorial-cpp.md");
};

/// `error` with the parameter that it is about in front.
[[noreturn]] void fail_parameter(std::size_t index, const std::string& name,
                                 const TypeMismatch& error);

template <class P>
typename Parameter<P>::Stored read(std::size_t index, const Signature& signature,
                                   DataInstanceVec& inputs) {
  try {
    return Type<typename Parameter<P>::Stored>::read(inputs[index]);
  } catch (const TypeMismatch& error) {
    fail_parameter(index, signature.inputs[index].name, error);
  }
}

/// Results: nothing, one output, or the items of a tuple.
template <class R>
struct Results {
  static_assert(Type<R>::writable,
                "tasks don't return this type: return what owns its data, see the table in "
                "docs/tutorial-cpp.md");
  static void add_types(std::vector<ValueType>& types) { types.push_back(Type<R>::type()); }
  static void write(R&& result, DataInstanceVec& outputs) {
    outputs.push_back(Type<R>::write(std::move(result)));
  }
};
template <class... Rs>
struct Results<std::tuple<Rs...>> {
  static void add_types(std::vector<ValueType>& types) {
    const int each[] = {0, (Results<Rs>::add_types(types), 0)...};
    static_cast<void>(each);
  }
  static void write(std::tuple<Rs...>&& results, DataInstanceVec& outputs) {
    write(results, outputs, std::index_sequence_for<Rs...>());
  }

 private:
  template <std::size_t... I>
  static void write(std::tuple<Rs...>& results, DataInstanceVec& outputs,
                    std::index_sequence<I...>) {
    const int each[] = {0, (Results<Rs>::write(std::move(std::get<I>(results)), outputs), 0)...};
    static_cast<void>(each);
    static_cast<void>(results);
    static_cast<void>(outputs);
  }
};

/// Calls the function and makes outputs of what it returns.
template <class R>
struct Invoke {
  template <class F, class... Args>
  static void run(F& function, DataInstanceVec& outputs, Args&&... args) {
    Results<Plain<R>>::write(function(std::forward<Args>(args)...), outputs);
  }
  static void add_types(std::vector<ValueType>& types) { Results<Plain<R>>::add_types(types); }
};
template <>
struct Invoke<void> {
  template <class F, class... Args>
  static void run(F& function, DataInstanceVec&, Args&&... args) {
    function(std::forward<Args>(args)...);
  }
  static void add_types(std::vector<ValueType>&) {}
};

/// A function R(Ps...), after its Context& parameter if it has one.
template <bool WithContext, class R, class... Ps>
struct Task {
  static constexpr bool classic = false;
  static Signature signature() {
    Signature signature;
    signature.inputs = {Type<typename Parameter<Ps>::Stored>::type()...};
    Invoke<R>::add_types(signature.outputs);
    return signature;
  }
  template <class F>
  static void call(F& function, const Signature& signature, Context& ctx, DataInstanceVec& inputs,
                   DataInstanceVec& outputs) {
    if (!ctx.check_n_args(sizeof...(Ps))) return;
    call(function, signature, ctx, inputs, outputs, std::index_sequence_for<Ps...>());
  }

 private:
  template <class F, std::size_t... I>
  static void call(F& function, const Signature& signature, Context& ctx, DataInstanceVec& inputs,
                   DataInstanceVec& outputs, std::index_sequence<I...>) {
    std::tuple<typename Parameter<Ps>::Stored...> stored{read<Ps>(I, signature, inputs)...};
    run(std::integral_constant<bool, WithContext>(), function, ctx, outputs,
        static_cast<Ps&&>(std::get<I>(stored))...);
    static_cast<void>(stored);
    static_cast<void>(signature);
    static_cast<void>(inputs);
  }
  template <class F, class... Args>
  static void run(std::true_type, F& function, Context& ctx, DataInstanceVec& outputs,
                  Args&&... args) {
    Invoke<R>::run(function, outputs, ctx, std::forward<Args>(args)...);
  }
  template <class F, class... Args>
  static void run(std::false_type, F& function, Context&, DataInstanceVec& outputs,
                  Args&&... args) {
    Invoke<R>::run(function, outputs, std::forward<Args>(args)...);
  }
};

struct Classic {
  static constexpr bool classic = true;
};

template <class R, class... Ps>
struct TaskOf {
  using type = Task<false, R, Ps...>;
};
template <class R, class... Ps>
struct TaskOf<R, Context&, Ps...> {
  using type = Task<true, R, Ps...>;
};
template <class R>
struct TaskOf<R, Context&, DataInstanceVec&, DataInstanceVec&> {
  using type = Classic;
};

/// The Task of anything that can be called with parameters of certain types; Classic of what takes
/// `auto`.
template <class F, class = void>
struct Function {
  using type = Classic;
};
template <class F>
struct Function<F, decltype(static_cast<void>(&F::operator()))>
    : Function<decltype(&F::operator())> {};
#define TASKLIB_FUNCTION_(qualifiers)      \
  template <class C, class R, class... Ps> \
  struct Function<R (C::*)(Ps...) qualifiers> : TaskOf<R, Ps...> {};
TASKLIB_FUNCTION_()
TASKLIB_FUNCTION_(const)
#if __cplusplus >= 201703L
TASKLIB_FUNCTION_(noexcept)
TASKLIB_FUNCTION_(const noexcept)
template <class R, class... Ps>
struct Function<R (*)(Ps...) noexcept> : TaskOf<R, Ps...> {};
#endif
#undef TASKLIB_FUNCTION_
template <class R, class... Ps>
struct Function<R (*)(Ps...)> : TaskOf<R, Ps...> {};

template <class F>
using TaskOfFunction = typename Function<typename std::decay<F>::type>::type;

}  // namespace typed
}  // namespace tasklib
