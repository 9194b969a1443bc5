# SPDX-License-Identifier: Apache-2.0
"""A renderer of another maker: a device of its own by the `vulkan` package, and buffers it shares."""

import numpy as np
import vulkan as vk

HANDLE = vk.VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT
USAGE = (vk.VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | vk.VK_BUFFER_USAGE_TRANSFER_SRC_BIT
         | vk.VK_BUFFER_USAGE_TRANSFER_DST_BIT)


class Renderer:
    """The device with this UUID."""

    def __init__(self, uuid):
        application = vk.VkApplicationInfo(apiVersion=vk.VK_MAKE_VERSION(1, 1, 0))
        self.instance = vk.vkCreateInstance(vk.VkInstanceCreateInfo(pApplicationInfo=application), None)
        found = {}
        for adapter in vk.vkEnumeratePhysicalDevices(self.instance):
            identity = vk.VkPhysicalDeviceIDProperties()
            vk.vkGetPhysicalDeviceProperties2(adapter, vk.VkPhysicalDeviceProperties2(pNext=identity))
            found[bytes(identity.deviceUUID).hex()] = adapter, bytes(identity.driverUUID).hex()
        self.device_uuid = uuid
        adapter, self.driver_uuid = found[uuid]
        queue = vk.VkDeviceQueueCreateInfo(queueFamilyIndex=0, queueCount=1, pQueuePriorities=[1.0])
        self.device = vk.vkCreateDevice(adapter, vk.VkDeviceCreateInfo(
            pQueueCreateInfos=[queue], ppEnabledExtensionNames=["VK_KHR_external_memory_fd"]), None)
        self.made, self.images = [], []
        self.queue = vk.vkGetDeviceQueue(self.device, 0, 0)
        self.pool = vk.vkCreateCommandPool(self.device, vk.VkCommandPoolCreateInfo(queueFamilyIndex=0), None)

    def _buffer(self, size):
        external = vk.VkExternalMemoryBufferCreateInfo(handleTypes=HANDLE)
        buffer = vk.vkCreateBuffer(self.device, vk.VkBufferCreateInfo(
            pNext=external, size=size, usage=USAGE, sharingMode=vk.VK_SHARING_MODE_EXCLUSIVE), None)
        return buffer, vk.vkGetBufferMemoryRequirements(self.device, buffer)

    def _bound(self, buffer, memory, size):
        vk.vkBindBufferMemory(self.device, buffer, memory, 0)
        self.made.append((buffer, memory))
        return np.frombuffer(vk.vkMapMemory(self.device, memory, 0, size, 0), np.uint8)

    def share(self, size):
        """Bytes to write to, a descriptor of them, and what it takes to open it."""
        buffer, needs = self._buffer(size)
        export = vk.VkExportMemoryAllocateInfo(handleTypes=HANDLE)
        memory = vk.vkAllocateMemory(self.device, vk.VkMemoryAllocateInfo(
            pNext=export, allocationSize=needs.size, memoryTypeIndex=0), None)
        pixels = self._bound(buffer, memory, size)
        get_fd = vk.vkGetDeviceProcAddr(self.device, "vkGetMemoryFdKHR")
        fd = get_fd(self.device, vk.VkMemoryGetFdInfoKHR(memory=memory, handleType=HANDLE))
        record = {"offset": 0, "size": size, "buffer_size": size, "allocation_size": needs.size, "memory_type": 0,
                  "dedicated": False, "device_uuid": self.device_uuid, "driver_uuid": self.driver_uuid}
        return pixels, fd, record

    def attach(self, fd, record):
        """The bytes behind a descriptor, which is used up."""
        buffer, _ = self._buffer(record["buffer_size"])
        incoming = vk.VkImportMemoryFdInfoKHR(handleType=HANDLE, fd=fd)
        memory = vk.vkAllocateMemory(self.device, vk.VkMemoryAllocateInfo(
            pNext=incoming, allocationSize=record["allocation_size"], memoryTypeIndex=record["memory_type"]), None)
        return self._bound(buffer, memory, record["size"])

    def texture(self, pixels, format, levels=1):
        """An image of these (height, width, 4) pixels, as a descriptor and the record of it."""
        height, width, _ = pixels.shape
        usage = vk.VK_IMAGE_USAGE_TRANSFER_SRC_BIT | vk.VK_IMAGE_USAGE_TRANSFER_DST_BIT
        usage |= vk.VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT
        image = vk.vkCreateImage(self.device, vk.VkImageCreateInfo(
            pNext=vk.VkExternalMemoryImageCreateInfo(handleTypes=HANDLE), imageType=vk.VK_IMAGE_TYPE_2D,
            format=format, extent=vk.VkExtent3D(width, height, 1), mipLevels=levels, arrayLayers=1,
            samples=vk.VK_SAMPLE_COUNT_1_BIT, tiling=vk.VK_IMAGE_TILING_OPTIMAL, usage=usage,
            sharingMode=vk.VK_SHARING_MODE_EXCLUSIVE, initialLayout=vk.VK_IMAGE_LAYOUT_UNDEFINED), None)
        needs = vk.vkGetImageMemoryRequirements(self.device, image)
        own = vk.VkMemoryDedicatedAllocateInfo(image=image)
        memory = vk.vkAllocateMemory(self.device, vk.VkMemoryAllocateInfo(
            pNext=vk.VkExportMemoryAllocateInfo(pNext=own, handleTypes=HANDLE), allocationSize=needs.size,
            memoryTypeIndex=0), None)
        vk.vkBindImageMemory(self.device, image, memory, 0)
        self.images.append((image, memory))
        self.draw(pixels, vk.VK_IMAGE_LAYOUT_UNDEFINED)
        get_fd = vk.vkGetDeviceProcAddr(self.device, "vkGetMemoryFdKHR")
        fd = get_fd(self.device, vk.VkMemoryGetFdInfoKHR(memory=memory, handleType=HANDLE))
        return fd, {"allocation_size": needs.size, "offset": 0, "memory_type": 0, "dedicated": True, "width": width,
                    "height": height, "levels": levels, "format": format, "usage": usage,
                    "layout": vk.VK_IMAGE_LAYOUT_GENERAL, "device_uuid": self.device_uuid,
                    "driver_uuid": self.driver_uuid}

    def levels(self, fd, record):
        """The (height, width, 4) pixels of each level of an image of bytes; the descriptor is used up."""
        image = vk.vkCreateImage(self.device, vk.VkImageCreateInfo(
            pNext=vk.VkExternalMemoryImageCreateInfo(handleTypes=HANDLE), imageType=vk.VK_IMAGE_TYPE_2D,
            format=record["format"], extent=vk.VkExtent3D(record["width"], record["height"], 1),
            mipLevels=record["levels"], arrayLayers=1, samples=vk.VK_SAMPLE_COUNT_1_BIT,
            tiling=vk.VK_IMAGE_TILING_OPTIMAL, usage=record["usage"], sharingMode=vk.VK_SHARING_MODE_EXCLUSIVE,
            initialLayout=vk.VK_IMAGE_LAYOUT_UNDEFINED), None)
        vk.vkGetImageMemoryRequirements(self.device, image)
        own = vk.VkMemoryDedicatedAllocateInfo(image=image)
        memory = vk.vkAllocateMemory(self.device, vk.VkMemoryAllocateInfo(
            pNext=vk.VkImportMemoryFdInfoKHR(pNext=own, handleType=HANDLE, fd=fd),
            allocationSize=record["allocation_size"], memoryTypeIndex=record["memory_type"]), None)
        vk.vkBindImageMemory(self.device, image, memory, record["offset"])
        self.images.append((image, memory))
        commands = self._begin()
        self._barrier(commands, record["layout"], vk.VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                      vk.VK_QUEUE_FAMILY_EXTERNAL, 0)
        found = []
        for level in range(record["levels"]):
            height, width = (max(1, record[side] >> level) for side in ("height", "width"))
            rows, needs = self._buffer(height * width * 4)
            memory = vk.vkAllocateMemory(self.device, vk.VkMemoryAllocateInfo(
                allocationSize=needs.size, memoryTypeIndex=0), None)
            found.append(self._bound(rows, memory, height * width * 4).reshape(height, width, 4))
            vk.vkCmdCopyImageToBuffer(commands, image, vk.VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, rows, 1, [
                vk.VkBufferImageCopy(
                    imageSubresource=vk.VkImageSubresourceLayers(vk.VK_IMAGE_ASPECT_COLOR_BIT, level, 0, 1),
                    imageExtent=vk.VkExtent3D(width, height, 1))])
        self._run(commands)
        return found

    def _begin(self):
        commands, = vk.vkAllocateCommandBuffers(self.device, vk.VkCommandBufferAllocateInfo(
            commandPool=self.pool, level=vk.VK_COMMAND_BUFFER_LEVEL_PRIMARY, commandBufferCount=1))
        vk.vkBeginCommandBuffer(commands, vk.VkCommandBufferBeginInfo())
        return commands

    def _barrier(self, commands, before, after, source, target):
        """Of all levels of the last image."""
        every, transfer = vk.VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, vk.VK_ACCESS_TRANSFER_WRITE_BIT
        whole = vk.VkImageSubresourceRange(vk.VK_IMAGE_ASPECT_COLOR_BIT, 0, vk.VK_REMAINING_MIP_LEVELS, 0, 1)
        vk.vkCmdPipelineBarrier(commands, every, every, 0, 0, None, 0, None, 1, [vk.VkImageMemoryBarrier(
            srcAccessMask=transfer, dstAccessMask=transfer | vk.VK_ACCESS_TRANSFER_READ_BIT, oldLayout=before,
            newLayout=after, srcQueueFamilyIndex=source, dstQueueFamilyIndex=target, image=self.images[-1][0],
            subresourceRange=whole)])

    def _run(self, commands):
        vk.vkEndCommandBuffer(commands)
        vk.vkQueueSubmit(self.queue, 1, [vk.VkSubmitInfo(pCommandBuffers=[commands])], vk.VK_NULL_HANDLE)
        vk.vkQueueWaitIdle(self.queue)

    def draw(self, pixels, layout=vk.VK_IMAGE_LAYOUT_GENERAL):
        """Puts pixels into the last image and gives it away, in the layout GENERAL; waits on the host."""
        height, width, _ = pixels.shape
        image, _ = self.images[-1]
        rows, needs = self._buffer(pixels.nbytes)
        memory = vk.vkAllocateMemory(self.device, vk.VkMemoryAllocateInfo(
            allocationSize=needs.size, memoryTypeIndex=0), None)
        self._bound(rows, memory, pixels.nbytes)[:] = pixels.reshape(-1).view(np.uint8)
        commands = self._begin()
        ignored = vk.VK_QUEUE_FAMILY_IGNORED
        new = layout == vk.VK_IMAGE_LAYOUT_UNDEFINED
        drawn = vk.VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL
        self._barrier(commands, layout, drawn, *((ignored, ignored) if new else (vk.VK_QUEUE_FAMILY_EXTERNAL, 0)))
        vk.vkCmdCopyBufferToImage(commands, rows, image, drawn, 1, [vk.VkBufferImageCopy(
            imageSubresource=vk.VkImageSubresourceLayers(vk.VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1),
            imageExtent=vk.VkExtent3D(width, height, 1))])
        self._barrier(commands, drawn, vk.VK_IMAGE_LAYOUT_GENERAL, 0, vk.VK_QUEUE_FAMILY_EXTERNAL)
        self._run(commands)

    def close(self):
        vk.vkDestroyCommandPool(self.device, self.pool, None)
        for image, memory in self.images:
            vk.vkDestroyImage(self.device, image, None)
            vk.vkFreeMemory(self.device, memory, None)
        for buffer, memory in self.made:
            vk.vkDestroyBuffer(self.device, buffer, None)
            vk.vkFreeMemory(self.device, memory, None)
        vk.vkDestroyDevice(self.device, None)
        vk.vkDestroyInstance(self.instance, None)
