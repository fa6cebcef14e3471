//! Generates the services from the .proto files, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["proto/weir/v1/control.proto", "proto/weir/v1/client.proto", "proto/weir/v1/raft.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    // These hold the graphs of jobs, in which there may be passwords: the crate says how they print.
    let hidden = ["SubmitRequest", "Deploy", "Commit", "Sweep", "Look", "Reset", "RaftMessage"];
    tonic_prost_build::configure()
        .bytes(".")
        .skip_debug(hidden.map(|message| format!("weir.v1.{message}")))
        .compile_fds(descriptors)?;
    Ok(())
}
