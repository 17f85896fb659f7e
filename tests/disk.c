/* A disk that fails, and one that tells: put before libc by LD_PRELOAD, for what Python, Rust and NumPy write.

Of the files below one folder it counts the calls that change them or their names, or bring them to the disk: open (for
writing), write, ftruncate, fsync, close (of what was written), rename, mkdir, unlink and rmdir. One of them, or all from
one on, can be made to fail. Every call that succeeds can be written down, with what was written, so that a loss of
power can be played: what had not been flushed by then is gone. tests/disk.py is its other half. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES = 4096 };
enum how { ONCE, FROM_THEN_ON, TORN, TORN_FROM_THEN_ON };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX]; /* with a slash at its end; empty: nothing is watched */
static char *paths[FILES];  /* of the open files below it */
static int flags_of[FILES];
static long count, fails_at = -1;
static int error, how, is_torn, diary = -1;

#define REAL(result, name, parameters)                                                                                 \
    static result(*real_##name) parameters;                                                                            \
    if (real_##name == NULL) *(void **)&real_##name = dlsym(RTLD_NEXT, #name);

static ssize_t plain_write(int file, const void *data, size_t size) {
    REAL(ssize_t, write, (int, const void *, size_t))
    return real_write(file, data, size);
}

/* ------------------------------------------------------------------ what tests/disk.py calls */

/* Watch what is below a folder from now on; write it down in a file, if one is given. */
void disk_watch(const char *folder, const char *told) {
    REAL(int, open, (const char *, int, ...))
    REAL(int, close, (int))
    pthread_mutex_lock(&lock);
    if (folder == NULL) root[0] = 0;
    else snprintf(root, sizeof root, "%s/", folder);
    if (diary >= 0) real_close(diary);
    diary = told == NULL ? -1 : real_open(told, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    fails_at = -1;
    count = is_torn = 0;
    pthread_mutex_unlock(&lock);
}

/* Count from 0 again, and let the call of this number fail. */
void disk_fail(long number, int with, int in_which_way) {
    pthread_mutex_lock(&lock);
    count = is_torn = 0;
    fails_at = number, error = with, how = in_which_way;
    pthread_mutex_unlock(&lock);
}

long disk_count(void) { return count; }

/* ------------------------------------------------------------------ what the calls have in common */

/* Whether the next call that counts is to fail. A full disk can still rename, remove and close. */
static int due(int takes_room) {
    long number = count++;
    if (fails_at < 0 || number < fails_at) return 0;
    if (number == fails_at) return 1;
    return (how == FROM_THEN_ON || how == TORN_FROM_THEN_ON) && (takes_room || error != ENOSPC);
}

static int fail(void) {
    errno = error;
    return -1;
}

/* The whole path, if it lies below the folder; else NULL. */
static char *watched(int folder, const char *path) {
    char whole[2 * PATH_MAX];
    if (root[0] == 0 || path == NULL) return NULL;
    if (path[0] == '/') snprintf(whole, sizeof whole, "%s", path);
    else {
        char of_folder[64], base[PATH_MAX];
        ssize_t length;
        if (folder == AT_FDCWD) snprintf(of_folder, sizeof of_folder, "/proc/self/cwd");
        else snprintf(of_folder, sizeof of_folder, "/proc/self/fd/%d", folder);
        length = readlink(of_folder, base, sizeof base - 1);
        if (length < 0) return NULL;
        base[length] = 0;
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    }
    size_t length = strlen(root) - 1;
    int is_below = strncmp(whole, root, length) == 0 && (whole[length] == '/' || whole[length] == 0);
    return is_below ? strdup(whole) : NULL;
}

static int is_open(int file) { return file >= 0 && file < FILES && paths[file] != NULL; }

/* Write a line down, and what follows it. */
static void tell(const void *data, size_t size, const char *form, ...) {
    char line[3 * PATH_MAX];
    va_list values;
    if (diary < 0) return;
    va_start(values, form);
    int length = vsnprintf(line, sizeof line, form, values);
    va_end(values);
    plain_write(diary, line, length);
    while (size > 0) {
        ssize_t written = plain_write(diary, data, size);
        if (written <= 0) abort();
        data = (const char *)data + written, size -= written;
    }
}

/* ------------------------------------------------------------------ open and close */

static int opened(int folder, const char *path, int flags, mode_t mode) {
    REAL(int, openat, (int, const char *, int, ...))
    pthread_mutex_lock(&lock);
    char *whole = watched(folder, path);
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    int file = whole != NULL && writes && due((flags & O_CREAT) != 0) ? fail() : real_openat(folder, path, flags, mode);
    if (file >= 0 && file < FILES) {
        free(paths[file]);
        paths[file] = whole, flags_of[file] = flags;
        if (whole != NULL) tell(NULL, 0, "opened\t%d\t%d\t%s\n", file, (flags & O_TRUNC) != 0, whole);
    } else free(whole);
    pthread_mutex_unlock(&lock);
    return file;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list values;                                                                                                \
        va_start(values, flags);                                                                                       \
        mode_t mode = va_arg(values, mode_t);                                                                          \
        va_end(values);                                                                                                \
        return opened(AT_FDCWD, path, flags, mode);                                                                    \
    }
#define OPEN_AT(name)                                                                                                  \
    int name(int folder, const char *path, int flags, ...) {                                                           \
        va_list values;                                                                                                \
        va_start(values, flags);                                                                                       \
        mode_t mode = va_arg(values, mode_t);                                                                          \
        va_end(values);                                                                                                \
        return opened(folder, path, flags, mode);                                                                      \
    }
OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }

int close(int file) {
    REAL(int, close, (int))
    pthread_mutex_lock(&lock);
    int is_watched = is_open(file), failing = 0;
    if (is_watched) {
        failing = (flags_of[file] & O_ACCMODE) != O_RDONLY && due(0);
        tell(NULL, 0, "close\t%d\n", file);
        free(paths[file]);
        paths[file] = NULL;
    }
    int result = real_close(file); /* closed it is in any case */
    if (failing) result = fail();
    pthread_mutex_unlock(&lock);
    return result;
}

/* ------------------------------------------------------------------ contents */

static ssize_t put(int file, const void *data, size_t size, off_t at) {
    REAL(ssize_t, pwrite, (int, const void *, size_t, off_t))
    if (!is_open(file)) return at < 0 ? plain_write(file, data, size) : real_pwrite(file, data, size, at);
    pthread_mutex_lock(&lock);
    ssize_t written;
    if (is_torn) {
        is_torn = 0;
        count++;
        written = fail();
    } else if (due(1)) {
        if ((how == TORN || how == TORN_FROM_THEN_ON) && count - 1 == fails_at && size > 1) {
            is_torn = 1; /* as the system does it: a part is written, and the next write fails */
            size /= 2;
            written = at < 0 ? plain_write(file, data, size) : real_pwrite(file, data, size, at);
        } else written = fail();
    } else written = at < 0 ? plain_write(file, data, size) : real_pwrite(file, data, size, at);
    if (written > 0) {
        off_t end = at < 0 ? lseek(file, 0, SEEK_CUR) : at + written;
        tell(data, written, "write\t%d\t%ld\t%ld\n", file, (long)(end - written), (long)written);
    }
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t write(int file, const void *data, size_t size) { return put(file, data, size, -1); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return put(file, data, size, at); }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { return put(file, data, size, at); }

ssize_t writev(int file, const struct iovec *parts, int number) {
    REAL(ssize_t, writev, (int, const struct iovec *, int))
    if (!is_open(file)) return real_writev(file, parts, number);
    return number > 0 ? put(file, parts[0].iov_base, parts[0].iov_len, -1) : 0; /* less than asked is allowed */
}

static int cut(int file, off_t length) {
    REAL(int, ftruncate, (int, off_t))
    pthread_mutex_lock(&lock);
    int result = is_open(file) && due(0) ? fail() : real_ftruncate(file, length);
    if (result == 0 && is_open(file)) tell(NULL, 0, "cut\t%d\t%ld\n", file, (long)length);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int file, off_t length) { return cut(file, length); }
int ftruncate64(int file, off64_t length) { return cut(file, length); }

static int flushed(int file, int (*real)(int)) {
    pthread_mutex_lock(&lock);
    int result = is_open(file) && due(1) ? fail() : real(file);
    if (result == 0 && is_open(file)) tell(NULL, 0, "flush\t%d\n", file);
    pthread_mutex_unlock(&lock);
    return result;
}
int fsync(int file) {
    REAL(int, fsync, (int))
    return flushed(file, real_fsync);
}
int fdatasync(int file) {
    REAL(int, fdatasync, (int))
    return flushed(file, real_fdatasync);
}

/* ------------------------------------------------------------------ names */

static int renamed(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    REAL(int, renameat2, (int, const char *, int, const char *, unsigned))
    pthread_mutex_lock(&lock);
    char *one = watched(from_folder, from), *other = watched(to_folder, to);
    int result = one != NULL && due(0) ? fail() : real_renameat2(from_folder, from, to_folder, to, flags);
    if (result == 0 && one != NULL && other != NULL)
        tell(NULL, 0, "%s\t%s\t%s\n", flags & RENAME_EXCHANGE ? "swap" : "rename", one, other);
    free(one), free(other);
    pthread_mutex_unlock(&lock);
    return result;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int made(int folder, const char *path, mode_t mode) {
    REAL(int, mkdirat, (int, const char *, mode_t))
    pthread_mutex_lock(&lock);
    char *whole = watched(folder, path);
    int result = whole != NULL && due(1) ? fail() : real_mkdirat(folder, path, mode);
    if (result == 0 && whole != NULL) tell(NULL, 0, "mkdir\t%s\n", whole);
    free(whole);
    pthread_mutex_unlock(&lock);
    return result;
}
int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return made(folder, path, mode); }

static int removed(int folder, const char *path, int flags) {
    REAL(int, unlinkat, (int, const char *, int))
    pthread_mutex_lock(&lock);
    char *whole = watched(folder, path);
    int result = whole != NULL && due(0) ? fail() : real_unlinkat(folder, path, flags);
    if (result == 0 && whole != NULL) tell(NULL, 0, "remove\t%s\n", whole);
    free(whole);
    pthread_mutex_unlock(&lock);
    return result;
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int folder, const char *path, int flags) { return removed(folder, path, flags); }
