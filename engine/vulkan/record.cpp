// SPDX-License-Identifier: Apache-2.0
#include "engine/vulkan/record.h"

#include <algorithm>

#include "engine/limits.h"

namespace foveate::vulkan {

namespace {

constexpr std::uint32_t SETS_PER_POOL = 32;

VkPipelineStageFlags stages(std::uint32_t scope)
{
    VkPipelineStageFlags flags = 0;
    if (scope & COMPUTE) flags |= VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    if (scope & TRANSFER) flags |= VK_PIPELINE_STAGE_TRANSFER_BIT;
    if (scope & HOST) flags |= VK_PIPELINE_STAGE_HOST_BIT;
    return flags;
}

VkAccessFlags writes(std::uint32_t scope)
{
    VkAccessFlags flags = 0;
    if (scope & COMPUTE) flags |= VK_ACCESS_SHADER_WRITE_BIT;
    if (scope & TRANSFER) flags |= VK_ACCESS_TRANSFER_WRITE_BIT;
    return flags;
}

VkAccessFlags reads_and_writes(std::uint32_t scope)
{
    VkAccessFlags flags = writes(scope);
    if (scope & COMPUTE) flags |= VK_ACCESS_SHADER_READ_BIT;
    if (scope & TRANSFER) flags |= VK_ACCESS_TRANSFER_READ_BIT;
    if (scope & HOST) flags |= VK_ACCESS_HOST_READ_BIT;
    return flags;
}

}  // namespace

void VulkanRecord::last_release()
{
    if (!device().forked()) delete this;
}

VkCommandBuffer VulkanRecord::commands()
{
    if (!recording_) {
        auto recording = recorder_->take();
        VkCommandBufferBeginInfo info{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
        info.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
        check(device().vk.BeginCommandBuffer(recording->commands, &info), "begin recording");
        recording_ = std::move(recording);
        if (recording_->times.get())
            device().vk.CmdResetQueryPool(recording_->commands, recording_->times.get(), 0, 2 * TIMED);
        // What earlier submissions wrote; also what orders the reuse of their buffers.
        stage_barrier(COMPUTE | TRANSFER, COMPUTE | TRANSFER);
        written_ = 0;
    }
    return recording_->commands;
}

Ref<Buffer> VulkanRecord::buffer(Use use, std::uint64_t size)
{
    Ref<Buffer> made = recorder_->with_room([&] { return device().memory.acquire(use, size); });
    this->use(made);  // it may be one that was shared
    made_.push_back(made.get());
    return made;
}

std::byte* VulkanRecord::fill(const Ref<Block>& buffer)
{
    if (std::byte* host = buffer->host()) return host;
    const Ref<Buffer> staging = this->buffer(Use::upload, buffer->size());
    copy(*staging, static_cast<const Buffer&>(*buffer), buffer->size());
    return staging->host();
}

Ref<Buffer> VulkanRecord::read_back(const Ref<Buffer>& buffer)
{
    hold(buffer);
    begin_stage();
    Ref<Buffer> made = this->buffer(Use::readback, buffer->size());
    copy(*buffer, *made, buffer->size());
    return made;
}

Ref<Buffer> VulkanRecord::near(const Ref<Buffer>& buffer)
{
    hold(buffer);
    Ref<Buffer> made = this->buffer(Use::device, buffer->size());
    copy(*buffer, *made, buffer->size());
    return made;
}

void VulkanRecord::copy(const Buffer& from, const Buffer& to, std::uint64_t size)
{
    if (!size) return;
    const VkBufferCopy region{0, 0, size};
    device().vk.CmdCopyBuffer(commands(), from.handle(), to.handle(), 1, &region);
    written_ |= TRANSFER;
}

void VulkanRecord::stage_barrier(std::uint32_t from, std::uint32_t to)
{
    VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER};
    barrier.srcAccessMask = writes(from);
    barrier.dstAccessMask = reads_and_writes(to);
    device().vk.CmdPipelineBarrier(commands(), stages(from), stages(to), 0, 1, &barrier, 0, nullptr, 0,
                                   nullptr);
}

// Memory that others open belongs to one side at a time: this queue, or whatever is outside of this device.
void VulkanRecord::own_barrier(const Buffer& buffer, bool take)
{
    constexpr std::uint32_t ANY = COMPUTE | TRANSFER;
    const std::uint32_t ours = device().adapter().queue_family;
    VkBufferMemoryBarrier barrier{VK_STRUCTURE_TYPE_BUFFER_MEMORY_BARRIER};
    barrier.srcAccessMask = take ? 0 : writes(ANY);
    barrier.dstAccessMask = take ? reads_and_writes(ANY) : 0;
    barrier.srcQueueFamilyIndex = take ? VK_QUEUE_FAMILY_EXTERNAL : ours;
    barrier.dstQueueFamilyIndex = take ? ours : VK_QUEUE_FAMILY_EXTERNAL;
    barrier.buffer = buffer.handle();
    barrier.size = VK_WHOLE_SIZE;
    // Taken after what the queue has waited for, given before what it signals.
    constexpr VkPipelineStageFlags WAITED = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
    constexpr VkPipelineStageFlags SIGNALLED = VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT;
    const VkPipelineStageFlags from = take ? WAITED : stages(ANY), to = take ? stages(ANY) : SIGNALLED;
    device().vk.CmdPipelineBarrier(commands(), from, to, 0, 0, nullptr, 1, &barrier, 0, nullptr);
}

void VulkanRecord::use(const Ref<Block>& block)
{
    hold(block);
    block->retain();
    const Ref<Buffer> buffer(static_cast<Buffer*>(block.get()));
    borrowed_ |= buffer->borrowed();
    const auto same = [&](const Ref<Buffer>& other) { return other.get() == buffer.get(); };
    if (!buffer->shared() || std::any_of(shared_.begin(), shared_.end(), same)) return;
    own_barrier(*buffer, true);
    shared_.push_back(buffer);
}

void VulkanRecord::hand_over(const Ref<Buffer>& buffer)
{
    commands();
    hold(buffer);
    shared_.push_back(buffer);
}

void VulkanRecord::begin_stage()
{
    if (written_) stage_barrier(written_, COMPUTE | TRANSFER);
    written_ = 0;
}

VkDescriptorSet VulkanRecord::descriptor_set(const Program& program)
{
    const DeviceTable& vk = device().vk;
    Recording& recording = *recording_;
    if (recording.sets_used == recording.set_pools.size() * SETS_PER_POOL) {
        const VkDescriptorPoolSize sizes[] = {
            {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, SETS_PER_POOL * NEED_STORAGE_BUFFERS},
            {VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, SETS_PER_POOL}};
        VkDescriptorPoolCreateInfo info{VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO};
        info.maxSets = SETS_PER_POOL;
        info.poolSizeCount = std::uint32_t(std::size(sizes));
        info.pPoolSizes = sizes;
        recording.set_pools.push_back(device().own<VkDescriptorPool>(
            vk.CreateDescriptorPool, vk.DestroyDescriptorPool, info, "create a descriptor pool"));
    }
    const VkDescriptorSetLayout layout = program.set_layout();
    VkDescriptorSetAllocateInfo info{VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO};
    info.descriptorPool = recording.set_pools[recording.sets_used / SETS_PER_POOL].get();
    info.descriptorSetCount = 1;
    info.pSetLayouts = &layout;
    VkDescriptorSet set = VK_NULL_HANDLE;
    check(vk.AllocateDescriptorSets(device().handle(), &info, &set), "allocate a descriptor set");
    ++recording.sets_used;
    return set;
}

void VulkanRecord::write_set(VkDescriptorSet set, const Program& program,
                             std::span<const Binding> bindings) const
{
    const std::vector<compute::Slot>& slots = program.reflection().slots;
    std::vector<VkDescriptorBufferInfo> infos(slots.size());
    std::vector<VkDescriptorImageInfo> images(slots.size());
    std::vector<VkWriteDescriptorSet> sets(slots.size(), {VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET});
    for (std::size_t i = 0; i < slots.size(); ++i) {
        const Binding* found = nullptr;
        for (const Binding& binding : bindings)
            if (slots[i].name == binding.name) found = &binding;
        require(found, std::string("Engine: shader ") + program.name(), "the block " + slots[i].name,
                "one that its stage binds", "Build foveate again.", ErrorKind::device);
        sets[i].dstSet = set;
        sets[i].dstBinding = slots[i].binding;
        sets[i].descriptorCount = 1;
        sets[i].descriptorType = descriptor_type(slots[i]);
        if (slots[i].texture) {
            images[i] = static_cast<const Mipmap&>(*found->buffer).descriptor();
            sets[i].pImageInfo = &images[i];
            continue;
        }
        const Buffer& buffer = found->buffer ? static_cast<const Buffer&>(*found->buffer) : recorder_->dummy();
        if (found->buffer && buffer.unnamed())
            device().name(VK_OBJECT_TYPE_BUFFER, std::uint64_t(buffer.handle()), program.label(i));
        const std::uint64_t offset = found->buffer ? found->offset : 0;
        // Shaders see whole words; a buffer's capacity is whole pages.
        const std::uint64_t whole = std::max<std::uint64_t>((buffer.size() + 3) / 4 * 4, 4);
        infos[i] = {buffer.handle(), offset, std::min(found->size, whole - offset)};
        sets[i].pBufferInfo = &infos[i];
    }
    device().vk.UpdateDescriptorSets(device().handle(), std::uint32_t(sets.size()), sets.data(), 0, nullptr);
}

// In a label, and between two times where the recording is traced.
template <class Work>
void VulkanRecord::traced(const char* name, Work&& work)
{
    const DeviceTable& vk = device().vk;
    const VkCommandBuffer commands = this->commands();
    const bool labelled = device().instance().debug_utils() && vk.CmdBeginDebugUtilsLabelEXT;
    if (labelled) {
        VkDebugUtilsLabelEXT label{VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT};
        label.pLabelName = name;
        vk.CmdBeginDebugUtilsLabelEXT(commands, &label);
    }
    // Both when all before is done: dispatches that overlap are told apart by which of them ends when.
    Recording& recording = *recording_;
    const VkQueryPool times = recording.timed.size() < TIMED ? recording.times.get() : VK_NULL_HANDLE;
    const auto query = std::uint32_t(2 * recording.timed.size());
    if (times) vk.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, times, query);
    work();
    if (times) {
        vk.CmdWriteTimestamp(commands, VK_PIPELINE_STAGE_BOTTOM_OF_PIPE_BIT, times, query + 1);
        recording.timed.push_back(name);
    }
    if (labelled && vk.CmdEndDebugUtilsLabelEXT) vk.CmdEndDebugUtilsLabelEXT(commands);
}

void VulkanRecord::copy_traced(const char* name, const Buffer& from, const Buffer& to, std::uint64_t size)
{
    traced(name, [&] { copy(from, to, size); });
}

void VulkanRecord::dispatch(const compute::Program& which, std::span<const std::byte> params,
                            std::span<const Binding> bindings, const Groups& groups)
{
    const auto& program = static_cast<const Program&>(which);
    const DeviceTable& vk = device().vk;
    require(params.size() == program.reflection().params_size,
            std::string("Engine: shader ") + program.name(), program.reflection().params_size, params.size(),
            "Build foveate again.", ErrorKind::device);
    const VkCommandBuffer commands = this->commands();
    const VkDescriptorSet set = descriptor_set(program);
    write_set(set, program, bindings);
    traced(program.name(), [&] {
        vk.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, program.pipeline());
        vk.CmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, program.layout(), 0, 1, &set, 0,
                                 nullptr);
        if (!params.empty())
            vk.CmdPushConstants(commands, program.layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                                std::uint32_t(params.size()), params.data());
        vk.CmdDispatch(commands, groups[0], groups[1], groups[2]);
    });
    written_ |= COMPUTE;
    if (!recorder_->submit_per_pass()) return;
    const std::vector<Ref<Block>> held = held_;  // what follows still uses them
    const std::vector<Buffer*> made = made_;
    recorder_->wait(run({}));
    held_ = held;
    made_ = made;
}

void VulkanRecord::finish()
{
    if (!recording_ && shared_.empty()) return;
    const std::uint64_t value = run(std::exchange(shared_, {}));
    if (!recorder_->ahead() || borrowed_) recorder_->wait(value);
}

std::uint64_t VulkanRecord::run(std::vector<Ref<Buffer>> shared)
{
    commands();
    stage_barrier(COMPUTE | TRANSFER, HOST);
    for (const Ref<Buffer>& buffer : shared) own_barrier(*buffer, false);
    Flight flight;
    flight.recording = std::exchange(recording_, nullptr);
    flight.held = std::exchange(held_, {});
    flight.made = std::exchange(made_, {});
    check(device().vk.EndCommandBuffer(flight.recording->commands), "end recording");
    return recorder_->submit(std::move(flight));
}

}  // namespace foveate::vulkan
