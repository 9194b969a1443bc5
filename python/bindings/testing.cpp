// SPDX-License-Identifier: Apache-2.0
// foveate._core.testing: what the tests need and nobody else.
#include <thread>

#include "bindings.h"
#include "engine/error.h"
#include "engine/vulkan/fault.h"

namespace foveate::bindings {

namespace {

// Consumes a capsule as another library would.
dlpack::Lease consume(nb::handle capsule)
{
    PyObject* raw = capsule.ptr();
    if (PyCapsule_IsValid(raw, dlpack::NAME_VERSIONED)) {
        void* tensor = PyCapsule_GetPointer(raw, dlpack::NAME_VERSIONED);
        PyCapsule_SetName(raw, dlpack::NAME_VERSIONED_USED);
        return dlpack::Lease(static_cast<dlpack::ManagedVersioned*>(tensor));
    }
    require(PyCapsule_IsValid(raw, dlpack::NAME), "testing: capsule", "another object", "an unused capsule");
    void* tensor = PyCapsule_GetPointer(raw, dlpack::NAME);
    PyCapsule_SetName(raw, dlpack::NAME_USED);
    return dlpack::Lease(static_cast<dlpack::Managed*>(tensor));
}

// Outlives the interpreter: static objects end after Py_Finalize().
std::vector<dlpack::Lease>& kept()
{
    static std::vector<dlpack::Lease> leases;
    return leases;
}

}  // namespace

void bind_testing(nb::module_& module)
{
    module.def("release_on_thread",
               [](nb::handle capsule) {
                   dlpack::Lease lease = consume(capsule);
                   nb::gil_scoped_release unlocked;
                   std::thread([&] { lease.reset(); }).join();
               },
               "Consumes an array and ends it on a thread that has never seen Python.");
    module.def("release_at_exit", [](nb::handle capsule) { kept().push_back(consume(capsule)); },
               "Consumes an array and ends it after the interpreter is gone.");
    module.def("fault_arm", &vulkan::fault_arm, nb::arg("k"), nb::arg("result"));
    module.def("fault_disarm", &vulkan::fault_disarm);
    module.def("fault_calls", &vulkan::fault_calls);
    module.def("messages", &vulkan::messages);
    module.def("message_texts", &vulkan::message_texts);
}

}  // namespace foveate::bindings
