// SPDX-License-Identifier: Apache-2.0
// The cells of a batch, one per invocation, and the luma they look at. Needs `cuts`, and `luma` for luma_at.
struct Cell
{
    uint image;
    uint x;
    uint y;
};

// The last image that begins at or before the cell.
Cell cell_of(uint index)
{
    uint low = 0u;
    uint high = p.image_count - 1u;
    while (low < high) {
        uint middle = (low + high + 1u) >> 1;
        if (cuts[middle].first <= index)
            low = middle;
        else
            high = middle - 1u;
    }
    uint inside = index - cuts[low].first;
    return Cell(low, inside % cuts[low].columns, inside / cuts[low].columns);
}

uint flat_index()
{
    return gl_WorkGroupID.y * (gl_NumWorkGroups.x * gl_WorkGroupSize.x) + gl_GlobalInvocationID.x;
}
