/* TensorBoard's event files: TFRecord frames around protobuf messages, of which four are needed:
 *   Event          { double wall_time = 1; int64 step = 2; string file_version = 3; Summary = 5 }
 *   Summary        { repeated Value value = 1 }
 *   Value          { string tag = 1; float simple_value = 2; HistogramProto histo = 5 }
 *   HistogramProto { double min = 1, max = 2, num = 3, sum = 4, sum_squares = 5;
 *                    repeated double bucket_limit = 6, bucket = 7 }                             */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "io/io.h"

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct nyb_events {
    FILE *out;
    char *path;
    int error;   /* errno of the first failure, or 0 */
    uint8_t *at; /* the message in the making: n of capacity bytes, built from its end to its
                  * beginning, so that a length is known when it is written */
    size_t n, capacity;
};

/* ---- messages, from the back -------------------------------------------------------------- */

static void prepend(nyb_events *e, const void *bytes, size_t n)
{
    if (e->error)
        return;
    if (n > e->capacity - e->n) {
        size_t capacity = nyb_max(2 * e->capacity, nyb_round_up(e->n + n, 4096));
        uint8_t *at = nyb_alloc(capacity);
        if (!at) {
            e->error = ENOMEM;
            return;
        }
        if (e->n)
            memcpy(at + capacity - e->n, e->at + e->capacity - e->n, e->n);
        nyb_free(e->at);
        e->at = at;
        e->capacity = capacity;
    }
    e->n += n;
    if (n)
        memcpy(e->at + e->capacity - e->n, bytes, n);
}

static void put_varint(nyb_events *e, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;

    do {
        bytes[n++] = (uint8_t)(value & 127) | (value > 127 ? 128 : 0);
        value >>= 7;
    } while (value);
    prepend(e, bytes, n);
}

static void put_key(nyb_events *e, int field, enum wire wire)
{
    put_varint(e, (uint64_t)field << 3 | wire);
}

static void put_little_endian(nyb_events *e, uint64_t value, size_t n)
{
    uint8_t bytes[8];

    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    prepend(e, bytes, n);
}

static void put_f64_value(nyb_events *e, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    put_little_endian(e, bits, 8);
}

static void put_f64(nyb_events *e, int field, double value)
{
    put_f64_value(e, value);
    put_key(e, field, FIXED64);
}

static void put_f64_list(nyb_events *e, int field, size_t n, const double *values)
{
    for (size_t i = n; i-- > 0;)
        put_f64_value(e, values[i]);
    put_varint(e, 8 * n);
    put_key(e, field, BYTES);
}

static void put_string(nyb_events *e, int field, const char *text)
{
    size_t n = strlen(text);

    prepend(e, text, n);
    put_varint(e, n);
    put_key(e, field, BYTES);
}

/* Everything put since the message had n_before bytes becomes one field. */
static void put_message(nyb_events *e, int field, size_t n_before)
{
    put_varint(e, e->n - n_before);
    put_key(e, field, BYTES);
}

static void put_time(nyb_events *e)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    put_f64(e, 1, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec);
}

/* ---- frames ------------------------------------------------------------------------------- */

/* CRC-32C (Castagnoli, reflected 0x82f63b78), a nibble at a time, masked as TFRecord wants it. */
static uint32_t masked_crc(const uint8_t *bytes, size_t n)
{
    static const uint32_t table[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
        0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

static void write_u32(nyb_events *e, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        putc((int)(value >> 8 * i & 255), e->out);
}

/* Writes the message in the making as one record: u64 length, its CRC, the bytes, their CRC. */
static void write_record(nyb_events *e)
{
    uint8_t length[8];

    if (!e->error) {
        const uint8_t *message = e->at + e->capacity - e->n;
        for (int i = 0; i < 8; i++)
            length[i] = (uint8_t)((uint64_t)e->n >> 8 * i);
        errno = 0;
        fwrite(length, 1, 8, e->out);
        write_u32(e, masked_crc(length, 8));
        fwrite(message, 1, e->n, e->out);
        write_u32(e, masked_crc(message, e->n));
        if (ferror(e->out))
            e->error = errno ? errno : EIO;
    }
    e->n = 0;
}

/* ---- the file ----------------------------------------------------------------------------- */

static nyb_status open_new(nyb_events *e, const char *dir, nyb_error *err)
{
    char host[65] = "localhost";
    size_t n_bytes = strlen(dir) + 160;
    int fd = -1;

    e->path = nyb_alloc(n_bytes);
    if (!e->path)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    if (gethostname(host, sizeof host - 1) != 0 || strchr(host, '/'))
        strcpy(host, "localhost");
    for (int n = 0; fd < 0; n++) { /* n tells files of one second and process apart */
        snprintf(e->path, n_bytes, "%s/events.out.tfevents.%010lld.%s.%ld.%d", dir,
                 (long long)time(NULL), host, (long)getpid(), n);
        fd = open(e->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            return nyb_fail(err, NYB_IO, "cannot write %s: %s", e->path, strerror(errno));
    }
    e->out = fdopen(fd, "wb");
    if (!e->out) {
        close(fd);
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    }
    return NYB_OK;
}

nyb_status nyb_events_create(const char *dir, nyb_events **events, nyb_error *err)
{
    nyb_events *e = nyb_alloc(sizeof *e);

    *events = NULL;
    if (!e)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    nyb_status status = open_new(e, dir, err);
    if (status == NYB_OK) {
        put_string(e, 3, "brain.Event:2");
        put_time(e);
        write_record(e);
        status = nyb_events_flush(e, err);
    }
    if (status != NYB_OK) {
        if (e->out)
            unlink(e->path);
        nyb_events_destroy(&e);
        return status;
    }
    *events = e;
    return NYB_OK;
}

void nyb_events_destroy(nyb_events **events)
{
    nyb_events *e = *events;

    if (!e)
        return;
    if (e->out)
        fclose(e->out);
    nyb_free(e->path);
    nyb_free(e->at);
    nyb_free(e);
    *events = NULL;
}

/* Wraps the fields of a Value that were put so far into Value, Summary and Event, and writes it. */
static void write_value(nyb_events *e, int64_t step, const char *tag)
{
    put_string(e, 1, tag);
    put_message(e, 1, 0);
    put_message(e, 5, 0);
    put_varint(e, (uint64_t)step);
    put_key(e, 2, VARINT);
    put_time(e);
    write_record(e);
}

void nyb_events_scalar(nyb_events *events, int64_t step, const char *tag, float value)
{
    put_little_endian(events, nyb_bits_of(value), 4);
    put_key(events, 2, FIXED32);
    write_value(events, step, tag);
}

void nyb_events_histogram(nyb_events *events, int64_t step, const char *tag, double min, double max,
                          double n, double sum, double sum_squares, size_t n_buckets,
                          const double *bucket_limit, const double *bucket)
{
    put_f64_list(events, 7, n_buckets, bucket);
    put_f64_list(events, 6, n_buckets, bucket_limit);
    put_f64(events, 5, sum_squares);
    put_f64(events, 4, sum);
    put_f64(events, 3, n);
    put_f64(events, 2, max);
    put_f64(events, 1, min);
    put_message(events, 5, 0);
    write_value(events, step, tag);
}

nyb_status nyb_events_flush(nyb_events *events, nyb_error *err)
{
    if (fflush(events->out) != 0 && !events->error)
        events->error = errno;
    if (events->error)
        return nyb_fail(err, NYB_IO, "cannot write %s: %s", events->path, strerror(events->error));
    return NYB_OK;
}
