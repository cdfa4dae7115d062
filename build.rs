//! Compiles `proto/` without an installed protoc.

use std::env;
use std::fs;
use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 7] = [
    "pulsetail/v1/container.proto",
    "pulsetail/v1/container_service.proto",
    "pulsetail/v1/log.proto",
    "pulsetail/v1/log_service.proto",
    "pulsetail/v1/server_service.proto",
    "pulsetail/v1/task.proto",
    "pulsetail/v1/task_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Reflection answers with it.
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
