// SPDX-License-Identifier: Apache-2.0
// Follows: Vulkan specification, "Fragment Shading Rates"; VkFragmentShadingRateAttachmentInfoKHR of a render pass made
// by vkCreateRenderPass2, which every device with the extension has.
#include "engine/vulkan/sample_vrs_raster.h"

#include <cstring>

#include "engine/vulkan/sample_vrs_targets.h"

namespace foveate::vulkan {

namespace {

constexpr const char* FRAGMENT = "sample_vrs_frag";
constexpr const char* VERTEX = "sample_vrs_vert";
constexpr VkImageLayout RATES_LAYOUT = VK_IMAGE_LAYOUT_FRAGMENT_SHADING_RATE_ATTACHMENT_OPTIMAL_KHR;
constexpr std::uint32_t NO_CODE = 255;  // what a px that was not drawn holds

std::span<const std::uint32_t> words_of(const char* name)
{
    for (const compute::Shader& shader : compute::drawing_shaders())
        if (std::strcmp(shader.name, name) == 0) return shader.words;
    fail(ErrorKind::unsupported, std::string("Engine: shader ") + name, "none", "one in this build",
         "Build foveate again.");
}

// Row by row, px by px, as the fragment shader reads them.
void pack(const ImageView& view, std::byte* to)
{
    for (std::uint64_t y = 0; y < view.height; ++y)
        for (std::uint64_t x = 0; x < view.width; ++x)
            for (std::uint64_t c = 0; c < view.channels; ++c)
                *to++ = view.data[y * view.row_stride + x * view.pixel_stride + c * view.channel_stride];
}

VkImageMemoryBarrier barrier_of(VkImage image, VkImageLayout from, VkImageLayout to)
{
    VkImageMemoryBarrier barrier{VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER};
    barrier.oldLayout = from;
    barrier.newLayout = to;
    barrier.srcQueueFamilyIndex = barrier.dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED;
    barrier.image = image;
    barrier.subresourceRange = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1};
    return barrier;
}

VkBufferImageCopy region_of(std::uint32_t row_texels, std::uint32_t width, std::uint32_t height)
{
    VkBufferImageCopy region{};
    region.bufferRowLength = row_texels;
    region.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1};
    region.imageExtent = {width, height, 1};
    return region;
}

VkAttachmentDescription2 attachment_of(VkFormat format, bool drawn)
{
    VkAttachmentDescription2 attachment{VK_STRUCTURE_TYPE_ATTACHMENT_DESCRIPTION_2};
    attachment.format = format;
    attachment.samples = VK_SAMPLE_COUNT_1_BIT;
    attachment.loadOp = drawn ? VK_ATTACHMENT_LOAD_OP_CLEAR : VK_ATTACHMENT_LOAD_OP_LOAD;
    attachment.storeOp = VK_ATTACHMENT_STORE_OP_STORE;
    attachment.stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE;
    attachment.stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE;
    attachment.initialLayout = drawn ? VK_IMAGE_LAYOUT_UNDEFINED : RATES_LAYOUT;
    attachment.finalLayout = drawn ? VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL : RATES_LAYOUT;
    return attachment;
}

VkAttachmentReference2 reference_to(std::uint32_t attachment, VkImageLayout layout)
{
    return {VK_STRUCTURE_TYPE_ATTACHMENT_REFERENCE_2, nullptr, attachment, layout, VK_IMAGE_ASPECT_COLOR_BIT};
}

}  // namespace

Raster::Raster(Choice choice, std::uint64_t memory_budget, const void* owner)
    : device_(new Device(std::move(choice), memory_budget, owner, {.raster = true})),
      vk_(raster_table(device_->instance().vk, device_->handle())), recorder_(new Recorder(device_, false)),
      reflection_(compute::reflect(words_of(FRAGMENT), FRAGMENT))
{
    std::vector<VkDescriptorSetLayoutBinding> bindings;
    for (const compute::Slot& slot : reflection_.slots)
        bindings.push_back(
            {slot.binding, VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, 1, VK_SHADER_STAGE_FRAGMENT_BIT, nullptr});
    VkDescriptorSetLayoutCreateInfo set{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO};
    set.bindingCount = std::uint32_t(bindings.size());
    set.pBindings = bindings.data();
    const DeviceTable& vk = device_->vk;
    set_layout_ = device_->own<VkDescriptorSetLayout>(vk.CreateDescriptorSetLayout, vk.DestroyDescriptorSetLayout,
                                                      set, "create a descriptor set layout");
    const VkPushConstantRange range{VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, 0,
                                    reflection_.params_size};
    const VkDescriptorSetLayout set_layout = set_layout_.get();
    VkPipelineLayoutCreateInfo layout{VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
    layout.setLayoutCount = 1;
    layout.pSetLayouts = &set_layout;
    layout.pushConstantRangeCount = 1;
    layout.pPushConstantRanges = &range;
    layout_ = device_->own<VkPipelineLayout>(vk.CreatePipelineLayout, vk.DestroyPipelineLayout, layout,
                                             "create a pipeline layout");
}

Raster::~Raster() { device_->memory.close(); }

const Raster::Pass& Raster::pass(std::uint32_t tile)
{
    std::lock_guard lock(mutex_);
    const auto found = passes_.find(tile);
    if (found != passes_.end()) return found->second;
    Pass made;
    made.render_pass = make_render_pass(tile);
    made.pipeline = make_pipeline(made.render_pass.get());
    return passes_.emplace(tile, std::move(made)).first->second;
}

Owned<VkRenderPass> Raster::make_render_pass(std::uint32_t tile) const
{
    const VkAttachmentDescription2 attachments[] = {attachment_of(VK_FORMAT_R8G8B8A8_UINT, true),
                                                    attachment_of(VK_FORMAT_R8_UINT, true),
                                                    attachment_of(VK_FORMAT_R8_UINT, false)};
    const VkAttachmentReference2 drawn[] = {reference_to(0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL),
                                            reference_to(1, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL)};
    const VkAttachmentReference2 read = reference_to(2, RATES_LAYOUT);
    VkFragmentShadingRateAttachmentInfoKHR rates{VK_STRUCTURE_TYPE_FRAGMENT_SHADING_RATE_ATTACHMENT_INFO_KHR};
    rates.pFragmentShadingRateAttachment = &read;
    rates.shadingRateAttachmentTexelSize = {tile, tile};
    VkSubpassDescription2 subpass{VK_STRUCTURE_TYPE_SUBPASS_DESCRIPTION_2};
    subpass.pNext = &rates;
    subpass.pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS;
    subpass.colorAttachmentCount = std::uint32_t(std::size(drawn));
    subpass.pColorAttachments = drawn;
    VkSubpassDependency2 copied{VK_STRUCTURE_TYPE_SUBPASS_DEPENDENCY_2};
    copied.srcSubpass = 0;
    copied.dstSubpass = VK_SUBPASS_EXTERNAL;
    copied.srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT;
    copied.dstStageMask = VK_PIPELINE_STAGE_TRANSFER_BIT;
    copied.srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT;
    copied.dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT;
    VkRenderPassCreateInfo2 info{VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO_2};
    info.attachmentCount = std::uint32_t(std::size(attachments));
    info.pAttachments = attachments;
    info.subpassCount = 1;
    info.pSubpasses = &subpass;
    info.dependencyCount = 1;
    info.pDependencies = &copied;
    return device_->own<VkRenderPass>(vk_.CreateRenderPass2, vk_.DestroyRenderPass, info, "create a render pass");
}

Owned<VkShaderModule> Raster::module(const char* name) const
{
    const auto words = words_of(name);
    VkShaderModuleCreateInfo code{VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
    code.codeSize = words.size_bytes();
    code.pCode = words.data();
    return device_->own<VkShaderModule>(device_->vk.CreateShaderModule, device_->vk.DestroyShaderModule, code,
                                        "create a shader module");
}

Owned<VkPipeline> Raster::make_pipeline(VkRenderPass render_pass) const
{
    const auto vertex = module(VERTEX), fragment = module(FRAGMENT);
    VkPipelineShaderStageCreateInfo stages[2] = {{VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO},
                                                 {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO}};
    stages[0].stage = VK_SHADER_STAGE_VERTEX_BIT;
    stages[0].module = vertex.get();
    stages[1].stage = VK_SHADER_STAGE_FRAGMENT_BIT;
    stages[1].module = fragment.get();
    stages[0].pName = stages[1].pName = reflection_.entry.c_str();
    const VkPipelineVertexInputStateCreateInfo input{VK_STRUCTURE_TYPE_PIPELINE_VERTEX_INPUT_STATE_CREATE_INFO};
    VkPipelineInputAssemblyStateCreateInfo assembly{VK_STRUCTURE_TYPE_PIPELINE_INPUT_ASSEMBLY_STATE_CREATE_INFO};
    assembly.topology = VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST;
    VkPipelineViewportStateCreateInfo viewport{VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO};
    viewport.viewportCount = viewport.scissorCount = 1;
    VkPipelineRasterizationStateCreateInfo raster{VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO};
    raster.lineWidth = 1.0f;
    VkPipelineMultisampleStateCreateInfo samples{VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO};
    samples.rasterizationSamples = VK_SAMPLE_COUNT_1_BIT;
    VkPipelineColorBlendAttachmentState blends[2] = {};
    blends[0].colorWriteMask = blends[1].colorWriteMask = 0xf;
    VkPipelineColorBlendStateCreateInfo blend{VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO};
    blend.attachmentCount = std::uint32_t(std::size(blends));
    blend.pAttachments = blends;
    const VkDynamicState states[] = {VK_DYNAMIC_STATE_VIEWPORT, VK_DYNAMIC_STATE_SCISSOR,
                                     VK_DYNAMIC_STATE_FRAGMENT_SHADING_RATE_KHR};
    VkPipelineDynamicStateCreateInfo dynamic{VK_STRUCTURE_TYPE_PIPELINE_DYNAMIC_STATE_CREATE_INFO};
    dynamic.dynamicStateCount = std::uint32_t(std::size(states));
    dynamic.pDynamicStates = states;
    VkGraphicsPipelineCreateInfo info{VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO};
    info.stageCount = std::uint32_t(std::size(stages));
    info.pStages = stages;
    info.pVertexInputState = &input;
    info.pInputAssemblyState = &assembly;
    info.pViewportState = &viewport;
    info.pRasterizationState = &raster;
    info.pMultisampleState = &samples;
    info.pColorBlendState = &blend;
    info.pDynamicState = &dynamic;
    info.layout = layout_.get();
    info.renderPass = render_pass;
    VkPipeline pipeline = VK_NULL_HANDLE;
    check(vk_.CreateGraphicsPipelines(device_->handle(), VK_NULL_HANDLE, 1, &info, nullptr, &pipeline),
          "create a pipeline");
    return Owned<VkPipeline>(device_->handle(), device_->vk.DestroyPipeline.call, pipeline);
}

void Raster::bind(VkDescriptorSet set, const Buffer& pixels, const Buffer& counter) const
{
    std::vector<VkDescriptorBufferInfo> infos;
    std::vector<VkWriteDescriptorSet> writes;
    infos.reserve(reflection_.slots.size());
    for (const compute::Slot& slot : reflection_.slots) {
        const Buffer& buffer = slot.name == "Counter" ? counter : pixels;
        infos.push_back({buffer.handle(), 0, (buffer.size() + 3) / 4 * 4});     // whole words, as shaders see them
        VkWriteDescriptorSet write{VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET};
        write.dstSet = set;
        write.dstBinding = slot.binding;
        write.descriptorCount = 1;
        write.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
        write.pBufferInfo = &infos.back();
        writes.push_back(write);
    }
    device_->vk.UpdateDescriptorSets(device_->handle(), std::uint32_t(writes.size()), writes.data(), 0, nullptr);
}

// By a copy: some devices cannot write to such an image from a shader.
void Raster::record_rates(VulkanRecord& record, const VrsPlan& plan, const Targets& targets, const Buffer& codes) const
{
    const DeviceTable& vk = device_->vk;
    const VkCommandBuffer commands = record.commands();
    VkMemoryBarrier uploads{VK_STRUCTURE_TYPE_MEMORY_BARRIER};
    uploads.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    uploads.dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
    VkImageMemoryBarrier rates =
        barrier_of(targets.rates(), VK_IMAGE_LAYOUT_UNDEFINED, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL);
    rates.dstAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                          VK_PIPELINE_STAGE_TRANSFER_BIT | VK_PIPELINE_STAGE_FRAGMENT_SHADER_BIT, 0, 1, &uploads, 0,
                          nullptr, 1, &rates);
    const VkBufferImageCopy region = region_of(plan.columns, plan.columns, plan.rows);
    vk_.CmdCopyBufferToImage(commands, codes.handle(), targets.rates(), VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1,
                             &region);
    rates = barrier_of(targets.rates(), VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, RATES_LAYOUT);
    rates.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
    rates.dstAccessMask = VK_ACCESS_FRAGMENT_SHADING_RATE_ATTACHMENT_READ_BIT_KHR;
    vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                          VK_PIPELINE_STAGE_FRAGMENT_SHADING_RATE_ATTACHMENT_BIT_KHR, 0, 0, nullptr, 0, nullptr, 1,
                          &rates);
}

void Raster::record_draw(VulkanRecord& record, const VrsPlan& plan, const Targets& targets, const Pass& pass) const
{
    const DeviceTable& vk = device_->vk;
    const VkCommandBuffer commands = record.commands();
    const std::uint32_t width = plan.params.width, height = plan.params.height;
    const bool labelled = device_->instance().debug_utils() && vk.CmdBeginDebugUtilsLabelEXT;
    if (labelled) {
        VkDebugUtilsLabelEXT label{VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT};
        label.pLabelName = "sample_vrs";
        vk.CmdBeginDebugUtilsLabelEXT(commands, &label);
    }
    vk.CmdResetQueryPool(commands, targets.query(), 0, 1);
    vk_.CmdBeginQuery(commands, targets.query(), 0, 0);
    VkClearValue clears[3] = {};
    clears[1].color.uint32[0] = NO_CODE;
    VkRenderPassBeginInfo begin{VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO};
    begin.renderPass = pass.render_pass.get();
    begin.framebuffer = targets.framebuffer();
    begin.renderArea = {{0, 0}, {width, height}};
    begin.clearValueCount = std::uint32_t(std::size(clears));
    begin.pClearValues = clears;
    vk_.CmdBeginRenderPass(commands, &begin, VK_SUBPASS_CONTENTS_INLINE);
    vk.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, pass.pipeline.get());
    const VkDescriptorSet set = targets.set();
    vk.CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, layout_.get(), 0, 1, &set, 0, nullptr);
    vk.CmdPushConstants(commands, layout_.get(), VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, 0,
                        reflection_.params_size, &plan.params);
    const VkViewport viewport{0, 0, float(width), float(height), 0, 1};
    vk_.CmdSetViewport(commands, 0, 1, &viewport);
    vk_.CmdSetScissor(commands, 0, 1, &begin.renderArea);
    const VkExtent2D pipeline{1u << shared::rate_log_w(plan.pipeline_code),
                              1u << shared::rate_log_h(plan.pipeline_code)};
    // Our numbers of the combiners are Vulkan's.
    const VkFragmentShadingRateCombinerOpKHR combiners[2] = {VkFragmentShadingRateCombinerOpKHR(plan.op0),
                                                             VkFragmentShadingRateCombinerOpKHR(plan.op1)};
    vk_.CmdSetFragmentShadingRateKHR(commands, &pipeline, combiners);
    vk_.CmdDraw(commands, 3, 1, 0, 0);
    vk_.CmdEndRenderPass(commands);
    vk_.CmdEndQuery(commands, targets.query(), 0);
    if (labelled && vk.CmdEndDebugUtilsLabelEXT) vk.CmdEndDebugUtilsLabelEXT(commands);
}

void Raster::record_copies(VulkanRecord& record, const Targets& targets, const Shaded& shaded) const
{
    const VkCommandBuffer commands = record.commands();
    VkMemoryBarrier counted{VK_STRUCTURE_TYPE_MEMORY_BARRIER};
    counted.srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT;
    counted.dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT;
    device_->vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_FRAGMENT_SHADER_BIT, VK_PIPELINE_STAGE_TRANSFER_BIT, 0,
                                   1, &counted, 0, nullptr, 0, nullptr);
    const auto copy = [&](VkImage image, const Ref<Block>& to, std::uint32_t row_texels) {
        const VkBufferImageCopy region = region_of(row_texels, shaded.width, shaded.height);
        vk_.CmdCopyImageToBuffer(commands, image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                                 static_cast<const Buffer&>(*to).handle(), 1, &region);
    };
    copy(targets.colors(), shaded.colors, shaded.width);
    copy(targets.finals(), shaded.codes, shaded.pitch);
}

Shaded Raster::draw(const Image& image, const VrsPlan& plan)
{
    check(device_->lost() ? VK_ERROR_DEVICE_LOST : VK_SUCCESS, "begin");
    const Pass& pass = this->pass(plan.tile);
    Shaded shaded = shaded_of(image, plan);
    const ImageView& view = image.views[0];
    const std::uint64_t size = std::uint64_t(view.width) * view.height * view.channels;
    const std::uint64_t most = device_->limits().maxStorageBufferRange;
    require(size <= most, "sample: vrs pixels", std::to_string(size) + " bytes",
            "at most " + std::to_string(most) + " on this device", "Shade a smaller image.", ErrorKind::limit);
    const Ref<VulkanRecord> record(new VulkanRecord(recorder_));
    const Ref<Buffer> pixels = record->buffer(Use::device, size);
    pack(view, record->fill(pixels));
    const Ref<Buffer> codes = record->buffer(Use::device, plan.codes.size());
    std::memcpy(record->fill(codes), plan.codes.data(), plan.codes.size());
    const Ref<Buffer> counter = record->buffer(Use::device, sizeof(std::uint32_t));
    std::memset(record->fill(counter), 0, sizeof(std::uint32_t));
    shaded.colors = record->buffer(Use::readback, std::uint64_t(shaded.width) * shaded.height * 4);
    shaded.codes = record->buffer(Use::readback, std::uint64_t(shaded.pitch) * shaded.height);
    const Ref<Targets> targets(new Targets(device_, vk_, plan, pass.render_pass.get(), set_layout_.get(),
                                           std::uint32_t(reflection_.slots.size())));
    record->hold(targets);
    bind(targets->set(), *pixels, *counter);

    record_rates(*record, plan, *targets, *codes);
    record_draw(*record, plan, *targets, pass);
    record_copies(*record, *targets, shaded);
    shaded.counter = record->read_back(counter);
    record->finish();
    check(device_->vk.GetQueryPoolResults(device_->handle(), targets->query(), 0, 1, sizeof shaded.statistic,
                                          &shaded.statistic, sizeof shaded.statistic, VK_QUERY_RESULT_64_BIT),
          "read a query");
    return shaded;
}

}  // namespace foveate::vulkan
