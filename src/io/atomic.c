#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/io.h"

struct nyb_atomic_file {
    char *path; /* the file to replace, symbolic links resolved; messages name it */
    char *temp; /* PATH.tmp, or NULL: a device or pipe, written in place           */
    FILE *out;
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

/* The temporary name is fixed, so that a file left by a killed process is reused, not collected. A
 * lock keeps two writers of one path apart. The loop ends: each turn means that another writer
 * has finished in between. */
static nyb_status open_temp(const char *path, const char *temp, int *fd, nyb_error *err)
{
    for (;;) {
        struct stat ours, named;

        *fd = open(temp, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (*fd < 0)
            return cannot_write(path, errno, err);
        if (flock(*fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
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

static nyb_status open_stream(nyb_atomic_file *f, bool in_place, nyb_error *err)
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
        nyb_status status = open_temp(f->path, f->temp, &fd, err);
        if (status != NYB_OK) { /* the file of that name, if any, is not ours to remove */
            nyb_free(f->temp);
            f->temp = NULL;
            return status;
        }
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

nyb_status nyb_atomic_open(const char *path, nyb_atomic_file **file, nyb_error *err)
{
    struct stat st;
    bool exists = stat(path, &st) == 0;

    *file = NULL;
    if (exists && S_ISDIR(st.st_mode))
        return nyb_fail(err, NYB_IO, "cannot write %s: it is a folder", path);
    nyb_atomic_file *f = nyb_alloc(sizeof *f);
    char *real = exists && S_ISREG(st.st_mode) ? realpath(path, NULL) : NULL;
    if (f)
        f->path = nyb_strdup(real ? real : path);
    free(real); /* realpath's memory is malloc's */
    nyb_status status = f && f->path ? open_stream(f, exists && !S_ISREG(st.st_mode), err)
                                     : nyb_fail(err, NYB_MEMORY, "out of memory");
    if (status != NYB_OK) {
        destroy(f);
        return status;
    }
    *file = f;
    return NYB_OK;
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
