// SPDX-License-Identifier: Apache-2.0
// Engine and the values its stages return. Every engine call runs without the GIL: the Python objects that
// own what it reads are arguments of the call, so they outlive it.
#include "engine/engine.h"

#include <nanobind/stl/array.h>
#include <nanobind/stl/map.h>

#include <cstring>
#include <utility>

#include "bindings.h"
#include "engine/error.h"
#include "interop/positions.h"

namespace foveate::bindings {

namespace {

template <class F>
auto unlocked(F&& call)
{
    nb::gil_scoped_release release;
    return call();
}

// Images where the engine reads them, and floats where the host looks at them first.
struct Views {
    std::vector<ImageView> read, look;
    std::vector<Source::Copy> copies;
};

Views views_of(const nb::list& sources)
{
    Views views;
    for (nb::handle item : sources) {
        const Source& source = *nb::cast<Source*>(item);
        require(pixels::in_place(source.array, source.reading), "image: array", "memory in no usable order",
                "positive strides of whole elements");
        pixels::append_views(source.array, source.reading, views.read);
        const bool hidden = source.on_device() && source.array.type == dlpack::F32;
        if (hidden) views.copies.push_back(source.copy_to_host());
        pixels::append_views(hidden ? views.copies.back().array : source.array, source.reading, views.look);
    }
    return views;
}

// Bytes of Positions, when the device is done with them.
nb::object positions_of(const TokenTable& table)
{
    const std::vector<Token> tokens = unlocked([&] { return table.tokens(); });
    const auto size = Py_ssize_t(tokens.size() * sizeof(Position));
    nb::object bytes = nb::steal(PyByteArray_FromStringAndSize(nullptr, size));
    if (!bytes.is_valid()) throw nb::python_error();
    positions(tokens, reinterpret_cast<Position*>(PyByteArray_AsString(bytes.ptr())));
    return bytes;
}

nb::dict caps_of(const Engine& engine, std::uint32_t stage)
{
    const Caps& caps = engine.caps(Stage(stage));
    nb::dict table;
    table["backend"] = caps.backend;
    table["device"] = caps.device;
    table["uuid"] = caps.uuid;
    table["driver"] = caps.driver;
    table["isa"] = caps.isa;
    table["software"] = caps.software;
    table["host_visible"] = caps.host_visible;
    table["sync"] = SYNC_NAMES[std::uint32_t(caps.sync)];
    table["memory_budget"] = caps.memory_budget;
    table["image_bytes_max"] = caps.image_bytes_max;
    table["shaders"] = caps.shaders;
    table["profiling"] = caps.profiling;
    table["shading_rate"] = shading_rate_of(caps.shading_rate);
    table["filter_side"] = caps.filter_side;
    return table;
}

nb::dict counters_of(const Engine& engine)
{
    const Counters counters = engine.counters();
    nb::dict table;
    table["records"] = counters.records;
    table["pipelines_created"] = counters.pipelines_created;
    table["image_copies"] = counters.image_copies;
    table["host_waits"] = counters.host_waits;
    table["memory_used"] = counters.memory_used;
    table["memory_peak"] = counters.memory_peak;
    table["spans_dropped"] = counters.spans_dropped;
    table["fast_samples"] = counters.fast_samples;
    table["messages"] = counters.messages;
    return table;
}

nb::list spans_of(Engine& engine)
{
    nb::list list;
    for (const Span& span : engine.spans())
        list.append(nb::make_tuple(span.name, span.submit, span.begin_ns, span.end_ns));
    return list;
}

void make_engine(UnlockedEngine* self, std::map<std::string, std::string> backend, std::string device,
                 std::uint64_t memory_budget, std::uint32_t threads, std::string isa, bool share,
                 bool exact, bool trace, bool ahead, bool cuda, const nb::dict& executors)
{
    EngineOptions options{.backend = std::move(backend), .device = std::move(device), .memory_budget = memory_budget,
                          .share = share || cuda, .trace = trace, .exact = exact, .ahead = ahead, .threads = threads,
                          .isa = std::move(isa)};
    for (const auto& [name, executor] : executors)
        options.others[nb::cast<std::string>(name)] = executed_by(nb::borrow(executor));
    unlocked([&] {
        if (cuda && options.device.empty() && options.others.empty()) options.device = cuda::device_for_both();
        return new (self) UnlockedEngine(options, cuda);
    });
}

// Whoever holds the array writes to it; the engine finds it again by its address.
nb::object make_empty(Engine& engine, std::vector<std::int64_t> shape, std::uint32_t element)
{
    dlpack::Array array;
    array.type = dlpack::type_of(Element(element));
    array.shape = std::move(shape);
    array.strides = dlpack::compact_strides(array.shape);
    const Ref<Block> block = unlocked([&] {
        return engine.empty(array.elements() * element_size(Element(element)), bool(link_of(engine)));
    });
    return array_of(engine, block, std::move(array));
}

HeldImage make_image(Engine& engine, nb::list sources)
{
    Views views = views_of(sources);
    Image image = unlocked([&] {
        pixels::require_finite(views.look);
        return engine.image(std::move(views.read));
    });
    return {std::move(image), std::move(sources)};
}

HeldPyramid make_pyramid(Engine& engine, nb::object image, const PyramidSpec& spec)
{
    const Image& value = nb::cast<HeldImage&>(image).value;
    return {unlocked([&] { return engine.pyramid(value, spec); }), std::move(image)};
}

// of: an Image or a Pyramid.
Relevance make_relevance(Engine& engine, nb::handle of, const RelevanceSpec& spec, const Relevance* previous)
{
    if (nb::isinstance<HeldPyramid>(of)) {
        const Pyramid& pyramid = nb::cast<HeldPyramid&>(of).value;
        return unlocked([&] { return engine.relevance(pyramid, spec, previous); });
    }
    const Image& image = nb::cast<HeldImage&>(of).value;
    return unlocked([&] { return engine.relevance(image, spec, previous); });
}

// What each cell of one image has, (rows, columns) of uint32.
nb::object cells_array(Engine& engine, const Ref<Block>& cells, const std::vector<CellGrid>& grids,
                       std::uint32_t image)
{
    const CellGrid& grid = grids.at(image);
    dlpack::Array array;
    array.offset = std::uint64_t(grid.first) * sizeof(std::uint32_t);
    array.type = dlpack::U32;
    array.shape = {grid.rows, grid.columns};
    array.strides = dlpack::compact_strides(array.shape);
    array.read_only = true;
    return array_of(engine, cells, std::move(array));
}

HeldPatches make_patches(Engine& engine, const HeldPyramid& pyramid, const Layout& layout,
                         const SampleSpec& spec)
{
    HeldPatches held;
    held.value = unlocked([&] { return engine.sample(pyramid.value, layout, spec); });
    held.pyramid.table = pyramid.value.table;
    held.pyramid.level_count = pyramid.value.level_count;
    held.spec = spec;
    return held;
}

// Level l >= 1 of one image, (channels, height, width). A view of the pyramid, which stays as it was made: read-only.
nb::object level_array(Engine& engine, const HeldPyramid& held, std::uint32_t image, std::uint32_t level)
{
    const Pyramid& pyramid = held.value;
    const std::size_t index = std::size_t(image) * MAX_LEVELS + level;
    const bool known = level >= 1 && level < MAX_LEVELS && index < pyramid.table.size();
    require(known && pyramid.table[index].width > 0, "pyramid: level", level, "a level of this image");
    const shared::LevelDesc& desc = pyramid.table[index];
    const std::int64_t plane = std::int64_t(desc.pitch) * desc.height;
    dlpack::Array array;
    array.offset = std::uint64_t(desc.offset) * element_size(pyramid.element);
    array.type = dlpack::type_of(pyramid.element);
    array.shape = {pyramid.image.channels, desc.height, desc.width};
    array.strides = {plane, desc.pitch, 1};
    array.read_only = true;
    return array_of(engine, pyramid.levels, std::move(array));
}

// patches: those sampled by this layout, so that the levels are known too; or None.
TokenTable layout_table(Engine& engine, const Layout& layout, const HeldPatches* patches)
{
    return unlocked([&] {
        return patches ? engine.table(layout, &patches->pyramid, &patches->spec)
                       : engine.table(layout, nullptr, nullptr);
    });
}

nb::object patches_array(Engine& engine, const HeldPatches& held, std::vector<std::int64_t> shape)
{
    const Patches& patches = held.value;
    dlpack::Array array;
    array.type = dlpack::type_of(patches.dtype);
    array.strides = dlpack::compact_strides(shape);
    array.shape = std::move(shape);
    require(array.elements() == patches.patch_count() * patches.patch_elements(), "tensor: elements",
            array.elements(), patches.patch_count() * patches.patch_elements());
    return array_of(engine, patches.data, std::move(array));
}

// (patches, table, relevance, rates) of a whole run. relevance: None, or the options of one. previous: the last
// two of the frame before, or None.
nb::tuple make_tokens(Engine& engine, const nb::list& sources, const PyramidSpec& pyramid,
                      const RelevanceSpec* relevance, const RateSpec& rate, const LayoutSpec& layout,
                      const SampleSpec& sample, const Relevance* before_relevance, const Rates* before_rates)
{
    Views views = views_of(sources);
    TokensSpec spec{.pyramid = pyramid, .rate = rate, .layout = layout, .sample = sample};
    if (relevance) spec.relevance = *relevance, spec.weighted = true;
    spec.host = !link_of(engine);
    Tokens previous;
    if (before_relevance) previous.relevance = *before_relevance;
    if (before_rates) previous.rates = *before_rates;
    Tokens tokens = unlocked([&] {
        pixels::require_finite(views.look);
        return engine.tokens(std::move(views.read), spec, &previous);
    });
    HeldPatches held{std::move(tokens.patches), {}, sample};
    nb::object weights = tokens.relevance.cells ? nb::cast(std::move(tokens.relevance)) : nb::none();
    nb::object rates = tokens.rates.codes ? nb::cast(std::move(tokens.rates)) : nb::none();
    return nb::make_tuple(nb::cast(std::move(held)), nb::cast(std::move(tokens.table)), weights, rates);
}

nb::list sizes_of(const std::vector<std::array<std::uint32_t, 2>>& sizes)
{
    nb::list list;
    for (const auto& [width, height] : sizes) list.append(nb::make_tuple(height, width));
    return list;
}

void bind_values(nb::module_& module)
{
    nb::class_<HeldImage>(module, "Image")
        .def_prop_ro("sizes",
                     [](const HeldImage& self) {
                         nb::list list;
                         for (const ImageView& view : self.value.views)
                             list.append(nb::make_tuple(view.height, view.width));
                         return list;
                     })
        .def_prop_ro("channels", [](const HeldImage& self) { return self.value.channels; })
        .def_prop_ro("dtype",
                     [](const HeldImage& self) {
                         return dlpack::name_of(dlpack::type_of(self.value.element));
                     })
        .def("__len__", [](const HeldImage& self) { return self.value.views.size(); });

    nb::class_<HeldPyramid>(module, "Pyramid")
        .def_prop_ro("levels", [](const HeldPyramid& self) { return self.value.level_count; })
        .def_prop_ro("unit", [](const HeldPyramid& self) { return self.value.unit; })
        .def_prop_ro("image", [](const HeldPyramid& self) { return self.image; })
        .def("levels_of",
             [](const HeldPyramid& self, std::uint32_t image) {
                 std::uint32_t count = 1;
                 const std::size_t first = std::size_t(image) * MAX_LEVELS;
                 while (count < self.value.level_count && self.value.table.at(first + count).width > 0)
                     ++count;
                 return count;
             },
             nb::arg("image"));

    nb::class_<Relevance>(module, "Relevance")
        .def_ro("cell", &Relevance::cell)
        .def_prop_ro("sizes", [](const Relevance& self) { return sizes_of(self.sizes); })
        .def_prop_ro("has_luma", [](const Relevance& self) { return bool(self.luma); });
    nb::class_<Rates>(module, "Rates")
        .def_ro("cell", &Rates::cell)
        .def_ro("budget", &Rates::budget)
        .def_ro("max_rate", &Rates::max_rate)
        .def_ro("scale", &Rates::scale)
        .def_ro("square", &Rates::square)
        .def_prop_ro("grid_sizes",
                     [](const Rates& self) {
                         nb::list list;
                         for (const CellGrid& grid : self.grids) list.append(nb::make_tuple(grid.rows, grid.columns));
                         return list;
                     })
        .def_prop_ro("sizes", [](const Rates& self) { return sizes_of(self.sizes); });

    nb::class_<Layout>(module, "Layout")
        .def_ro("image_count", &Layout::image_count)
        .def_ro("rows", &Layout::rows)
        .def_ro("cell", &Layout::cell)
        .def_prop_ro("sizes", [](const Layout& self) { return sizes_of(self.sizes); });

    nb::class_<TokenTable>(module, "Table").def("positions", positions_of);
    nb::class_<HeldPatches>(module, "Patches")
        .def_prop_ro("image_count", [](const HeldPatches& self) { return self.value.image_count; })
        .def_prop_ro("rows", [](const HeldPatches& self) { return self.value.rows; });
}

}  // namespace

UnlockedEngine::UnlockedEngine(const EngineOptions& options, bool cuda) : Engine(options)
{
    if (cuda) link = Ref<cuda::Link>(new cuda::Link(*this, options.ahead));
}

UnlockedEngine::~UnlockedEngine()
{
    nb::gil_scoped_release release;
    if (link) link->close();
    close();
}

nb::object array_of(Engine& engine, const Ref<Block>& block, dlpack::Array array)
{
    if (const Ref<cuda::Link>& link = link_of(engine)) {
        array.block = block;
        return nb::cast(unlocked([&] { return cuda::make_array(link, std::move(array)); }));
    }
    array.block = unlocked([&] { return engine.host(block); });
    return nb::cast(std::move(array));
}

void bind_engine(nb::module_& module)
{
    bind_values(module);
    nb::class_<Engine> base(module, "EngineBase");
    base
        .def("empty", make_empty, nb::arg("shape"), nb::arg("element"))
        .def("image", make_image, nb::arg("sources"))
        .def("pyramid", make_pyramid, nb::arg("image"), nb::arg("spec"))
        .def("relevance", make_relevance, nb::arg("of"), nb::arg("spec"), nb::arg("previous").none())
        .def("cells",
             [](Engine& self, const Relevance& of, std::uint32_t image) {
                 return cells_array(self, of.cells, of.grids, image);
             },
             nb::arg("relevance"), nb::arg("image"))
        .def("rate",
             [](Engine& self, const HeldImage& image, const RateSpec& spec, const Relevance* relevance,
                const Rates* previous) {
                 return unlocked([&] { return self.rate(image.value, spec, relevance, previous); });
             },
             nb::arg("image"), nb::arg("spec"), nb::arg("relevance").none(), nb::arg("previous").none())
        .def("codes",
             [](Engine& self, const Rates& of, std::uint32_t image) {
                 return cells_array(self, of.codes, of.grids, image);
             },
             nb::arg("rates"), nb::arg("image"))
        .def("layout",
             [](Engine& self, const std::vector<std::array<std::uint32_t, 2>>& sizes, const LayoutSpec& spec,
                const Rates* rates) { return unlocked([&] { return self.layout(sizes, spec, rates); }); },
             nb::arg("sizes"), nb::arg("spec"), nb::arg("rates").none(), "sizes: (width, height) of each image")
        .def("sample", make_patches, nb::arg("pyramid"), nb::arg("layout"), nb::arg("spec"))
        .def("tokens", make_tokens, nb::arg("sources"), nb::arg("pyramid"),
             nb::arg("relevance").none(), nb::arg("rate"), nb::arg("layout"), nb::arg("sample"),
             nb::arg("before_relevance").none(), nb::arg("before_rates").none())
        .def("level", level_array, nb::arg("pyramid"), nb::arg("image"), nb::arg("level"))
        .def("table", layout_table, nb::arg("layout"), nb::arg("patches").none())
        .def("patches_array", patches_array, nb::arg("patches"), nb::arg("shape"))
        .def("caps", caps_of, nb::arg("stage"))
        .def("counters", counters_of)
        .def("spans", spans_of);
    bind_share(base);
    bind_trace(base);
    bind_texture(module, base);
    bind_cuda(module, base);
    bind_cuda_graphics(module, base);
    bind_warp(module, base);
    bind_sample_vrs(module, base);
    nb::class_<UnlockedEngine, Engine>(module, "Engine")
        .def("__init__", make_engine, nb::arg("backend"), nb::arg("device"), nb::arg("memory_budget"),
             nb::arg("threads"), nb::arg("isa"), nb::arg("share"), nb::arg("exact"), nb::arg("trace"), nb::arg("ahead"),
             nb::arg("cuda") = false, nb::arg("executors") = nb::dict());
}

}  // namespace foveate::bindings
