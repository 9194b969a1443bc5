// SPDX-License-Identifier: Apache-2.0
// Which of the two paths.
#include "engine/vulkan/sample_vrs_raster.h"
#include "engine/vulkan/vulkan_backend.h"

namespace foveate::vulkan {

Shaded VulkanBackend::sample_vrs(Record& record, const Image& image, const VrsPlan& plan)
{
    return plan.hardware ? raster().draw(image, plan) : ComputeBackend::sample_vrs(record, image, plan);
}

Raster& VulkanBackend::raster()
{
    std::lock_guard lock(raster_mutex_);
    if (!raster_)
        raster_ = std::make_unique<Raster>(device_->choice(), device_->memory.budget(), static_cast<Backend*>(this));
    return *raster_;
}

}  // namespace foveate::vulkan
