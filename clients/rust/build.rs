//! Compiles the contract's messages and clients without an installed protoc.

const FOLDER: &str = "../../proto";

const FILES: [&str; 3] = [
    "pulsetail/v1/container_service.proto",
    "pulsetail/v1/log_service.proto",
    "pulsetail/v1/server_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let descriptors = protox::compile(FILES, [FOLDER])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(descriptors)?;
    Ok(())
}
