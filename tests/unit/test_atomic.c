#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include <nybble/io.h>

#include "io/io.h"

static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[2][400];
    static int turn;

    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/nyb-atomic-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int each_file(bool remove)
{
    DIR *dir = opendir(folder);
    int n = 0;

    for (struct dirent *e; (e = readdir(dir));)
        if (e->d_name[0] != '.') {
            n++;
            if (remove)
                unlink(in_folder(e->d_name));
        }
    closedir(dir);
    return n;
}

static int remove_folder(void **state)
{
    (void)state;
    each_file(true);
    return rmdir(folder);
}

static void write_text(const char *path, const char *text, nyb_status want)
{
    nyb_atomic_file *file;
    nyb_error err;

    assert_int_equal(nyb_atomic_open(path, &file, &err), NYB_OK);
    fputs(text, nyb_atomic_stream(file));
    assert_int_equal(nyb_atomic_commit(&file, &err), want);
    assert_null(file);
}

static void assert_text(const char *path, const char *text)
{
    uint8_t *bytes;
    size_t n;

    assert_int_equal(nyb_file_read(path, 1000, &bytes, &n, NULL), NYB_OK);
    assert_int_equal(n, strlen(text));
    assert_string_equal((char *)bytes, text); /* and a final 0 */
    nyb_free(bytes);
}

static void a_commit_replaces_the_whole_file(void **state)
{
    (void)state;
    write_text(in_folder("a"), "a first and longer text", NYB_OK);
    write_text(in_folder("a"), "second", NYB_OK);
    assert_text(in_folder("a"), "second");
    assert_int_equal(each_file(false), 1);
}

static void an_abort_leaves_the_old_file(void **state)
{
    nyb_atomic_file *file;

    (void)state;
    write_text(in_folder("a"), "old", NYB_OK);
    assert_int_equal(nyb_atomic_open(in_folder("a"), &file, NULL), NYB_OK);
    fputs("new", nyb_atomic_stream(file));
    nyb_atomic_abort(&file);
    assert_null(file);
    nyb_atomic_abort(&file);
    assert_text(in_folder("a"), "old");
    assert_int_equal(each_file(false), 1);
}

static void what_a_killed_writer_left_is_reused(void **state)
{
    (void)state;
    FILE *out = fopen(in_folder("a.tmp"), "w");
    fputs("half of a longer text", out);
    fclose(out);
    write_text(in_folder("a"), "new", NYB_OK);
    assert_text(in_folder("a"), "new");
    assert_int_equal(each_file(false), 1);
}

static void two_writers_of_one_file_do_not_mix(void **state)
{
    nyb_atomic_file *file, *other;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_atomic_open(in_folder("a"), &file, &err), NYB_OK);
    fputs("mine", nyb_atomic_stream(file));
    assert_int_equal(nyb_atomic_open(in_folder("a"), &other, &err), NYB_IO);
    assert_non_null(strstr(err.text, "another process"));
    assert_int_equal(nyb_atomic_commit(&file, &err), NYB_OK);
    assert_text(in_folder("a"), "mine");
}

static void a_symbolic_link_stays_one(void **state)
{
    struct stat st;

    (void)state;
    write_text(in_folder("a"), "old", NYB_OK);
    assert_int_equal(symlink("a", in_folder("link")), 0);
    write_text(in_folder("link"), "new", NYB_OK);
    assert_int_equal(lstat(in_folder("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_text(in_folder("a"), "new");
}

static void a_link_to_nothing_gets_its_file(void **state)
{
    nyb_atomic_file *file;
    nyb_error err;
    struct stat st;

    (void)state;
    assert_int_equal(symlink("./second", in_folder("first")), 0); /* relative to the link */
    assert_int_equal(symlink(in_folder("a"), in_folder("second")), 0);
    assert_int_equal(nyb_atomic_open(in_folder("first"), &file, &err), NYB_OK);
    nyb_atomic_abort(&file);
    assert_int_equal(each_file(false), 2);
    write_text(in_folder("first"), "new", NYB_OK);
    assert_int_equal(lstat(in_folder("a"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_text(in_folder("first"), "new");
    assert_int_equal(each_file(false), 3);
    unlink(in_folder("a"));
    unlink(in_folder("second"));
    assert_int_equal(symlink("first", in_folder("second")), 0); /* a circle */
    assert_int_equal(nyb_atomic_open(in_folder("first"), &file, &err), NYB_IO);
    assert_non_null(strstr(err.text, "symbolic links"));
    assert_null(file);
    assert_int_equal(each_file(false), 2);
}

static void a_file_keeps_its_mode(void **state)
{
    static const mode_t modes[] = {0600, 0644, 0664, 0400, 0755};
    const mode_t former = umask(077);
    nyb_atomic_file *file;
    struct stat st;

    (void)state;
    write_text(in_folder("a"), "old", NYB_OK);
    assert_int_equal(stat(in_folder("a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600); /* a new one: the umask's */
    umask(0);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        assert_int_equal(chmod(in_folder("a"), modes[i]), 0);
        assert_int_equal(nyb_atomic_open(in_folder("a"), &file, NULL), NYB_OK);
        assert_int_equal(stat(in_folder("a.tmp"), &st), 0);
        assert_int_equal(st.st_mode & 07777, modes[i] | 0200);
        assert_int_equal(nyb_atomic_commit(&file, NULL), NYB_OK);
        assert_int_equal(stat(in_folder("a"), &st), 0);
        assert_int_equal(st.st_mode & 07777, modes[i]);
    }
    umask(former);
}

static void a_text_is_saved_whole(void **state)
{
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_text_save(in_folder("a"), "an old and longer text", &err), NYB_OK);
    assert_int_equal(nyb_text_save(in_folder("a"), "text", &err), NYB_OK);
    assert_text(in_folder("a"), "text");
    assert_int_equal(nyb_text_save("/dev/full", "text", &err), NYB_IO);
    assert_int_equal(nyb_text_save(in_folder("none/a"), "text", &err), NYB_IO);
    assert_int_equal(nyb_text_save(NULL, "text", &err), NYB_INVALID);
    assert_int_equal(nyb_text_save(in_folder("a"), NULL, &err), NYB_INVALID);
    assert_int_equal(each_file(false), 1);
}

/* The child holds the file until its parent waits, as far as a pause can tell. */
static void a_text_waits_for_another_writer(void **state)
{
    nyb_atomic_file *file;
    int begun[2], status;

    (void)state;
    assert_int_equal(pipe(begun), 0);
    const pid_t child = fork();
    if (child == 0) {
        if (nyb_atomic_open(in_folder("a"), &file, NULL) != NYB_OK || write(begun[1], "", 1) != 1)
            _exit(1);
        usleep(100000);
        fputs("child", nyb_atomic_stream(file));
        _exit(nyb_atomic_commit(&file, NULL) != NYB_OK);
    }
    assert_int_equal(read(begun[0], (char[1]){0}, 1), 1);
    assert_int_equal(nyb_text_save(in_folder("a"), "parent", NULL), NYB_OK);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_text(in_folder("a"), "parent");
    assert_int_equal(each_file(false), 1);
    close(begun[0]);
    close(begun[1]);
}

static void a_full_disk_is_an_error(void **state)
{
    nyb_atomic_file *file;
    nyb_error err;
    struct stat st;

    (void)state;
    for (size_t n = 1; n <= 100000; n *= 10) {
        assert_int_equal(nyb_atomic_open("/dev/full", &file, &err), NYB_OK);
        for (size_t i = 0; i < n; i++)
            fputs("nybble", nyb_atomic_stream(file));
        assert_int_equal(nyb_atomic_commit(&file, &err), NYB_IO);
        assert_string_equal(err.text, "cannot write /dev/full: No space left on device");
    }
    assert_int_equal(stat("/dev/full", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    assert_int_not_equal(access("/dev/full.tmp", F_OK), 0);
}

static void a_file_too_large_for_the_disk_leaves_the_old_one(void **state)
{
    struct rlimit old, small = {.rlim_cur = 10000};
    nyb_atomic_file *file;
    nyb_error err;

    (void)state;
    write_text(in_folder("a"), "old", NYB_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(nyb_atomic_open(in_folder("a"), &file, &err), NYB_OK);
    for (int i = 0; i < 100000; i++)
        fputs("nybble", nyb_atomic_stream(file));
    nyb_status status = nyb_atomic_commit(&file, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, NYB_IO);
    assert_non_null(strstr(err.text, "/a: File too large"));
    assert_text(in_folder("a"), "old");
    assert_int_equal(each_file(false), 1);
}

static void a_folder_that_cannot_be_written_is_an_error(void **state)
{
    nyb_atomic_file *file;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_atomic_open(in_folder("no/such/file"), &file, &err), NYB_IO);
    assert_non_null(strstr(err.text, "no/such/file: No such file or directory"));
    assert_null(file);
    assert_int_equal(nyb_atomic_open(folder, &file, &err), NYB_IO);
    assert_non_null(strstr(err.text, "it is a folder"));
    assert_int_equal(chmod(folder, 0555), 0);
    bool root = geteuid() == 0;
    if (root)
        assert_int_equal(seteuid(65534), 0);
    nyb_status status = nyb_atomic_open(in_folder("a"), &file, &err);
    if (root)
        assert_int_equal(seteuid(0), 0);
    chmod(folder, 0755);
    assert_int_equal(status, NYB_IO);
    assert_non_null(strstr(err.text, "/a: Permission denied"));
    assert_int_equal(each_file(false), 0);
}

static void reading_names_what_is_wrong(void **state)
{
    uint8_t *bytes = (uint8_t *)folder;
    size_t n = 1;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_file_read(in_folder("none"), 10, &bytes, &n, &err), NYB_IO);
    assert_non_null(strstr(err.text, "none: No such file"));
    assert_null(bytes);
    assert_int_equal(n, 0);
    assert_int_equal(nyb_file_read(folder, 10, &bytes, &n, &err), NYB_IO);
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    const char *endless[] = {"/dev/zero", "/dev/null", in_folder("pipe")};
    for (int i = 0; i < 3; i++) {
        uint8_t head[4];
        assert_int_equal(nyb_file_read(endless[i], 1000000, &bytes, &n, &err), NYB_IO);
        assert_non_null(strstr(err.text, endless[i]));
        assert_non_null(strstr(err.text, "a pipe or a device"));
        assert_null(bytes);
        assert_int_equal(nyb_file_read_head(endless[i], head, 4), 0);
    }
    unlink(in_folder("pipe"));
    write_text(in_folder("a"), "", NYB_OK);
    assert_int_equal(nyb_file_read(in_folder("a"), 0, &bytes, &n, &err), NYB_OK);
    assert_int_equal(n, 0);
    nyb_free(bytes);
    write_text(in_folder("a"), "0123456789", NYB_OK);
    assert_int_equal(nyb_file_read(in_folder("a"), 9, &bytes, &n, &err), NYB_LIMIT);
    assert_int_equal(nyb_file_read(in_folder("a"), 10, &bytes, &n, &err), NYB_OK);
    nyb_free(bytes);
    assert_int_equal(nyb_file_read(in_folder("a"), SIZE_MAX, &bytes, &n, &err), NYB_OK);
    nyb_free(bytes);
}

static void write_gz(const char *path, const char *mode, size_t n)
{
    gzFile out = gzopen(path, mode);

    for (size_t i = 0; i < n; i++)
        gzputc(out, (int)(i * i >> 7 & 255));
    gzclose(out);
}

static void assert_gz(const char *path, size_t n, size_t period)
{
    uint8_t *bytes;
    size_t got;

    assert_int_equal(nyb_file_read(path, n, &bytes, &got, NULL), NYB_OK);
    assert_int_equal(got, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bytes[i], (i % period) * (i % period) >> 7 & 255);
    nyb_free(bytes);
    if (n)
        assert_int_equal(nyb_file_read(path, n - 1, &bytes, &got, NULL), NYB_LIMIT);
}

static void gzip_is_recognized_by_content(void **state)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 300000};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_gz(in_folder("a"), "wb9", sizes[i]);
        assert_gz(in_folder("a"), sizes[i], sizes[i] + 1);
    }
    write_gz(in_folder("a"), "wb", 1000);
    write_gz(in_folder("a"), "ab", 1000); /* two members, one text */
    assert_gz(in_folder("a"), 2000, 1000);
    uint8_t head[3000];
    assert_int_equal(nyb_file_read_head(in_folder("a"), head, 1500), 1500);
    assert_int_equal(head[1200], 200 * 200 >> 7 & 255);
    assert_int_equal(nyb_file_read_head(in_folder("a"), head, 3000), 2000);
    assert_int_equal(nyb_file_read_head(in_folder("none"), head, 3), 0);
}

static void damaged_gzip_is_an_error(void **state)
{
    uint8_t *bytes, good[4096];
    size_t n, n_good;
    nyb_error err;

    (void)state;
    write_gz(in_folder("a"), "wb", 2000);
    FILE *in = fopen(in_folder("a"), "rb");
    n_good = fread(good, 1, sizeof good, in);
    fclose(in);
    for (size_t cut = 2; cut < n_good; cut++) {
        FILE *out = fopen(in_folder("b"), "wb");
        fwrite(good, 1, cut, out);
        fclose(out);
        assert_int_equal(nyb_file_read(in_folder("b"), 2000, &bytes, &n, &err), NYB_CORRUPT);
        assert_non_null(strstr(err.text, "truncated"));
        assert_null(bytes);
    }
    good[n_good - 5] ^= 1; /* the CRC */
    FILE *out = fopen(in_folder("b"), "wb");
    fwrite(good, 1, n_good, out);
    fclose(out);
    assert_int_equal(nyb_file_read(in_folder("b"), 2000, &bytes, &n, &err), NYB_CORRUPT);
    write_gz(in_folder("b"), "wb", 2000);
    out = fopen(in_folder("b"), "ab");
    fputs("garbage", out);
    fclose(out);
    assert_int_equal(nyb_file_read(in_folder("b"), 2000, &bytes, &n, &err), NYB_CORRUPT);
    assert_non_null(strstr(err.text, "damaged"));
}

static void a_small_bomb_does_not_explode(void **state)
{
    uint8_t *bytes;
    size_t n;
    nyb_error err;

    (void)state;
    gzFile z = gzopen(in_folder("a"), "wb9");
    static const uint8_t zeros[1 << 16];
    for (int i = 0; i < 200; i++)
        gzwrite(z, zeros, sizeof zeros);
    gzclose(z);
    assert_int_equal(nyb_file_read(in_folder("a"), 100000, &bytes, &n, NULL), NYB_LIMIT);
    assert_null(bytes);
    assert_int_equal(nyb_file_read(in_folder("a"), NYB_FILE_MAX, &bytes, &n, NULL), NYB_OK);
    assert_int_equal(n, 200 * sizeof zeros);
    nyb_free(bytes);
    z = gzopen(in_folder("a"), "wb1");
    for (size_t i = 0; i <= ((size_t)64 << 20) / sizeof zeros; i++) /* a block above 64 MiB */
        gzwrite(z, zeros, sizeof zeros);
    gzclose(z);
    assert_int_equal(nyb_file_read(in_folder("a"), NYB_FILE_MAX, &bytes, &n, &err), NYB_LIMIT);
    assert_non_null(strstr(err.text, "inflate to more than 67108864"));
    assert_null(bytes);
}

static void no_memory_is_an_error(void **state)
{
    (void)state;
    write_gz(in_folder("z"), "wb9", 300000);
    for (uint64_t n = 1; n < 10; n++) {
        uint8_t *bytes;
        size_t n_bytes;
        nyb_atomic_file *file;

        nyb_alloc_fail_after(n, false);
        nyb_status status = nyb_file_read(in_folder("z"), 400000, &bytes, &n_bytes, NULL);
        nyb_alloc_fail_after(0, false);
        assert_true(status == NYB_OK || status == NYB_MEMORY);
        nyb_free(bytes);
        nyb_alloc_fail_after(n, false);
        status = nyb_atomic_open(in_folder("a"), &file, NULL);
        nyb_alloc_fail_after(0, false);
        assert_true(status == NYB_OK || status == NYB_MEMORY);
        nyb_atomic_abort(&file);
        assert_int_equal(each_file(false), 1);
    }
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(a_commit_replaces_the_whole_file),
        IN_FOLDER(an_abort_leaves_the_old_file),
        IN_FOLDER(what_a_killed_writer_left_is_reused),
        IN_FOLDER(two_writers_of_one_file_do_not_mix),
        IN_FOLDER(a_symbolic_link_stays_one),
        IN_FOLDER(a_link_to_nothing_gets_its_file),
        IN_FOLDER(a_file_keeps_its_mode),
        IN_FOLDER(a_text_is_saved_whole),
        IN_FOLDER(a_text_waits_for_another_writer),
        IN_FOLDER(a_full_disk_is_an_error),
        IN_FOLDER(a_file_too_large_for_the_disk_leaves_the_old_one),
        IN_FOLDER(a_folder_that_cannot_be_written_is_an_error),
        IN_FOLDER(reading_names_what_is_wrong),
        IN_FOLDER(gzip_is_recognized_by_content),
        IN_FOLDER(damaged_gzip_is_an_error),
        IN_FOLDER(a_small_bomb_does_not_explode),
        IN_FOLDER(no_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
