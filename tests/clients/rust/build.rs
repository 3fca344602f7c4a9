//! Makes the client of the document.

use std::path::Path;

use progenitor::{GenerationSettings, Generator, InterfaceStyle, TagStyle};

fn main() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../openapi/openapi-3.0.json");
    println!("cargo::rerun-if-changed={}", document.display());
    let text = std::fs::read_to_string(&document).expect("the document is there");
    let spec: openapiv3::OpenAPI = serde_json::from_str(&text).expect("OpenAPI 3.0");
    let mut settings = GenerationSettings::default();
    settings.with_interface(InterfaceStyle::Builder).with_tag(TagStyle::Merged);
    let tokens = Generator::new(&settings).generate_tokens(&spec).expect("a client of it");
    let file = syn::parse2(tokens).expect("Rust");
    let out = std::env::var("OUT_DIR").expect("set by cargo");
    std::fs::write(Path::new(&out).join("stillframe.rs"), prettyplease::unparse(&file)).expect("written");
}
