/* How much memory a call asks for: put before libc by LD_PRELOAD, it counts what is allocated, touched or not.

Both what Rust, libtorch and NumPy take from malloc and what Python and they map. fuzz.py reads the largest sum since it
asked last. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

static atomic_long now, most;

static void add(long bytes) {
    long sum = atomic_fetch_add(&now, bytes) + bytes, seen = atomic_load(&most);
    while (sum > seen && !atomic_compare_exchange_weak(&most, &seen, sum)) {}
}

/* What is allocated now counts as nothing from here on. */
void allocations_begin(void) {
    atomic_store(&now, 0);
    atomic_store(&most, 0);
}

/* The most bytes beyond what there was at the beginning, at any moment since. */
long allocations_most(void) { return atomic_load(&most); }

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static void *told(void *place) {
    if (place != NULL) add((long)malloc_usable_size(place));
    return place;
}

void *malloc(size_t size) { return told(__libc_malloc(size)); }
void *calloc(size_t number, size_t size) { return told(__libc_calloc(number, size)); }
void *memalign(size_t to, size_t size) { return told(__libc_memalign(to, size)); }
void *aligned_alloc(size_t to, size_t size) { return told(__libc_memalign(to, size)); }
int posix_memalign(void **place, size_t to, size_t size) {
    void *made = told(__libc_memalign(to, size));
    if (made == NULL) return ENOMEM;
    *place = made;
    return 0;
}
void *realloc(void *old, size_t size) {
    long before = old == NULL ? 0 : (long)malloc_usable_size(old);
    void *place = __libc_realloc(old, size);
    if (place != NULL || size == 0) add((place == NULL ? 0 : (long)malloc_usable_size(place)) - before);
    return place;
}
void free(void *place) {
    if (place != NULL) add(-(long)malloc_usable_size(place));
    __libc_free(place);
}

void *mmap(void *at, size_t size, int may, int flags, int file, off_t from) {
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "mmap");
    void *place = real(at, size, may, flags, file, from);
    if (place != MAP_FAILED && (flags & MAP_ANONYMOUS) && (may & PROT_WRITE)) add((long)size); /* else it is reserved */
    return place;
}
int munmap(void *place, size_t size) {
    static int (*real)(void *, size_t);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "munmap");
    int result = real(place, size);
    if (result == 0) add(-(long)size);
    return result;
}
