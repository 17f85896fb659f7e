//! Lets `cargo test` without the `python` feature find libtorch at run time.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // The Python extension must carry no path of the machine it was built on: Python imports torch first, and the
    // loader then takes the libraries that are already there.
    if std::env::var_os("CARGO_FEATURE_PYTHON").is_some() {
        return;
    }
    // torch-sys (`links = "tch"`) says where it found libtorch; the LIBTORCH variable is its own first source.
    let folder = std::env::var("DEP_TCH_LIBTORCH_LIB").ok();
    let folder = folder.or_else(|| std::env::var("LIBTORCH").ok().map(|root| format!("{root}/lib")));
    match folder {
        Some(folder) if cfg!(unix) => println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}"),
        _ => {}
    }
}
