// SPDX-License-Identifier: Apache-2.0
// The stages of engine/compute on one Vulkan device.
#pragma once

#include <memory>

#include "engine/compute/backend.h"
#include "engine/vulkan/backend.h"
#include "engine/vulkan/record.h"
#include "engine/vulkan/semaphore.h"

namespace foveate::vulkan {

class Raster;

class VulkanBackend final : public compute::ComputeBackend {
public:
    VulkanBackend(const std::string& device_selector, std::uint64_t memory_budget, Features features);
    ~VulkanBackend() override;

    const Caps& caps() const override { return caps_; }
    Counters counters() const override;
    std::vector<Span> spans() override { return recorder_->spans(); }
    std::vector<Kernel> kernels() override;
    bool copy(Record& record, std::uint64_t size) override;
    Ref<Record> begin() override;
    Shaded sample_vrs(Record& record, const Image& image, const VrsPlan& plan) override;
    Ref<Block> tensor(Record& record, const Ref<Block>& block) override;
    Ref<Block> empty(std::uint64_t size) override;
    SharedMemory share(const Ref<Block>& block, bool accompanied = false) override;
    Ref<Block> attach(SharedMemory memory) override { return device_->memory.attach(std::move(memory)); }
    SharedSemaphore signal() override { return semaphores_->signal(); }
    SharedSemaphore expect() override { return semaphores_->expect(); }
    void wait(SharedSemaphore point) override { semaphores_->wait(std::move(point)); }
    Ref<Block> attach_texture(SharedTexture texture) override;
    Ref<Block> take(Record& record, const Ref<Block>& texture) override;
    SharedTexture texture(Record& record, const Pyramid& pyramid, std::uint32_t image) override;
    void finish(Record& record) override;
    void settle() override;

private:
    void last_release() override;
    const compute::Limits& limits() const override { return limits_; }
    const compute::Program& program(const char* name, std::uint32_t windows) const override;
    VulkanRecord& recording(Record& record) const override;
    bool owns(const Block& block) const override;
    Place place(compute::ComputeRecord& record, const std::byte* low, const std::byte* high, bool borrow,
                std::uint64_t size_max) const override;

    // Made by the first call that draws.
    Raster& raster();

    Ref<Device> device_;
    Ref<Recorder> recorder_;
    std::unique_ptr<Programs> programs_;
    std::unique_ptr<Semaphores> semaphores_;
    compute::Limits limits_;
    Caps caps_;
    mutable std::mutex raster_mutex_;
    std::unique_ptr<Raster> raster_;
};

}  // namespace foveate::vulkan
