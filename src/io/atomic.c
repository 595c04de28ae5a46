#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nybble/io.h>

#include "io/io.h"

#define LINKS_MAX 40 /* symbolic links that lead to each other, as Linux has it */

struct nyb_atomic_file {
    char *path; /* the file to replace, symbolic links resolved; messages name it */
    char *temp; /* PATH.tmp, or NULL: a device or pipe, written in place           */
    FILE *out;
    bool replaces; /* a file, whose mode is kept */
    mode_t mode;
};

static void destroy(nyb_atomic_file *f)
{
    if (!f)
        return;
    nyb_free(f->path);
    nyb_free(f->temp);
    nyb_free(f);
}

static nyb_status cannot_write(const char *path, int error, nyb_error *err)
{
    return nyb_fail(err, NYB_IO, "cannot write %s: %s", path, strerror(error));
}

/* 0, or why not. A file system without locks goes on without. */
static int lock(int fd, bool waits)
{
    while (flock(fd, waits ? LOCK_EX : LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return EWOULDBLOCK;
        if (errno != EINTR)
            break;
    }
    return 0;
}

/* The temporary name is fixed, so that a file left by a killed process is reused, not collected. A
 * lock keeps two writers of one path apart. The loop ends: each turn means that another writer
 * has finished in between. */
static nyb_status open_temp(const char *path, const char *temp, bool waits, int *fd, nyb_error *err)
{
    for (;;) {
        struct stat ours, named;

        *fd = open(temp, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (*fd < 0)
            return cannot_write(path, errno, err);
        if (lock(*fd, waits) != 0) {
            close(*fd);
            return nyb_fail(err, NYB_IO, "cannot write %s: another process is writing it", path);
        }
        if (fstat(*fd, &ours) == 0 && stat(temp, &named) == 0 && ours.st_ino == named.st_ino &&
            ours.st_dev == named.st_dev) {
            if (ftruncate(*fd, 0) == 0)
                return NYB_OK;
            int error = errno;
            close(*fd);
            return cannot_write(path, error, err);
        }
        close(*fd);
    }
}

/* Where symbolic links end that lead to nothing: what open(2) would create. */
static nyb_status follow_links(const char *path, char **end, nyb_error *err)
{
    char at[PATH_MAX], to[PATH_MAX];

    if (strlen(path) >= sizeof at)
        return cannot_write(path, ENAMETOOLONG, err);
    strcpy(at, path);
    for (int i = 0; i < LINKS_MAX; i++) {
        const ssize_t n = readlink(at, to, sizeof to - 1);
        if (n < 0) {
            *end = nyb_strdup(at);
            return *end ? NYB_OK : nyb_fail(err, NYB_MEMORY, "out of memory");
        }
        const char *slash = to[0] == '/' ? NULL : strrchr(at, '/');
        const size_t n_folder = slash ? (size_t)(slash - at) + 1 : 0;
        if (n_folder + (size_t)n >= sizeof at)
            return cannot_write(path, ENAMETOOLONG, err);
        memcpy(at + n_folder, to, (size_t)n);
        at[n_folder + (size_t)n] = 0;
    }
    return cannot_write(path, ELOOP, err);
}

/* The file that path stands for. st: what is there, or NULL. */
static nyb_status resolve(const char *path, const struct stat *st, char **end, nyb_error *err)
{
    if (!st)
        return follow_links(path, end, err);
    char *real = S_ISREG(st->st_mode) ? realpath(path, NULL) : NULL;
    *end = nyb_strdup(real ? real : path);
    free(real); /* realpath's memory is malloc's */
    return *end ? NYB_OK : nyb_fail(err, NYB_MEMORY, "out of memory");
}

static nyb_status open_stream(nyb_atomic_file *f, bool in_place, bool waits, nyb_error *err)
{
    int fd;

    if (in_place) {
        fd = open(f->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
            return cannot_write(f->path, errno, err);
    } else {
        size_t n = strlen(f->path);
        f->temp = nyb_alloc(n + 5);
        if (!f->temp)
            return nyb_fail(err, NYB_MEMORY, "out of memory");
        memcpy(f->temp, f->path, n);
        memcpy(f->temp + n, ".tmp", 5);
        nyb_status status = open_temp(f->path, f->temp, waits, &fd, err);
        if (status != NYB_OK) { /* the file of that name, if any, is not ours to remove */
            nyb_free(f->temp);
            f->temp = NULL;
            return status;
        }
        /* Nobody else may read what only its owner could; the next writer may open it again. Not
         * every file system has modes. */
        if (f->replaces)
            fchmod(fd, f->mode | S_IWUSR);
    }
    f->out = fdopen(fd, "wb");
    if (!f->out) {
        close(fd);
        if (f->temp)
            unlink(f->temp);
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    }
    return NYB_OK;
}

/* waits: for another writer, which is an error otherwise. */
static nyb_status open_file(const char *path, bool waits, nyb_atomic_file **file, nyb_error *err)
{
    struct stat st;
    const bool exists = stat(path, &st) == 0, is_file = exists && S_ISREG(st.st_mode);

    *file = NULL;
    if (exists && S_ISDIR(st.st_mode))
        return nyb_fail(err, NYB_IO, "cannot write %s: it is a folder", path);
    nyb_atomic_file *f = nyb_alloc(sizeof *f);
    if (!f)
        return nyb_fail(err, NYB_MEMORY, "out of memory");
    f->replaces = is_file;
    f->mode = is_file ? st.st_mode & 0777 : 0;
    nyb_status status = resolve(path, exists ? &st : NULL, &f->path, err);
    if (status == NYB_OK)
        status = open_stream(f, exists && !is_file, waits, err);
    if (status != NYB_OK) {
        destroy(f);
        return status;
    }
    *file = f;
    return NYB_OK;
}

nyb_status nyb_atomic_open(const char *path, nyb_atomic_file **file, nyb_error *err)
{
    return open_file(path, false, file, err);
}

FILE *nyb_atomic_stream(nyb_atomic_file *file)
{
    return file->out;
}

/* A rename is durable once the folder is. Some file systems cannot; that is no failure of ours. */
static int sync_folder(const char *path)
{
    char *folder = nyb_strdup(path);
    int error = 0;

    if (!folder)
        return ENOMEM;
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = 0;
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        if (fsync(fd) != 0 && errno == EIO)
            error = EIO;
        close(fd);
    }
    nyb_free(folder);
    return error;
}

/* 0, or why the stream could not be written. An error of long ago left a flag but no reason, so the
 * system is asked once more. */
static int flush(FILE *out)
{
    bool failed_before = ferror(out);

    if (fflush(out) != 0)
        return errno;
    if (!failed_before)
        return 0;
    return write(fileno(out), "", 1) < 0 ? errno : EIO;
}

static int commit(nyb_atomic_file *f)
{
    int error = flush(f->out);

    if (!error && f->replaces)
        fchmod(fileno(f->out), f->mode);
    if (!error && f->temp && fsync(fileno(f->out)) != 0)
        error = errno;
    /* Renamed before it is closed: the lock is held until the name is final. */
    if (!error && f->temp && rename(f->temp, f->path) != 0)
        error = errno;
    if (error && f->temp)
        unlink(f->temp);
    if (fclose(f->out) != 0 && !error)
        error = errno;
    if (!error && f->temp)
        error = sync_folder(f->path);
    return error;
}

nyb_status nyb_atomic_commit(nyb_atomic_file **file, nyb_error *err)
{
    nyb_atomic_file *f = *file;
    nyb_status status = NYB_OK;

    int error = commit(f);
    if (error)
        status = cannot_write(f->path, error, err);
    destroy(f);
    *file = NULL;
    return status;
}

void nyb_atomic_abort(nyb_atomic_file **file)
{
    nyb_atomic_file *f = *file;

    if (!f)
        return;
    if (f->temp)
        unlink(f->temp);
    fclose(f->out);
    destroy(f);
    *file = NULL;
}

nyb_status nyb_text_save(const char *path, const char *text, nyb_error *err)
{
    nyb_atomic_file *file;

    NYB_TRY(nyb_check_pointers(path && text, err));
    NYB_TRY(open_file(path, true, &file, err));
    fputs(text, nyb_atomic_stream(file)); /* a failure is kept for the commit */
    return nyb_atomic_commit(&file, err);
}
