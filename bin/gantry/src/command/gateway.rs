//! `gantry gateway`: the data plane, from a Gantry control plane or any etcd.

use std::path::Path;
use std::time::Duration;

use gantry_gateway::{Bound, CacheOptions, Etcd, Login, Options, SeriesOptions, Source, SourceTls};

use super::{Outcome, runtime};
use crate::lifecycle::shutdown_on_signal;
use crate::options::{
    CacheZoneOptions, ClientOptions, GatewayOptions, ListenOptions, SeriesFlags, SourceOptions,
};
use crate::ready::Ready;

/// Runs until a signal.
pub fn run(options: GatewayOptions) -> Outcome {
    let GatewayOptions {
        data,
        listen,
        source,
        access_log,
        clients,
        grace_seconds,
        upgrade,
        cache,
        series,
        dns_resolver,
        ..
    } = options;
    let metrics_interval = options.metrics_interval_ms.map(Duration::from_millis);
    let cache = zones(cache, &data);
    let ListenOptions { listen_http, listen_https, listen_status, threads } = listen;
    let runtime = runtime()?;
    let shutdown = runtime.block_on(async {
        outlive_hangups()?;
        shutdown_on_signal()
    })?;
    gantry_gateway::run(
        Options {
            http: Some(listen_http),
            https: Some(listen_https),
            status: Some(listen_status),
            data_dir: data,
            heartbeat: source.control_plane.clone(),
            source: follow(source)?,
            metrics_interval,
            series: count(series)?,
            instance_id: None,
            access_log,
            threads: (threads > 0).then_some(threads),
            fallback_server_name: None,
            clients: meet(clients),
            dns: dns_resolver,
            grace: Duration::from_secs(grace_seconds),
            upgrade,
            cache: Some(cache),
            on_bound: Some(Box::new(|bound| ready(Ready::default(), bound).print())),
        },
        shutdown,
    )?;
    Ok(())
}

/// The zones asked for, or those APISIX is shipped with.
fn zones(options: CacheZoneOptions, data: &Path) -> CacheOptions {
    let CacheZoneOptions { cache_zone: zones, cache_ttl: ttl } = options;
    match zones.is_empty() {
        true => CacheOptions { ttl, ..CacheOptions::shipped(data) },
        false => CacheOptions { zones, ttl },
    }
}

/// How series are kept for Prometheus.
fn count(options: SeriesFlags) -> Outcome<SeriesOptions> {
    let label = |text: &String| {
        let pair = text.split_once("=$").filter(|(_, variable)| !variable.is_empty());
        let (name, variable) = pair.ok_or("--prometheus-label has to be `name=$variable`")?;
        Ok((name.to_owned(), variable.to_owned()))
    };
    let expiry = Duration::from_secs(options.prometheus_expire_seconds);
    Ok(SeriesOptions {
        buckets: options.prometheus_buckets,
        extra_labels: options.prometheus_label.iter().map(label).collect::<Outcome<_>>()?,
        expiry: (!expiry.is_zero()).then_some(expiry),
        lines_max: Some(options.prometheus_lines_max),
    })
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

/// SIGHUP is how tools that rotate files ask for new ones; those are found without being told.
fn outlive_hangups() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move { while hangup.recv().await.is_some() {} });
    Ok(())
}

fn meet(options: ClientOptions) -> gantry_gateway::ClientOptions {
    gantry_gateway::ClientOptions {
        target_bytes: options.max_target_bytes,
        header_bytes: options.max_header_bytes,
        body_bytes: options.max_body_bytes,
        read_timeout: Duration::from_secs(options.read_timeout_seconds),
        send_timeout: Duration::from_secs(options.send_timeout_seconds),
        idle_timeout: Duration::from_secs(options.idle_timeout_seconds),
        h2c: options.h2c,
        proxy_protocol: options.proxy_protocol,
        https_port: options.https_port,
        trusted_addresses: options.trusted_addresses,
    }
}

fn follow(options: SourceOptions) -> Outcome<Source> {
    let SourceOptions {
        standalone,
        control_plane,
        etcd,
        prefix,
        tls_cert,
        tls_key,
        tls_ca,
        etcd_user,
        etcd_password,
    } = options;
    let endpoints = match (standalone, control_plane, etcd) {
        (Some(file), None, etcd) if etcd.is_empty() => return Ok(Source::File(file)),
        (None, Some(endpoint), etcd) if etcd.is_empty() => vec![endpoint],
        (None, None, etcd) if !etcd.is_empty() => etcd,
        _ => return Err("give one of --control-plane, --etcd and --standalone".into()),
    };
    Ok(Source::Etcd(Etcd {
        endpoints,
        prefix,
        tls: SourceTls {
            authority: tls_ca.as_deref().map(pem).transpose()?,
            identity: match (tls_cert, tls_key) {
                (Some(certificate), Some(key)) => Some((pem(&certificate)?, pem(&key)?)),
                (None, None) => None,
                _ => return Err("--tls-cert and --tls-key belong together".into()),
            },
            server_name: None,
        },
        login: etcd_user.map(|name| Login { name, password: etcd_password.unwrap_or_default() }),
    }))
}

fn pem(file: &Path) -> Outcome<String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()).into())
}
