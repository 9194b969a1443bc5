// SPDX-License-Identifier: Apache-2.0
// What a device did, and when: one span for each dispatch of an engine made with trace; and what its driver says of
// the kernels that it compiled for them.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace foveate {

struct Span {
    std::string name;                   // of the shader
    std::uint64_t submit = 0;           // which submission of the device it was in, from 1
    std::uint64_t begin_ns = 0, end_ns = 0;  // the host's monotonic clock, as near as the end of the wait tells
};

struct Statistic {
    std::string name, description;      // as the driver words them
    std::variant<bool, std::int64_t, std::uint64_t, double> value;
};

struct Kernel {
    std::string name;                   // of the shader
    std::uint32_t windows = 1;          // of pixels that it was specialised for
    std::string part;                   // as the driver calls it: a shader may become more than one program
    std::uint32_t subgroup_size = 0;
    std::vector<Statistic> statistics;
};

}  // namespace foveate
