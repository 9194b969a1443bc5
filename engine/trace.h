// SPDX-License-Identifier: Apache-2.0
// What a device did, and when: one span for each dispatch of an engine made with trace.
#pragma once

#include <cstdint>
#include <string>

namespace foveate {

struct Span {
    std::string name;                   // of the shader
    std::uint64_t submit = 0;           // which submission of the device it was in, from 1
    std::uint64_t begin_ns = 0, end_ns = 0;  // the host's monotonic clock, as near as the end of the wait tells
};

}  // namespace foveate
