/* One axis of a convolution: which position of the padded source each output and tap reads. */
#include "gemm/conv_impl.h"

static size_t grid_taps(const nyb_axis *axis, size_t grid)
{
    return grid < axis->taps ? nyb_div_up(axis->taps - grid, axis->stride) : 0;
}

/* DX: the range of i (in dy coordinates) with 0 <= stride i + grid - pad < dst. */
static nyb_span grid_span(const nyb_axis *axis, size_t grid)
{
    return nyb_conv_axis_span(axis->dst, SIZE_MAX, grid, axis->stride, axis->pad);
}

static void init_dx(nyb_axis *axis)
{
    size_t end = 0;

    axis->n_phases = 1;
    axis->n_grids = axis->stride;
    axis->i_base = SIZE_MAX;
    for (size_t g = 0; g < axis->n_grids; g++) {
        const nyb_span span = grid_span(axis, g);

        if (span.count == 0)
            continue;
        axis->i_base = nyb_min(axis->i_base, span.first);
        end = nyb_max(end, span.first + span.count);
    }
    const size_t far_tap = nyb_div_up(axis->taps, axis->stride) - 1;
    axis->src_pad = far_tap > axis->i_base ? far_tap - axis->i_base : 0;
    axis->reach = axis->i_base + axis->src_pad; /* tap 0 */
    axis->count = end - axis->i_base;
}

void nyb_axis_init(nyb_axis *axis, bool dx, size_t stride, size_t pad, size_t taps, size_t src,
                   size_t dst)
{
    *axis =
        (nyb_axis){.dx = dx, .stride = stride, .pad = pad, .taps = taps, .src = src, .dst = dst};
    if (dx) {
        init_dx(axis);
    } else {
        axis->n_phases = nyb_min(stride, taps);
        axis->n_grids = 1;
        axis->src_pad = pad;
        axis->reach = (taps - 1) / stride;
        axis->count = dst;
    }
    const size_t span = axis->count + axis->reach;
    axis->pitch = span;
    /* With one phase, the zeros left of a row are those right of the row before. */
    if (axis->stride == 1 || dx)
        axis->pitch = nyb_max(nyb_max(axis->src_pad + src, axis->count),
                              span > axis->src_pad ? span - axis->src_pad : 0);
}

nyb_grid_range nyb_axis_grid(const nyb_axis *axis, size_t grid)
{
    if (!axis->dx)
        return (nyb_grid_range){0, axis->dst, 0, 1, axis->taps};

    const nyb_span span = grid_span(axis, grid);
    if (span.count == 0)
        return (nyb_grid_range){0, 0, 0, axis->stride, 0};
    return (nyb_grid_range){span.first - axis->i_base, span.count,
                            axis->stride * span.first + grid - axis->pad, axis->stride,
                            grid_taps(axis, grid)};
}

nyb_tap nyb_axis_tap(const nyb_axis *axis, size_t grid, size_t k)
{
    if (axis->dx)
        return (nyb_tap){grid + axis->stride * k, 0, axis->reach - k};
    return (nyb_tap){k, k % axis->stride, k / axis->stride};
}

nyb_tap nyb_axis_tap_by_offset(const nyb_axis *axis, size_t grid, size_t k)
{
    if (axis->dx)
        return nyb_axis_tap(axis, grid, grid_taps(axis, grid) - 1 - k);

    size_t phase = 0;
    while (k >= nyb_div_up(axis->taps - phase, axis->stride)) {
        k -= nyb_div_up(axis->taps - phase, axis->stride);
        phase++;
    }
    return (nyb_tap){phase + axis->stride * k, phase, k};
}

bool nyb_axis_hits(const nyb_axis *axis, nyb_tap tap, size_t i)
{
    const size_t z = (i + tap.off) * (axis->dx ? 1 : axis->stride) + tap.phase;

    return z >= axis->src_pad && z - axis->src_pad < axis->src;
}
