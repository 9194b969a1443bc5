// SPDX-License-Identifier: Apache-2.0
// The two error doors. require() stands at the top of a stage, before any backend is called; check() stands
// around every call of an API that can fail. Both throw Error; the library never prints, aborts or swallows.
// Text: "<stage>: <what>: got <value>, expected <range>. <next step>"; docs/errors.md lists every one.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace foveate {

enum class ErrorKind {
    input,        // the caller passed something outside the contract
    limit,        // inside the contract, over a limit of engine/limits.h
    memory,       // over the engine's memory budget, or the device is out of memory
    device,       // a driver call failed
    device_lost,  // the device is gone; a new Engine works
    timeout,      // a bounded wait ran out
    forked,       // used in a child process after fork()
    unsupported,  // this backend or build cannot do it
};

class Error : public std::runtime_error {
public:
    Error(ErrorKind kind, const std::string& text) : std::runtime_error(text), kind(kind) {}
    const ErrorKind kind;
};

[[noreturn]] void fail(ErrorKind kind, std::string_view what, std::string_view got, std::string_view expected,
                       std::string_view hint);

// `what` is "<stage>: <what>". Text is made only when the condition does not hold.
template <class Got, class Expected>
void require(bool condition, std::string_view what, const Got& got, const Expected& expected,
             std::string_view hint = "", ErrorKind kind = ErrorKind::input)
{
    if (condition) [[likely]]
        return;
    std::ostringstream got_text, expected_text;
    got_text << got;
    expected_text << expected;
    fail(kind, what, got_text.str(), expected_text.str(), hint);
}

}  // namespace foveate
