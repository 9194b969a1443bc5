// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/backend.h"

#include <cstring>

#include "engine/vulkan/stages.h"

namespace foveate::vulkan {

VulkanBackend::VulkanBackend(const std::string& device_selector, std::uint64_t memory_budget, Features features)
    : device_(new Device(choose_adapter(device_selector), memory_budget, static_cast<Backend*>(this), features.share)),
      recorder_(new Recorder(device_, features.trace)), programs_(std::make_unique<Programs>(*device_))
{
    const Adapter& adapter = device_->adapter();
    caps_.backend = "vulkan";
    caps_.device = adapter.name;
    caps_.uuid = adapter.uuid;
    caps_.driver = adapter.driver;
    caps_.software = adapter.software;
    caps_.host_visible = device_->memory.shared();
    caps_.memory_budget = device_->memory.budget();
    caps_.image_bytes_max = WINDOWS * WINDOW;
}

VulkanBackend::~VulkanBackend() { device_->memory.close(); }

void VulkanBackend::last_release()
{
    // What a hung device still works on cannot be destroyed, and waiting for ever is worse than leaking it.
    if (!device_->forked() && recorder_->settle()) delete this;
}

Counters VulkanBackend::counters() const
{
    Counters counters;
    counters.records = recorder_->records;
    counters.pipelines_created = programs_->count();
    counters.image_copies = image_copies_;
    counters.host_waits = recorder_->waits;
    counters.memory_used = device_->memory.used();
    counters.memory_peak = device_->memory.peak();
    counters.spans_dropped = recorder_->spans_dropped;
    counters.messages = device_->instance().messages();
    return counters;
}

Ref<Record> VulkanBackend::begin()
{
    check(recorder_->lost() ? VK_ERROR_DEVICE_LOST : VK_SUCCESS, "begin");
    return Ref<Record>(new VulkanRecord(recorder_));
}

Ref<Block> VulkanBackend::tensor(Record& record, const Ref<Block>& block)
{
    if (!block || block->host()) return block;
    VulkanRecord& recording = this->recording(record);
    return recording.read_back(own(recording, block, "tensor: block"));
}

Ref<Block> VulkanBackend::upload(Record& record, const void* data, std::uint64_t size)
{
    return recording(record).upload(data, size);
}

void VulkanBackend::finish(Record& record)
{
    recording(record).finish();
    programs_->save();
}

const Program& VulkanBackend::program(const char* name, const Buffer* pixels, const Buffer* levels) const
{
    const auto fits_one = [](const Buffer* buffer) { return !buffer || buffer->size() <= WINDOW; };
    const std::uint32_t windows = fits_one(pixels) && fits_one(levels) ? 1 : WINDOWS;
    return programs_->get(name, windows);
}

VulkanRecord& VulkanBackend::recording(Record& record) const
{
    auto* ours = dynamic_cast<VulkanRecord*>(&record);
    require(ours && &ours->recorder() == recorder_.get(), "Engine: record", "another backend's",
            "this one's");
    return *ours;
}

Ref<Buffer> VulkanBackend::own(VulkanRecord& record, const Ref<Block>& block, const char* what) const
{
    auto* buffer = dynamic_cast<Buffer*>(block.get());
    if (buffer && buffer->device() == device_.get()) {
        buffer->retain();
        Ref<Buffer> held(buffer);
        record.use(held);
        return held;
    }
    require(block && block->host(), what, "memory of another engine", "memory the host can read",
            "Make it with this Engine.");
    return record.upload(block->host(), block->size());
}

Groups VulkanBackend::flat_groups(const Program& program, std::uint64_t items) const
{
    const std::uint64_t groups = (items + program.invocations() - 1) / program.invocations();
    const std::uint64_t x_max = device_->limits().maxComputeWorkGroupCount[0];
    const std::uint64_t y = (groups + x_max - 1) / x_max;
    const Groups result{std::uint32_t((groups + y - 1) / y), std::uint32_t(y), 1};
    check_groups(program, result);
    return result;
}

void VulkanBackend::check_groups(const Program& program, const Groups& groups) const
{
    for (int axis = 0; axis < 3; ++axis)
        require(
            groups[axis] <= device_->limits().maxComputeWorkGroupCount[axis],
            std::string(program.name()) + ": work groups", groups[axis],
            "at most " + std::to_string(device_->limits().maxComputeWorkGroupCount[axis]) + " on this device",
            "Use fewer images a call.", ErrorKind::limit);
}

void VulkanBackend::check_range(const char* what, std::uint64_t bytes, std::uint64_t bytes_max) const
{
    require(bytes <= bytes_max, what, std::to_string(bytes) + " bytes",
            "at most " + std::to_string(bytes_max) + " on this device", "Use fewer images a call.",
            ErrorKind::limit);
}

void add_windows(std::vector<Binding>& bindings, const char* const (&names)[WINDOWS], const Buffer* buffer)
{
    for (std::uint32_t k = 0; k < WINDOWS; ++k) {
        // A window past the end is never read, and must still be something: the buffer's start.
        const bool inside = buffer && k * WINDOW < buffer->size();
        bindings.push_back({names[k], buffer, inside ? k * WINDOW : 0, WINDOW});
    }
}

}  // namespace foveate::vulkan

namespace foveate {

Ref<Backend> make_vulkan_backend(const std::string& device_selector, std::uint64_t memory_budget, Features features)
{
    return Ref<Backend>(new vulkan::VulkanBackend(device_selector, memory_budget, features));
}

}  // namespace foveate
