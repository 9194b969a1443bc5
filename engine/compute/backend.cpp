// SPDX-License-Identifier: Apache-2.0
#include "engine/compute/backend.h"

#include <cstring>

#include "engine/error.h"

namespace foveate::compute {

Ref<Block> ComputeRecord::upload(const void* data, std::uint64_t size)
{
    Ref<Block> made = buffer(size);
    std::byte* host = fill(made);
    if (size) std::memcpy(host, data, size);
    return made;
}

Ref<Block> ComputeBackend::upload(Record& record, const void* data, std::uint64_t size)
{
    return recording(record).upload(data, size);
}

ComputeBackend::Place ComputeBackend::place(ComputeRecord&, const std::byte*, const std::byte*, bool,
                                            std::uint64_t) const
{
    return {};
}

bool ComputeBackend::hidden(const std::byte*, const std::byte*) const { return false; }

void ComputeBackend::gather(ComputeRecord&, const Ref<Block>&, std::uint64_t, const std::byte*, const std::byte*) const
{
}

const Program& ComputeBackend::program_for(const char* name, const Ref<Block>& pixels, const Ref<Block>& levels) const
{
    const auto fits_one = [](const Ref<Block>& block) { return !block || block->size() <= WINDOW; };
    return program(name, fits_one(pixels) && fits_one(levels) ? 1 : WINDOWS);
}

Ref<Block> ComputeBackend::own(ComputeRecord& record, const Ref<Block>& block, const char* what) const
{
    if (block && owns(*block)) {
        record.use(block);
        return block;
    }
    require(block && block->host(), what, "memory of another engine", "memory the host can read",
            "Make it with this Engine.");
    return record.upload(block->host(), block->size());
}

Groups ComputeBackend::flat_groups(const Program& program, std::uint64_t items) const
{
    const std::uint64_t groups = (items + program.invocations() - 1) / program.invocations();
    const std::uint64_t x_max = limits().groups[0];
    const std::uint64_t y = (groups + x_max - 1) / x_max;
    const Groups result{std::uint32_t((groups + y - 1) / y), std::uint32_t(y), 1};
    check_groups(program, result);
    return result;
}

void ComputeBackend::check_groups(const Program& program, const Groups& groups) const
{
    for (int axis = 0; axis < 3; ++axis)
        require(groups[axis] <= limits().groups[axis], std::string(program.name()) + ": work groups", groups[axis],
                "at most " + std::to_string(limits().groups[axis]) + " on this device",
                "Use fewer images a call.", ErrorKind::limit);
}

void ComputeBackend::check_range(const char* what, std::uint64_t bytes, std::uint64_t bytes_max) const
{
    require(bytes <= bytes_max, what, std::to_string(bytes) + " bytes",
            "at most " + std::to_string(bytes_max) + " on this device", "Use fewer images a call.",
            ErrorKind::limit);
}

void add_windows(std::vector<Binding>& bindings, const char* const (&names)[WINDOWS], const Ref<Block>& buffer)
{
    for (std::uint32_t k = 0; k < WINDOWS; ++k) {
        // A window past the end is never read, and must still be something: the buffer's start.
        const bool inside = buffer && k * WINDOW < buffer->size();
        bindings.push_back({names[k], buffer.get(), inside ? k * WINDOW : 0, WINDOW});
    }
}

}  // namespace foveate::compute
