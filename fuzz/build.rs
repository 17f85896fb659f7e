//! Counts what is allocated, by malloc too: in place of libc's own malloc, which the linker then does not look for.

fn main() {
    println!("cargo:rerun-if-changed=../benches/allocations.c");
    cc::Build::new().file("../benches/allocations.c").opt_level(2).compile("allocations");
    println!("cargo:rustc-link-lib=dl");
}
