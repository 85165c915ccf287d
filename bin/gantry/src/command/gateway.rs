//! `gantry gateway`: the data plane, from a Gantry control plane or any etcd.

use std::path::Path;
use std::time::Duration;

use gantry_gateway::{Bound, Login, Options, Source, SourceTls};

use super::{Outcome, runtime};
use crate::lifecycle::shutdown_on_signal;
use crate::options::{GatewayOptions, ListenOptions, SourceOptions};
use crate::ready::Ready;

/// Runs until a signal.
pub fn run(options: GatewayOptions) -> Outcome {
    let GatewayOptions { data, listen, source, metrics_interval_ms } = options;
    let ListenOptions { listen_http, listen_https, listen_status, threads } = listen;
    let runtime = runtime()?;
    let shutdown = runtime.block_on(async { shutdown_on_signal() })?;
    gantry_gateway::run(
        Options {
            http: Some(listen_http),
            https: Some(listen_https),
            status: Some(listen_status),
            data_dir: data,
            heartbeat: source.control_plane.clone(),
            source: follow(source)?,
            metrics_interval: metrics_interval_ms.map(Duration::from_millis),
            instance_id: None,
            threads: (threads > 0).then_some(threads),
            fallback_server_name: None,
            on_bound: Some(Box::new(|bound| ready(Ready::default(), bound).print())),
        },
        shutdown,
    )?;
    Ok(())
}

/// The line about what a gateway listens on.
pub fn ready(mut line: Ready, bound: Bound) -> Ready {
    for (name, scheme, address) in [
        ("http", "http", bound.http),
        ("https", "https", bound.https),
        ("status", "http", bound.status),
    ] {
        if let Some(address) = address {
            line = line.with(name, format!("{scheme}://{address}"));
        }
    }
    line
}

fn follow(options: SourceOptions) -> Outcome<Source> {
    let SourceOptions {
        control_plane,
        etcd,
        prefix,
        tls_cert,
        tls_key,
        tls_ca,
        etcd_user,
        etcd_password,
    } = options;
    Ok(Source {
        endpoints: control_plane.map_or(etcd, |endpoint| vec![endpoint]),
        prefix,
        tls: SourceTls {
            authority: tls_ca.as_deref().map(pem).transpose()?,
            identity: match (tls_cert, tls_key) {
                (Some(certificate), Some(key)) => Some((pem(&certificate)?, pem(&key)?)),
                _ => None,
            },
            server_name: None,
        },
        login: etcd_user.map(|name| Login { name, password: etcd_password.unwrap_or_default() }),
    })
}

fn pem(file: &Path) -> Outcome<String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()).into())
}
