//! The agent for stock APISIX as an archive: Lua sources under the names that deployments of the public
//! command line tool expect, folders before the files in them.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::error::Failure;

/// The folder that everything is in.
const FOLDER: &str = "gantry-apisix-agent/";

/// Bytes of a block; everything in an archive is a multiple of it.
const BLOCK: usize = 512;

const LOCAL_STORAGE: &str = include_str!("../../../agent/apisix/cli/local_storage.lua");

/// Folders end in a slash. The interpreter takes sources under the name of bytecode as well.
const ENTRIES: &[(&str, &str)] = &[
    ("", ""),
    ("cloud.ljbc", include_str!("../../../agent/cloud.lua")),
    ("cloud/", ""),
    ("cloud/agent.ljbc", include_str!("../../../agent/cloud/agent.lua")),
    ("cloud/file.ljbc", include_str!("../../../agent/cloud/file.lua")),
    ("cloud/metrics.ljbc", include_str!("../../../agent/cloud/metrics.lua")),
    ("cloud/utils.ljbc", include_str!("../../../agent/cloud/utils.lua")),
    ("apisix/", ""),
    ("apisix/local_storage.ljbc", LOCAL_STORAGE),
    ("apisix/cli/", ""),
    ("apisix/cli/etcd.ljbc", include_str!("../../../agent/apisix/cli/etcd.lua")),
    ("apisix/cli/local_storage.ljbc", LOCAL_STORAGE),
    ("apisix/core/", ""),
    ("apisix/core/config_etcd.ljbc", include_str!("../../../agent/apisix/core/config_etcd.lua")),
];

/// Answers the archive; whoever deploys a gateway fetches it without a token.
pub async fn archive() -> Response {
    static ARCHIVE: LazyLock<std::io::Result<Bytes>> = LazyLock::new(packed);
    match &*ARCHIVE {
        Ok(bytes) => {
            let headers = [(CONTENT_TYPE, "application/gzip"), (CACHE_CONTROL, "no-cache")];
            (headers, bytes.clone()).into_response()
        }
        Err(error) => Failure::internal(error.to_string()).into_response(),
    }
}

/// All entries in the format of POSIX (ustar), packed.
fn packed() -> std::io::Result<Bytes> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    for (name, text) in ENTRIES {
        out.write_all(&header(&format!("{FOLDER}{name}"), text.len()))?;
        out.write_all(text.as_bytes())?;
        out.write_all(&vec![0; text.len().next_multiple_of(BLOCK) - text.len()])?;
    }
    // Two empty blocks are the end.
    out.write_all(&[0; 2 * BLOCK])?;
    out.finish().map(Bytes::from)
}

/// The block before an entry. Times are zero, so that equal agents are equal archives.
fn header(name: &str, size: usize) -> Vec<u8> {
    let is_folder = name.ends_with('/');
    let mode = if is_folder { "0000755" } else { "0000644" };
    let kind = if is_folder { "5" } else { "0" };
    let size = format!("{size:011o}");
    let block = |checksum: &str| {
        // Texts and their widths: name, mode, owner, group, size, time, checksum, kind, link, magic,
        // version. What is left of a width is zero.
        let fields = [
            (name, 100),
            (mode, 8),
            ("0000000", 8),
            ("0000000", 8),
            (&size, 12),
            ("00000000000", 12),
            (checksum, 8),
            (kind, 1),
            ("", 100),
            ("ustar", 6),
            ("00", 2),
        ];
        let (mut block, mut end) = (Vec::with_capacity(BLOCK), 0);
        for (text, width) in fields {
            block.extend_from_slice(text.as_bytes());
            end += width;
            block.resize(end, 0);
        }
        block.resize(BLOCK, 0);
        block
    };
    let sum: u32 = block("        ").into_iter().map(u32::from).sum();
    block(&format!("{sum:06o}\0 "))
}
