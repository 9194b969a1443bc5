// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/backend.h"

#include <algorithm>

#include "engine/vulkan/sample_vrs_raster.h"
#include "engine/vulkan/vulkan_backend.h"

namespace foveate::vulkan {

namespace {

Features with_shaders(Features features)
{
    features.sources = profile_shaders() || features.sources;
    return features;
}

}  // namespace

VulkanBackend::VulkanBackend(const std::string& device_selector, std::uint64_t memory_budget, Features features)
    : device_(new Device(choose_adapter(device_selector), memory_budget, static_cast<Backend*>(this),
                         with_shaders(features))),
      recorder_(new Recorder(device_, features.trace, features.ahead)),
      programs_(std::make_unique<Programs>(*device_)), semaphores_(std::make_unique<Semaphores>(*recorder_))
{
    const Adapter& adapter = device_->adapter();
    caps_.backend = "vulkan";
    caps_.device = adapter.name;
    caps_.uuid = adapter.uuid;
    caps_.driver = adapter.driver;
    caps_.software = adapter.software;
    caps_.host_visible = device_->memory.shared();
    caps_.sync = device_->sync();
    caps_.memory_budget = device_->memory.budget();
    caps_.shaders = device_->features().sources ? "profile" : "release";
    caps_.profiling = adapter.profiling();
    caps_.image_bytes_max = compute::WINDOWS * compute::WINDOW;
    caps_.shading_rate = adapter.shading_rate;
    const VkPhysicalDeviceLimits& device = device_->limits();
    caps_.filter_side = device.maxImageDimension2D;
    limits_.range = device.maxStorageBufferRange;
    limits_.alignment = device.minStorageBufferOffsetAlignment;
    std::copy_n(device.maxComputeWorkGroupCount, 3, limits_.groups.begin());
}

VulkanBackend::~VulkanBackend() { device_->memory.close(); }

void VulkanBackend::last_release()
{
    // What a hung device still works on cannot be destroyed, and waiting for ever is worse than leaking it.
    if (!device_->forked() && recorder_->settle() && (!raster_ || raster_->settle())) delete this;
}

Counters VulkanBackend::counters() const
{
    Counters counters;
    counters.records = recorder_->records;
    counters.pipelines_created = programs_->count();
    counters.image_copies = image_copies_;
    counters.host_waits = device_->waits();
    counters.memory_used = device_->memory.used();
    counters.memory_peak = device_->memory.peak();
    counters.spans_dropped = recorder_->spans_dropped;
    counters.messages = device_->instance().messages();
    std::lock_guard lock(raster_mutex_);
    if (!raster_) return counters;
    counters.host_waits += raster_->waits();
    counters.memory_used += raster_->memory_used();
    counters.memory_peak += raster_->memory_peak();
    return counters;
}

Ref<Record> VulkanBackend::begin()
{
    check(device_->lost() ? VK_ERROR_DEVICE_LOST : VK_SUCCESS, "begin");
    return Ref<Record>(new VulkanRecord(recorder_));
}

Ref<Block> VulkanBackend::tensor(Record& record, const Ref<Block>& block)
{
    if (!block || block->visible()) return block;
    VulkanRecord& recording = this->recording(record);
    require(owns(*block), "tensor: block", "memory of another engine", "memory the host can read",
            "Make it with this Engine.");
    recording.use(block);
    block->retain();
    return recording.read_back(Ref<Buffer>(static_cast<Buffer*>(block.get())));
}

void VulkanBackend::finish(Record& record)
{
    recording(record).finish();
    programs_->save();
}

void VulkanBackend::settle()
{
    recorder_->wait(device_->submitted().value);
}

const compute::Program& VulkanBackend::program(const char* name, std::uint32_t windows) const
{
    return programs_->get(name, windows);
}

VulkanRecord& VulkanBackend::recording(Record& record) const
{
    auto* ours = dynamic_cast<VulkanRecord*>(&record);
    require(ours && &ours->recorder() == recorder_.get(), "Engine: record", "another backend's",
            "this one's");
    return *ours;
}

bool VulkanBackend::owns(const Block& block) const
{
    const auto* buffer = dynamic_cast<const Buffer*>(&block);
    return buffer && buffer->device() == device_.get();
}

// Written by the host on memory of its own, it is carried over to the device's before a shader looks at it.
VulkanBackend::Place VulkanBackend::place(compute::ComputeRecord& record, const std::byte* low, const std::byte* high,
                                          bool borrow, std::uint64_t size_max) const
{
    Ref<Buffer> buffer = device_->memory.lent(low, high);
    if (!buffer && borrow) buffer = device_->memory.borrow(low, high);
    if (!buffer || buffer->size() > size_max) return {};
    record.use(buffer);
    const std::byte* const base = buffer->host();
    if (buffer->use() != Use::device) buffer = recording(record).near(buffer);
    return {buffer, base};
}

}  // namespace foveate::vulkan

namespace foveate {

Ref<Backend> make_vulkan_backend(const std::string& device_selector, std::uint64_t memory_budget, Features features)
{
    return Ref<Backend>(new vulkan::VulkanBackend(device_selector, memory_budget, features));
}

}  // namespace foveate
