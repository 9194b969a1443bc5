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
        self.made = []

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

    def close(self):
        for buffer, memory in self.made:
            vk.vkDestroyBuffer(self.device, buffer, None)
            vk.vkFreeMemory(self.device, memory, None)
        vk.vkDestroyDevice(self.device, None)
        vk.vkDestroyInstance(self.instance, None)
