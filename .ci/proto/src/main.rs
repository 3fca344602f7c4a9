//! Generates the messages of Milvus' calls into the directory given (`make proto`).

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args().nth(1).ok_or("usage: stillframe-proto DIRECTORY")?;
    let descriptors = protox::compile(["common.proto", "schema.proto", "milvus.proto"], ["src/milvus/proto"])?;
    let mut config = prost_build::Config::new();
    // stable output: maps in the order of their keys
    config.btree_map(["."]);
    config.out_dir(&out).compile_fds(descriptors)?;
    for name in ["common", "schema", "milvus"] {
        let from = std::path::Path::new(&out).join(format!("milvus.proto.{name}.rs"));
        let text = std::fs::read_to_string(&from)?;
        std::fs::write(from.with_file_name(format!("{name}.rs")), text)?;
        std::fs::remove_file(from)?;
    }
    Ok(())
}
