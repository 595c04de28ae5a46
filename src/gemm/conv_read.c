/* Operands as they are read: codes to bytes or floats, and slabs of padded pixels. */
#include "gemm/conv_impl.h"

/* What bytes of codes are worth in a row: those that are no codes, too. */
static void line_values(const nyb_packed *p, size_t row, float values[256])
{
    const unsigned n_codes = p->format->n_codes;

    nyb_packed_values(p, row, values);
    for (unsigned code = n_codes; code < (p->format->bits == 4 ? 16u : 256u); code++)
        values[code] = values[code % n_codes];
}

void nyb_reader_init(nyb_reader *reader, const nyb_operand *operand, size_t cols,
                     const nyb_tile_s8 *tile, const nyb_tile_f32 *tile_f32, int32_t bias)
{
    memset(reader, 0, sizeof *reader);
    reader->tile = tile;
    reader->tile_f32 = tile_f32;
    reader->cols = cols;
    reader->pitch = nyb_packed_pitch(cols);
    reader->real = operand->real;
    reader->pixel_bytes = tile ? reader->pitch : cols * sizeof(float);
    reader->zero = (uint8_t)bias;
    if (!operand->packed)
        return;

    const nyb_format *format = operand->packed->format;
    reader->codes = operand->packed->codes;
    if (format->multiples)
        reader->factors =
            nyb_packed_code_bytes(format, operand->packed->rows, operand->packed->pitch);
    reader->bits = format->bits;
    for (unsigned code = 0; code < (format->bits == 4 ? 16u : 256u); code++) {
        if (!tile)
            break;
        reader->bytes[code] = (uint8_t)(nyb_conv_unit(format, code % format->n_codes) +
                                        (format->multiples ? 0 : bias));
    }
    if (!tile)
        line_values(operand->packed, 0, reader->values);
    if (!tile && operand->packed->lines && operand->packed->line_rows < operand->packed->rows)
        reader->lines = operand->packed;
    reader->clear_pads = tile && nyb_conv_unit(format, 0) != 0 && reader->pitch != cols;
    reader->adds = tile && format->bits == 8;
    for (unsigned code = 0; reader->adds && code < 256; code++)
        reader->adds = reader->bytes[code] == (uint8_t)(code + reader->bytes[0]);
}

/* Units to units times their factors, plus what zero is. */
static void multiply(const uint8_t *factors, size_t n_groups, uint8_t zero, uint8_t *bytes)
{
    for (size_t g = 0; g < n_groups; g++, bytes += NYB_PITCH) {
        const uint8_t factor = factors[g];

        for (size_t i = 0; i < NYB_PITCH; i++)
            bytes[i] = (uint8_t)(bytes[i] * factor + zero);
    }
}

/* The values of the n codes from the flat element at on, multiples of 16. */
static void read_run(const nyb_reader *reader, const float values[256], size_t at, size_t n,
                     float *out)
{
    reader->tile_f32->decode(reader->codes, reader->bits, values, at, n, out);
    for (size_t i = 0; i < n && reader->factors; i++)
        out[i] *= (float)reader->codes[reader->factors + (at + i) / NYB_PITCH];
}

static void read_values(const nyb_reader *reader, const float values[256], size_t first, size_t n,
                        float *out)
{
    const size_t cols = reader->cols, whole = cols - cols % NYB_PITCH;

    if (whole == cols) {
        read_run(reader, values, first * cols, n * cols, out);
        return;
    }
    for (size_t row = first; row < first + n; row++, out += cols) {
        float last[NYB_PITCH];

        read_run(reader, values, row * reader->pitch, whole, out);
        read_run(reader, values, row * reader->pitch + whole, NYB_PITCH, last);
        memcpy(out + whole, last, (cols - whole) * sizeof *out);
    }
}

static void read_lines(const nyb_reader *reader, size_t first, size_t n, float *out)
{
    float values[256];

    for (size_t row = first, end; row < first + n; row = end) {
        end = nyb_min(nyb_packed_line_end(reader->lines, row), first + n);
        line_values(reader->lines, row, values);
        read_values(reader, values, row, end - row, out + (row - first) * reader->cols);
    }
}

static void read_bytes(const nyb_reader *reader, const uint8_t *codes, size_t n, uint8_t *bytes)
{
    const uint8_t zero = reader->bytes[0];

    if (reader->adds)
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(codes[i] + zero);
    else
        for (size_t i = 0; i < n; i++)
            bytes[i] = reader->bytes[codes[i]];
}

void nyb_reader_pixels(const nyb_reader *reader, size_t first, size_t n, void *out)
{
    uint8_t *bytes = out;

    if (!reader->tile) {
        if (reader->real)
            memcpy(out, reader->real + first * reader->cols, n * reader->pixel_bytes);
        else if (reader->lines)
            read_lines(reader, first, n, out);
        else
            read_values(reader, reader->values, first, n, out);
        return;
    }
    if (reader->bits == 4) {
        reader->tile->unpack(reader->codes, first * reader->pitch, n * reader->pitch, reader->bytes,
                             bytes);
    } else {
        read_bytes(reader, reader->codes + first * reader->pitch, n * reader->pitch, bytes);
    }
    if (reader->factors)
        multiply(reader->codes + reader->factors + first * reader->pitch / NYB_PITCH,
                 n * reader->pitch / NYB_PITCH, reader->zero, bytes);
    for (size_t i = 0; reader->clear_pads && i < n; i++)
        memset(bytes + i * reader->pitch + reader->cols, reader->zero,
               reader->pitch - reader->cols);
}

typedef struct slab_row {
    const nyb_conv_job *job;
    const nyb_reader *reader;
    uint8_t *row;   /* buffer for one row of an image */
    size_t image;   /* of the unit's first */
    size_t n_valid; /* images that exist, <= interleave */
    size_t y;       /* source row */
} slab_row;

/* The pixels of phase `phase` of a source row, into the unit's row at dst. */
static void fill_columns(const slab_row *r, size_t phase, uint8_t *dst)
{
    const nyb_map *map = &r->job->conv->map;
    const nyb_axis *cols = &map->cols;
    const nyb_reader *reader = r->reader;
    const size_t px = map->pixel_bytes, slot = map->slot_bytes, lanes = map->interleave;
    const size_t step = cols->dx ? 1 : cols->stride;
    const size_t first = cols->src_pad > phase ? nyb_div_up(cols->src_pad - phase, step) : 0;
    const size_t past = cols->src + cols->src_pad;
    size_t end = past > phase ? nyb_div_up(past - phase, step) : 0;
    const size_t source = r->image * map->rows.src + r->y;

    end = nyb_max(nyb_min(end, cols->pitch), first);
    memset(dst, reader->zero, first * lanes * slot);
    memset(dst + end * lanes * slot, reader->zero, (cols->pitch - end) * lanes * slot);
    if (lanes == 1 && step == 1 && slot == px) {
        nyb_reader_pixels(reader, source * cols->src, end - first, dst + first * px);
        return;
    }
    for (size_t g = 0; g < r->n_valid; g++) {
        nyb_reader_pixels(reader, (source + g * map->rows.src) * cols->src, cols->src, r->row);
        for (size_t p = first; p < end; p++)
            nyb_copy_pixel(dst + (p * lanes + g) * slot,
                           r->row + (p * step + phase - cols->src_pad) * px, px);
    }
}

/* Slab rows [0, n) of a unit whose row 0 is padded position `at`. */
static void fill_unit(slab_row *r, size_t at, size_t n, uint8_t *slab)
{
    const nyb_map *map = &r->job->conv->map;
    const nyb_axis *rows = &map->rows;
    const size_t row_bytes = map->row_slots * map->slot_bytes;
    const size_t step = rows->dx ? 1 : rows->stride;

    for (size_t pr = 0; pr < rows->n_phases; pr++) {
        for (size_t pc = 0; pc < map->cols.n_phases; pc++) {
            uint8_t *area = slab + (pr * map->cols.n_phases + pc) * map->area_bytes;
            for (size_t j = 0; j < n; j++) {
                const size_t z = (at + j) * step + pr;
                if (z < rows->src_pad || z - rows->src_pad >= rows->src) {
                    memset(area + j * row_bytes, r->reader->zero, row_bytes);
                    continue;
                }
                r->y = z - rows->src_pad;
                fill_columns(r, pc, area + j * row_bytes);
            }
        }
    }
}

/* No pads at all (linear layers): rows follow each other in memory and in the slab. */
static bool is_plain(const nyb_map *map)
{
    return map->interleave == 1 && map->cols.n_phases == 1 && map->rows.n_phases == 1 &&
           (map->cols.dx || map->cols.stride == 1) && map->cols.src_pad == 0 &&
           map->rows.src_pad == 0 && map->cols.pitch == map->cols.src &&
           map->rows.pitch == map->rows.src;
}

void nyb_slab_fill(const nyb_conv_job *job, size_t sample, size_t first, size_t units, size_t i,
                   size_t n, uint8_t *slab, uint8_t *row)
{
    nyb_reader reader = job->reader_a;
    const nyb_map *map = &job->conv->map;
    const size_t last_rows = n + map->rows.reach;
    const size_t n_areas = map->rows.n_phases * map->cols.n_phases;
    const size_t slots = ((units - 1) * map->unit_rows + last_rows) * map->row_slots;

    if (sample > 0)
        reader.codes = job->a[sample].packed->codes;
    if (is_plain(map)) {
        const size_t pixel = (first * map->rows.src + i) * map->cols.src;
        const size_t at_once = map->slot_bytes == map->pixel_bytes ? slots : 1;
        for (size_t k = 0; k < slots; k += at_once)
            nyb_reader_pixels(&reader, pixel + k, at_once, slab + k * map->slot_bytes);
        return;
    }
    slab_row r = {.job = job, .reader = &reader, .row = row};
    for (size_t u = 0; u < units; u++) {
        r.image = (first + u) * map->interleave;
        r.n_valid = nyb_min(map->interleave, job->conv->shape.n - r.image);
        fill_unit(&r, i, u + 1 == units ? last_rows : map->unit_rows,
                  slab + u * map->unit_rows * map->row_slots * map->slot_bytes);
    }
    /* The last row's right pad is the left pad of a row that does not exist. */
    for (size_t area = 0; area < n_areas; area++)
        memset(slab + area * map->area_bytes + slots * map->slot_bytes, reader.zero,
               map->cols.src_pad * map->interleave * map->slot_bytes);
}
