// SPDX-License-Identifier: Apache-2.0
// Ranges of the host that a profiler shows by name: the words of the stages, in the NVTX domain "foveate". A profiler
// that listens puts its library into NVTX_INJECTION64_PATH; without one a range is a load and a branch.
#pragma once

namespace foveate {

class Range {
public:
    // `name` must live as long as the program.
    explicit Range(const char* name);
    ~Range();
    Range(const Range&) = delete;
    Range& operator=(const Range&) = delete;

private:
    bool pushed_;
};

// What the call returns, in a range.
template <class Call>
auto in_range(const char* name, Call&& call)
{
    const Range range(name);
    return call();
}

}  // namespace foveate
