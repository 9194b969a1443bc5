// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/texture.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "engine/limits.h"
#include "engine/vulkan/vulkan_backend.h"

namespace foveate::vulkan {

namespace {

VkImageCreateInfo info_of(const SharedTexture& shared)
{
    VkImageCreateInfo info{VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO};
    info.imageType = VK_IMAGE_TYPE_2D;
    info.format = VkFormat(shared.format);
    info.extent = {shared.width, shared.height, 1};
    info.mipLevels = shared.levels;
    info.arrayLayers = 1;
    info.samples = VK_SAMPLE_COUNT_1_BIT;
    info.tiling = VK_IMAGE_TILING_OPTIMAL;
    info.usage = shared.usage;
    return info;
}

// Drivers need not look at what they cannot make.
bool supported(const Device& device, const VkImageCreateInfo& image, VkExternalMemoryFeatureFlagBits feature)
{
    VkPhysicalDeviceExternalImageFormatInfo external{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_IMAGE_FORMAT_INFO};
    external.handleType = SHARED_HANDLE;
    VkPhysicalDeviceImageFormatInfo2 info{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_IMAGE_FORMAT_INFO_2};
    info.pNext = &external;
    info.format = image.format;
    info.type = image.imageType;
    info.tiling = image.tiling;
    info.usage = image.usage;
    VkExternalImageFormatProperties outside{VK_STRUCTURE_TYPE_EXTERNAL_IMAGE_FORMAT_PROPERTIES};
    VkImageFormatProperties2 found{VK_STRUCTURE_TYPE_IMAGE_FORMAT_PROPERTIES_2};
    found.pNext = &outside;
    const VkResult result = device.instance().vk.GetPhysicalDeviceImageFormatProperties2(device.adapter().handle,
                                                                                         &info, &found);
    if (result == VK_ERROR_FORMAT_NOT_SUPPORTED) return false;
    check(result, "ask for an image format");
    const VkImageFormatProperties& most = found.imageFormatProperties;
    return image.extent.width <= most.maxExtent.width && image.extent.height <= most.maxExtent.height &&
           image.mipLevels <= most.maxMipLevels &&
           outside.externalMemoryProperties.externalMemoryFeatures & feature;
}

}  // namespace

std::uint32_t texel_size(std::uint32_t format)
{
    switch (format) {
    case VK_FORMAT_R8G8B8A8_UNORM:
    case VK_FORMAT_R8G8B8A8_SRGB: return 4;
    case VK_FORMAT_R16G16B16A16_UNORM: return 8;
    case VK_FORMAT_R32G32B32A32_SFLOAT: return 16;
    default: return 0;
    }
}

Texture::Texture(Ref<Device> device, SharedTexture& shared, const void* owner, Origin origin)
    : device_(std::move(device)), width_(shared.width), height_(shared.height), layout_(VkImageLayout(shared.layout))
{
    owner_ = owner;
    size_ = std::uint64_t(width_) * height_ * texel_size(shared.format);
    try {
        origin == Origin::theirs ? open(shared) : make(shared);
    } catch (...) {
        close();
        throw;
    }
}

Texture::~Texture() { close(); }

void Texture::close()
{
    device_->vk.DestroyImage(device_->handle(), handle_, nullptr);
    device_->vk.FreeMemory(device_->handle(), memory_, nullptr);
    device_->memory.unreserve(reserved_);
}

void Texture::last_release()
{
    if (!device_->forked()) delete this;
}

VkMemoryRequirements Texture::needs() const
{
    VkImageMemoryRequirementsInfo2 image{VK_STRUCTURE_TYPE_IMAGE_MEMORY_REQUIREMENTS_INFO_2};
    image.image = handle_;
    VkMemoryRequirements2 found{VK_STRUCTURE_TYPE_MEMORY_REQUIREMENTS_2};
    device_->vk.GetImageMemoryRequirements2(device_->handle(), &image, &found);
    return found.memoryRequirements;
}

void Texture::open(SharedTexture& shared)
{
    const DeviceTable& vk = device_->vk;
    VkExternalMemoryImageCreateInfo external{VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_IMAGE_CREATE_INFO};
    external.handleTypes = SHARED_HANDLE;
    VkImageCreateInfo info = info_of(shared);
    require(supported(*device_, info, VK_EXTERNAL_MEMORY_FEATURE_IMPORTABLE_BIT), "Engine: attach: texture",
            "format " + std::to_string(shared.format) + ", usage " + std::to_string(shared.usage),
            "what the device can open", "Use R8G8B8A8_UNORM and few usages.", ErrorKind::unsupported);
    info.pNext = &external;
    check(vk.CreateImage(device_->handle(), &info, nullptr, &handle_), "create an image");
    const VkMemoryRequirements needs = this->needs();
    require(shared.memory_type < VK_MAX_MEMORY_TYPES && needs.memoryTypeBits >> shared.memory_type & 1u,
            "Engine: attach: memory type", shared.memory_type, "one of the device's", "Give the record as it came.");
    const bool fits = shared.offset <= shared.allocation_size &&
                      needs.size <= shared.allocation_size - shared.offset && shared.offset % needs.alignment == 0;
    require(fits, "Engine: attach: texture",
            std::to_string(shared.allocation_size) + " bytes, at " + std::to_string(shared.offset),
            std::to_string(needs.size) + " at a multiple of " + std::to_string(needs.alignment),
            "Give the record as it came.");

    VkMemoryDedicatedAllocateInfo own{VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO};
    own.image = handle_;
    VkImportMemoryFdInfoKHR import{VK_STRUCTURE_TYPE_IMPORT_MEMORY_FD_INFO_KHR};
    import.pNext = shared.dedicated ? &own : nullptr;
    import.handleType = SHARED_HANDLE;
    import.fd = shared.fd.get();
    VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    allocate.pNext = &import;
    allocate.allocationSize = shared.allocation_size;
    allocate.memoryTypeIndex = shared.memory_type;
    check(vk.AllocateMemory(device_->handle(), &allocate, nullptr, &memory_), "attach memory");
    shared.fd.release();  // the driver's now, since it succeeded
    check(vk.BindImageMemory(device_->handle(), handle_, memory_, shared.offset), "bind memory");
}

void Texture::make(SharedTexture& shared)
{
    const DeviceTable& vk = device_->vk;
    VkExternalMemoryImageCreateInfo external{VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_IMAGE_CREATE_INFO};
    external.handleTypes = SHARED_HANDLE;
    VkImageCreateInfo info = info_of(shared);
    require(supported(*device_, info, VK_EXTERNAL_MEMORY_FEATURE_EXPORTABLE_BIT), "Engine: texture",
            std::to_string(height_) + " x " + std::to_string(width_) + " px", "an image that the device can share",
            "Share the levels, or a smaller image.", ErrorKind::unsupported);
    info.pNext = &external;
    check(vk.CreateImage(device_->handle(), &info, nullptr, &handle_), "create an image");
    const VkMemoryRequirements needs = this->needs();
    device_->memory.reserve(needs.size);
    reserved_ = needs.size;

    VkMemoryDedicatedAllocateInfo own{VK_STRUCTURE_TYPE_MEMORY_DEDICATED_ALLOCATE_INFO};
    own.image = handle_;
    VkExportMemoryAllocateInfo exported{VK_STRUCTURE_TYPE_EXPORT_MEMORY_ALLOCATE_INFO};
    exported.pNext = &own;
    exported.handleTypes = SHARED_HANDLE;
    VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
    allocate.pNext = &exported;
    allocate.allocationSize = needs.size;
    allocate.memoryTypeIndex = device_->memory.type_among(needs.memoryTypeBits);
    check(vk.AllocateMemory(device_->handle(), &allocate, nullptr, &memory_), "allocate memory");
    check(vk.BindImageMemory(device_->handle(), handle_, memory_, 0), "bind memory");

    VkMemoryGetFdInfoKHR get{VK_STRUCTURE_TYPE_MEMORY_GET_FD_INFO_KHR};
    get.memory = memory_;
    get.handleType = SHARED_HANDLE;
    int fd = -1;
    check(vk.GetMemoryFdKHR(device_->handle(), &get, &fd), "share memory");
    shared.fd = Fd(fd);
    shared.allocation_size = needs.size;
    shared.memory_type = allocate.memoryTypeIndex;
    shared.dedicated = true;
    shared.device_uuid = device_->adapter().uuid;
    shared.driver_uuid = device_->adapter().driver_uuid;
}

Ref<Block> VulkanBackend::attach_texture(SharedTexture shared)
{
    const Adapter& adapter = device_->adapter();
    require(device_->memory.shares(), "Engine: attach", "an Engine that keeps its memory to itself",
            "one made with share", "Make it with Engine(share=True).");
    require(shared.device_uuid == adapter.uuid && shared.driver_uuid == adapter.driver_uuid, "Engine: attach: memory",
            "that of device " + shared.device_uuid + ", driver " + shared.driver_uuid,
            "device " + adapter.uuid + ", driver " + adapter.driver_uuid, "Make both sides on one device.",
            ErrorKind::unsupported);
    require(texel_size(shared.format) > 0, "Engine: attach: texture format", shared.format,
            "VK_FORMAT_R8G8B8A8_UNORM (37), R8G8B8A8_SRGB (43), R16G16B16A16_UNORM (91) or R32G32B32A32_SFLOAT (109)",
            "Draw in one of these.");
    require(shared.usage & VK_IMAGE_USAGE_TRANSFER_SRC_BIT, "Engine: attach: texture usage", shared.usage,
            "one with VK_IMAGE_USAGE_TRANSFER_SRC_BIT (1)", "Make the image with it.");
    const auto side = [](std::uint32_t size) { return size > 0 && size <= limits::IMAGE_SIDE; };
    const bool good = side(shared.width) && side(shared.height) && shared.levels > 0 &&
                      std::cmp_less_equal(shared.levels, std::bit_width(std::max(shared.width, shared.height))) &&
                      shared.layout != VK_IMAGE_LAYOUT_UNDEFINED;
    require(good, "Engine: attach: texture",
            std::to_string(shared.width) + " x " + std::to_string(shared.height) + ", " +
                std::to_string(shared.levels) + " levels, layout " + std::to_string(shared.layout),
            "sizes of an image and the layout that it is given in", "Give the record as it came.");
    require(bool(shared.fd), "Engine: attach: fd", shared.fd.get(), "an open descriptor", "Share the memory again.");
    return Ref<Block>(new Texture(device_, shared, static_cast<Backend*>(this)));
}

Ref<Block> VulkanBackend::take(Record& record, const Ref<Block>& block)
{
    auto* texture = dynamic_cast<Texture*>(block.get());
    require(texture && texture->device() == device_.get(), "Engine: take", "what is no texture of this Engine",
            "what attach() returned for one", "Attach the texture first.");
    VulkanRecord& recording = this->recording(record);
    const Ref<Buffer> rows = recorder_->with_room([&] { return device_->memory.lend(texture->size()); });
    texture->retain();
    recording.take(Ref<Texture>(texture), rows);
    return rows;
}

SharedTexture VulkanBackend::texture(Record& record, const Pyramid& pyramid, std::uint32_t image)
{
    require(device_->memory.shares(), "Engine: texture", "an Engine that keeps its memory to itself",
            "one made with share", "Make it with Engine(share=True).");
    VulkanRecord& recording = this->recording(record);
    const shared::LevelDesc* const levels = &pyramid.table[image * MAX_LEVELS];
    compute::TextureShape shape{levels[0].width, levels[0].height, 0};
    while (shape.levels < MAX_LEVELS && levels[shape.levels].width > 0) ++shape.levels;
    const Ref<Block> rows = recording.buffer(shape.size());
    const TextureRows all[] = {{image, shape}};
    texture_rows(recording, pyramid, all, rows);
    SharedTexture shared;
    shared.width = shape.width;
    shared.height = shape.height;
    shared.levels = shape.levels;
    shared.format = VK_FORMAT_R8G8B8A8_UNORM;
    shared.usage = VK_IMAGE_USAGE_SAMPLED_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT | VK_IMAGE_USAGE_TRANSFER_DST_BIT;
    shared.layout = VK_IMAGE_LAYOUT_GENERAL;
    const Ref<Texture> texture = recorder_->with_room([&] {
        return Ref<Texture>(new Texture(device_, shared, static_cast<Backend*>(this), Texture::Origin::ours));
    });
    recording.give(static_cast<const Buffer&>(*rows), shape, texture);
    return shared;
}

void VulkanRecord::copy_rows(const Buffer& rows, std::uint64_t offset, VkImage image,
                             const compute::TextureShape& shape)
{
    std::vector<VkBufferImageCopy> regions(shape.levels);
    for (std::uint32_t level = 0; level < regions.size(); ++level) {
        regions[level].bufferOffset = offset + shape.offset(level);
        regions[level].imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, level, 0, 1};
        regions[level].imageExtent = {shape.width_at(level), shape.height_at(level), 1};
    }
    device().vk.CmdCopyBufferToImage(commands(), rows.handle(), image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                                     std::uint32_t(regions.size()), regions.data());
    written_ |= TRANSFER;
}

void VulkanRecord::give(const Buffer& rows, const compute::TextureShape& shape, const Ref<Texture>& texture)
{
    const DeviceTable& vk = device().vk;
    const VkCommandBuffer commands = this->commands();
    hold(texture);
    begin_stage();
    VkImageMemoryBarrier barrier{VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER};
    barrier.dstAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.newLayout = VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL;
    barrier.srcQueueFamilyIndex = barrier.dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
    barrier.image = texture->handle();
    barrier.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, VK_REMAINING_MIP_LEVELS, 0, 1};
    vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TOP_OF_PIPE_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, nullptr,
                          0, nullptr, 1, &barrier);
    copy_rows(rows, 0, texture->handle(), shape);
    barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    barrier.dstAccessMask = 0;
    barrier.oldLayout = barrier.newLayout;
    barrier.newLayout = texture->layout();
    barrier.srcQueueFamilyIndex = device().adapter().queue_family;
    barrier.dstQueueFamilyIndex = VK_QUEUE_FAMILY_EXTERNAL;
    vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, 0, 0, nullptr,
                          0, nullptr, 1, &barrier);
}

// Taken from whoever draws it, and given back as it was.
void VulkanRecord::take(const Ref<Texture>& texture, const Ref<Buffer>& to)
{
    const DeviceTable& vk = device().vk;
    const VkCommandBuffer commands = this->commands();
    hold(texture);
    hold(to);
    begin_stage();
    VkImageMemoryBarrier barrier{VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER};
    barrier.dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT;
    barrier.oldLayout = texture->layout();
    barrier.newLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL;
    barrier.srcQueueFamilyIndex = VK_QUEUE_FAMILY_EXTERNAL;
    barrier.dstQueueFamilyIndex = device().adapter().queue_family;
    barrier.image = texture->handle();
    barrier.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, VK_REMAINING_MIP_LEVELS, 0, 1};
    vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, nullptr,
                          0, nullptr, 1, &barrier);
    VkBufferImageCopy region{};
    region.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1};
    region.imageExtent = {texture->width(), texture->height(), 1};
    vk.CmdCopyImageToBuffer(commands, texture->handle(), VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, to->handle(), 1,
                            &region);
    written_ |= TRANSFER;
    std::swap(barrier.oldLayout, barrier.newLayout);
    std::swap(barrier.srcQueueFamilyIndex, barrier.dstQueueFamilyIndex);
    barrier.srcAccessMask = 0;  // it was only read
    barrier.dstAccessMask = 0;
    vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, 0, 0, nullptr,
                          0, nullptr, 1, &barrier);
}

}  // namespace foveate::vulkan
