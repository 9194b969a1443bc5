// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/mipmap.h"

#include <algorithm>

#include "engine/vulkan/record.h"

namespace foveate::vulkan {

namespace {

constexpr std::uint64_t KEEP = 256ull << 20;    // bytes kept for the next call, at most an eighth of the budget
constexpr std::size_t KEEP_COUNT = 256;         // and images: drivers bound how many allocations there are
constexpr VkFormat FORMAT = VK_FORMAT_R8G8B8A8_UNORM;   // every device filters it

VkImageSubresourceRange all_levels() { return {VK_IMAGE_ASPECT_COLOR_BIT, 0, VK_REMAINING_MIP_LEVELS, 0, 1}; }

}  // namespace

VkDescriptorImageInfo Mipmap::descriptor() const
{
    return {pool_->sampler_.get(), made_.front().view.get(), VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL};
}

Mipmap::Mipmap(Ref<Mipmaps> pool, std::list<Made> made) : pool_(std::move(pool)), made_(std::move(made)) {}

// What a parent process began cannot be ended here.
void Mipmap::last_release()
{
    if (pool_->device_->forked()) return;
    const Ref<Mipmaps> pool = std::move(pool_);
    pool->give_back(std::move(made_));
    delete this;
}

void Mipmaps::last_release()
{
    if (!device_->forked()) delete this;
}

Mipmaps::~Mipmaps() { trim(0); }

Ref<Mipmap> Mipmaps::acquire(const compute::TextureShape& shape)
{
    std::list<Mipmap::Made> made;
    {
        const std::lock_guard lock(mutex_);
        const auto found = std::find_if(free_.begin(), free_.end(),
                                        [&](const Mipmap::Made& one) { return one.shape == shape; });
        if (found != free_.end()) {
            free_size_ -= found->size;
            made.splice(made.end(), free_, found);
        }
    }
    if (made.empty()) made = make(shape);
    retain();
    return Ref<Mipmap>(new Mipmap(Ref<Mipmaps>(this), std::move(made)));
}

std::list<Mipmap::Made> Mipmaps::make(const compute::TextureShape& shape)
{
    const DeviceTable& vk = device_->vk;
    {
        const std::lock_guard lock(mutex_);
        if (!sampler_.get()) {
            VkSamplerCreateInfo info{VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO};
            info.magFilter = info.minFilter = VK_FILTER_LINEAR;
            info.mipmapMode = VK_SAMPLER_MIPMAP_MODE_LINEAR;
            info.addressModeU = info.addressModeV = info.addressModeW = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE;
            info.maxLod = VK_LOD_CLAMP_NONE;
            sampler_ = device_->own<VkSampler>(vk.CreateSampler, vk.DestroySampler, info, "create a sampler");
        }
    }
    VkImageCreateInfo info{VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO};
    info.imageType = VK_IMAGE_TYPE_2D;
    info.format = FORMAT;
    info.extent = {shape.width, shape.height, 1};
    info.mipLevels = shape.levels;
    info.arrayLayers = 1;
    info.samples = VK_SAMPLE_COUNT_1_BIT;
    info.tiling = VK_IMAGE_TILING_OPTIMAL;
    info.usage = VK_IMAGE_USAGE_SAMPLED_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT;
    std::list<Mipmap::Made> one(1);
    Mipmap::Made& made = one.front();
    made.shape = shape;
    made.image = device_->own<VkImage>(vk.CreateImage, vk.DestroyImage, info, "create an image");
    VkImageMemoryRequirementsInfo2 image{VK_STRUCTURE_TYPE_IMAGE_MEMORY_REQUIREMENTS_INFO_2};
    image.image = made.image.get();
    VkMemoryRequirements2 needs{VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2};
    vk.GetImageMemoryRequirements2(device_->handle(), &image, &needs);
    VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    allocate.allocationSize = needs.memoryRequirements.size;
    allocate.memoryTypeIndex = device_->memory.type_among(needs.memoryRequirements.memoryTypeBits);
    device_->memory.reserve(allocate.allocationSize);
    try {
        made.memory = device_->own<VkDeviceMemory>(vk.AllocateMemory, vk.FreeMemory, allocate, "allocate memory");
        check(vk.BindImageMemory(device_->handle(), image.image, made.memory.get(), 0), "bind memory");
        VkImageViewCreateInfo view{VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO};
        view.image = image.image;
        view.viewType = VK_IMAGE_VIEW_TYPE_2D;
        view.format = FORMAT;
        view.subresourceRange = all_levels();
        made.view = device_->own<VkImageView>(vk.CreateImageView, vk.DestroyImageView, view, "create an image view");
    } catch (...) {
        device_->memory.unreserve(allocate.allocationSize);
        throw;
    }
    device_->name(VK_OBJECT_TYPE_IMAGE, std::uint64_t(image.image), "sample_fast.pyramid");
    made.size = allocate.allocationSize;
    return one;
}

void Mipmaps::give_back(std::list<Mipmap::Made> made)
{
    {
        const std::lock_guard lock(mutex_);
        free_size_ += made.front().size;
        free_.splice(free_.end(), made);
    }
    trim(std::min(KEEP, device_->memory.budget() / 8));
}

// The longest unused first, until so many bytes are left at most.
bool Mipmaps::trim(std::uint64_t size_max)
{
    std::list<Mipmap::Made> gone;
    std::uint64_t size = 0;
    {
        const std::lock_guard lock(mutex_);
        while (free_size_ > size_max || free_.size() > KEEP_COUNT) {
            free_size_ -= free_.front().size;
            size += free_.front().size;
            gone.splice(gone.end(), free_, free_.begin());
        }
    }
    const bool any = !gone.empty();
    gone.clear();
    device_->memory.unreserve(size);
    return any;
}

Ref<Block> VulkanRecord::texture(const Ref<Block>& rows, std::uint64_t offset, const compute::TextureShape& shape)
{
    const Ref<Mipmap> made = recorder_->with_room([&] { return recorder_->mipmaps().acquire(shape); });
    hold(made);
    begin_stage();
    const DeviceTable& vk = device().vk;
    const VkCommandBuffer commands = this->commands();
    VkImageMemoryBarrier barrier{VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER};
    barrier.dstAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.newLayout = VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL;
    barrier.srcQueueFamilyIndex = barrier.dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
    barrier.image = made->image();
    barrier.subresourceRange = all_levels();
    // Behind whoever filtered it before: the recording began behind them all.
    vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
                          VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, nullptr, 0, nullptr, 1, &barrier);
    copy_rows(static_cast<const Buffer&>(*rows), offset, made->image(), shape);
    barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.dstAccessMask = VK_ACCESS_SHADER_READ_BIT;
    barrier.oldLayout = barrier.newLayout;
    barrier.newLayout = made->descriptor().imageLayout;
    vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 0, nullptr,
                          0, nullptr, 1, &barrier);
    return made;
}

}  // namespace foveate::vulkan
