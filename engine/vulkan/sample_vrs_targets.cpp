// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/sample_vrs_targets.h"

namespace foveate::vulkan {

Raster::Targets::Targets(Ref<Device> device, const RasterTable& vk, const VrsPlan& plan, VkRenderPass render_pass,
                         VkDescriptorSetLayout set_layout, std::uint32_t buffers)
    : device_(std::move(device)), vk_(vk)
{
    try {
        const std::uint32_t width = plan.params.width, height = plan.params.height;
        constexpr VkImageUsageFlags DRAWN = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT;
        constexpr VkImageUsageFlags READ =
            VK_IMAGE_USAGE_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR | VK_IMAGE_USAGE_TRANSFER_DST_BIT;
        colors_ = make(VK_FORMAT_R8G8B8A8_UINT, DRAWN, width, height);
        finals_ = make(VK_FORMAT_R8_UINT, DRAWN, width, height);
        rates_ = make(VK_FORMAT_R8_UINT, READ, plan.columns, plan.rows);

        const VkImageView views[] = {colors_.view.get(), finals_.view.get(), rates_.view.get()};
        VkFramebufferCreateInfo framebuffer{VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO};
        framebuffer.renderPass = render_pass;
        framebuffer.attachmentCount = std::uint32_t(std::size(views));
        framebuffer.pAttachments = views;
        framebuffer.width = width;
        framebuffer.height = height;
        framebuffer.layers = 1;
        framebuffer_ = device_->own<VkFramebuffer>(vk_.CreateFramebuffer, vk_.DestroyFramebuffer, framebuffer,
                                                   "create a framebuffer");

        const DeviceTable& table = device_->vk;
        const VkDescriptorPoolSize size{VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, buffers};
        VkDescriptorPoolCreateInfo pool{VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO};
        pool.maxSets = 1;
        pool.poolSizeCount = 1;
        pool.pPoolSizes = &size;
        pool_ = device_->own<VkDescriptorPool>(table.CreateDescriptorPool, table.DestroyDescriptorPool, pool,
                                               "create a descriptor pool");
        VkDescriptorSetAllocateInfo set{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO};
        set.descriptorPool = pool_.get();
        set.descriptorSetCount = 1;
        set.pSetLayouts = &set_layout;
        check(table.AllocateDescriptorSets(device_->handle(), &set, &set_), "allocate a descriptor set");

        VkQueryPoolCreateInfo query{VK_STRUCTURE_TYPE_QUERY_POOL_CREATE_INFO};
        query.queryType = VK_QUERY_TYPE_PIPELINE_STATISTICS;
        query.queryCount = 1;
        query.pipelineStatistics = VK_QUERY_PIPELINE_STATISTIC_FRAGMENT_SHADER_INVOCATIONS_BIT;
        query_ = device_->own<VkQueryPool>(table.CreateQueryPool, table.DestroyQueryPool, query,
                                           "create a query pool");
    } catch (...) {
        device_->memory.unreserve(reserved_);
        throw;
    }
}

Raster::Targets::~Targets() { device_->memory.unreserve(reserved_); }

void Raster::Targets::last_release()
{
    if (!device_->forked()) delete this;
}

Raster::Targets::Target Raster::Targets::make(VkFormat format, VkImageUsageFlags usage, std::uint32_t width,
                                              std::uint32_t height)
{
    Target target;
    VkImageCreateInfo info{VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO};
    info.imageType = VK_IMAGE_TYPE_2D;
    info.format = format;
    info.extent = {width, height, 1};
    info.mipLevels = info.arrayLayers = 1;
    info.samples = VK_SAMPLE_COUNT_1_BIT;
    info.tiling = VK_IMAGE_TILING_OPTIMAL;
    info.usage = usage;
    target.image = device_->own<VkImage>(vk_.CreateImage, vk_.DestroyImage, info, "create an image");

    VkMemoryRequirements needs{};
    vk_.GetImageMemoryRequirements(device_->handle(), target.image.get(), &needs);
    device_->memory.reserve(needs.size);
    reserved_ += needs.size;
    VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    allocate.allocationSize = needs.size;
    allocate.memoryTypeIndex = memory_type(needs.memoryTypeBits);
    target.memory = device_->own<VkDeviceMemory>(device_->vk.AllocateMemory, device_->vk.FreeMemory, allocate,
                                                 "allocate memory");
    check(vk_.BindImageMemory(device_->handle(), target.image.get(), target.memory.get(), 0), "bind memory");

    VkImageViewCreateInfo view{VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO};
    view.image = target.image.get();
    view.viewType = VK_IMAGE_VIEW_TYPE_2D;
    view.format = format;
    view.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
    target.view = device_->own<VkImageView>(vk_.CreateImageView, vk_.DestroyImageView, view, "create an image view");
    return target;
}

// The device's own where there is a choice; one is always allowed.
std::uint32_t Raster::Targets::memory_type(std::uint32_t allowed) const
{
    VkPhysicalDeviceMemoryProperties memory{};
    device_->instance().vk.GetPhysicalDeviceMemoryProperties(device_->adapter().handle, &memory);
    std::uint32_t any = 0;
    for (std::uint32_t i = memory.memoryTypeCount; i-- > 0;) {
        if (!(allowed >> i & 1u)) continue;
        any = i;
        if (memory.memoryTypes[i].propertyFlags == VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT) return i;
    }
    return any;
}

}  // namespace foveate::vulkan
