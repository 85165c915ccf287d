//! `src/gen` is what `proto/*.proto` generates.
//!
//! After a change of a `.proto` file this test fails; `make gen` runs it with `GANTRY_UPDATE` set,
//! which writes `src/gen` again, to be reviewed like any other change.

use std::fs;
use std::path::Path;

#[test]
fn the_committed_code_is_what_the_definitions_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("etcd-proto");
    fs::create_dir_all(&fresh).expect("the build's folder for tests is writable");

    let descriptors =
        protox::compile(["rpc.proto"], [root.join("proto")]).expect("the definitions are valid");
    tonic_prost_build::configure()
        .bytes(".")
        .out_dir(&fresh)
        .compile_fds(descriptors)
        .expect("the definitions can be generated");

    for file in ["etcdserverpb.rs", "mvccpb.rs"] {
        if std::env::var_os("GANTRY_UPDATE").is_some() {
            fs::copy(fresh.join(file), root.join("src/gen").join(file))
                .expect("src/gen is writable");
        }
        let committed = fs::read_to_string(root.join("src/gen").join(file)).unwrap_or_default();
        let generated = fs::read_to_string(fresh.join(file)).expect("it was just generated");
        assert!(committed == generated, "src/gen/{file} is stale: run `make gen`");
    }
}
