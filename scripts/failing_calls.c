/* Loaded by LD_PRELOAD: makes system calls fail on files below a directory, as a bad disk does.

   FAIL_UNDER names the directory. The calls on files below it are counted from 1; those from
   FAIL_FROM to FAIL_TO fail with FAIL_ERRNO. Reading fails too, but not looking whether a file
   exists. At the end, the number of calls is written to the file FAIL_COUNTED. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int counted;

static int fails(const char *path) {
  const char *under = getenv("FAIL_UNDER");
  if (!under || !path || strncmp(path, under, strlen(under)) != 0) return 0;
  int number = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
  if (number < atoi(getenv("FAIL_FROM")) || number > atoi(getenv("FAIL_TO"))) return 0;
  errno = atoi(getenv("FAIL_ERRNO"));
  return 1;
}

static int fails_at(int file) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(path);
}

__attribute__((destructor)) static void tell(void) {
  const char *path = getenv("FAIL_COUNTED");
  FILE *file = path && counted ? fopen(path, "w") : NULL;
  if (file) {
    fprintf(file, "%d", counted);
    fclose(file);
  }
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define OPEN(name)                                                       \
  int name(const char *path, int flags, ...) {                           \
    va_list more;                                                        \
    va_start(more, flags);                                               \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; \
    va_end(more);                                                        \
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);       \
    return fails(path) ? -1 : real(path, flags, mode);                   \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                     \
  int name(int at, const char *path, int flags, ...) {                   \
    va_list more;                                                        \
    va_start(more, flags);                                               \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; \
    va_end(more);                                                        \
    int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, #name);  \
    return fails(path) ? -1 : real(at, path, flags, mode);               \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int file, void *data, size_t size) {
  REAL(read);
  return fails_at(file) ? -1 : real(file, data, size);
}

ssize_t write(int file, const void *data, size_t size) {
  REAL(write);
  return fails_at(file) ? -1 : real(file, data, size);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
  REAL(pwrite64);
  return fails_at(file) ? -1 : real(file, data, size, offset);
}

int ftruncate64(int file, off64_t size) {
  REAL(ftruncate64);
  return fails_at(file) ? -1 : real(file, size);
}

int fsync(int file) {
  REAL(fsync);
  return fails_at(file) ? -1 : real(file);
}

int rename(const char *from, const char *to) {
  REAL(rename);
  return fails(to) ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  return fails(path) ? -1 : real(path, mode);
}

int unlink(const char *path) {
  REAL(unlink);
  return fails(path) ? -1 : real(path);
}

int rmdir(const char *path) {
  REAL(rmdir);
  return fails(path) ? -1 : real(path);
}
