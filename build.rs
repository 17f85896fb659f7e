//! Compiles what libtorch offers in C++ alone, lets `cargo test` without the `python` feature find libtorch at run time,
//! and gives the Python module the docstrings of its stub.

use std::fs;
use std::path::{Path, PathBuf};

const CPP: &str = "src/libtorch/modes.cpp";
const STUB: &str = "python/everybatch/_core.pyi";

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
        return docstrings();
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

/// Writes the docstring of each class, method, property and function of the stub into a file, `Model.save` into the one of
/// that name, which `python_doc!` includes.
fn docstrings() {
    println!("cargo::rerun-if-changed={STUB}");
    let stub = fs::read_to_string(STUB).expect("the stub of the module");
    let folder = Path::new(&std::env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("docstrings");
    let _ = fs::remove_dir_all(&folder); // docstrings that the stub no longer has
    fs::create_dir_all(&folder).expect("a folder for docstrings");
    let (mut class, mut name) = (None, String::new());
    let mut lines = stub.lines();
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(called) = named(text, "class ") {
            class = Some(called);
            name = called.to_string();
        } else if let Some(called) = named(text, "def ") {
            class = class.filter(|_| indent > 0);
            name = class.map_or(called.to_string(), |class| format!("{class}.{called}"));
        } else if let Some(first) = text.strip_prefix("\"\"\"") {
            let mut doc = first.to_string();
            while !doc.ends_with("\"\"\"") {
                let more = lines.next().expect("the end of a docstring");
                doc = format!("{doc}\n{}", more.get(indent..).unwrap_or(""));
            }
            let doc = doc.trim_end_matches("\"\"\"").trim_end();
            assert!(!doc.contains('\\'), "{STUB}: a backslash in the docstring of {name}");
            if !name.is_empty() {
                fs::write(folder.join(&name), doc).expect("a docstring");
            }
        }
    }
}

/// What a line of the stub defines.
fn named<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    line.strip_prefix(keyword)?.split(['(', ':']).next()
}
