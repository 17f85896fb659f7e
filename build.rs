//! Compiles what libtorch offers in C++ alone, and lets `cargo test` without the `python` feature find libtorch at run
//! time.

use std::path::{Path, PathBuf};

const CPP: &str = "src/libtorch/modes.cpp";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={CPP}");
    // torch-sys (`links = "tch"`) says where it found libtorch; the LIBTORCH variable is its own first source.
    let folder = std::env::var("DEP_TCH_LIBTORCH_LIB").ok();
    let folder = folder.or_else(|| std::env::var("LIBTORCH").ok().map(|root| format!("{root}/lib")));
    compile(folder.as_deref());
    // The Python extension must carry no path of the machine it was built on: Python imports torch first, and the
    // loader then takes the libraries that are already there.
    if std::env::var_os("CARGO_FEATURE_PYTHON").is_some() {
        return;
    }
    match folder {
        Some(folder) if cfg!(unix) => println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}"),
        _ => {}
    }
}

/// As torch-sys compiles its own, with libtorch's headers beside its libraries.
fn compile(folder: Option<&str>) {
    let beside = || folder.and_then(|folder| Path::new(folder).parent()).map(|root| root.join("include"));
    let given = std::env::var_os("LIBTORCH_INCLUDE").map(|root| PathBuf::from(root).join("include"));
    let abi = std::env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_string());
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false) // of the headers
        .includes(given.or_else(beside))
        .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
        .file(CPP)
        .compile("everybatch_modes");
}
