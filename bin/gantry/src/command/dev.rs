//! `gantry dev`: control plane, gateway and a sample service in one process, with a working demo.

use std::path::Path;
use std::pin::pin;
use std::thread;
use std::time::Duration;

use gantry_app::gateway::{identify_certificate, issue_certificate};
use gantry_app::sample::{self, Sample};
use gantry_app::setup::{FirstStart, first_cluster, first_start};
use gantry_app::{App, Cx};
use gantry_gateway::{Bound, Etcd, Options, Source, SourceTls};
use gantry_model::Id;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::admin::write_bundle;
use super::server::{Server, bind, password};
use super::{Failure, Outcome, runtime};
use crate::lifecycle::shutdown_on_signal;
use crate::options::{DevOptions, ServerOptions};
use crate::ready::Ready;
use crate::{sample_service, telemetry};

/// Runs until a signal.
pub fn run(options: &DevOptions) -> Outcome {
    runtime()?.block_on(async {
        let shutdown = shutdown_on_signal()?;
        progress("sample service", options.listen_sample);
        let listener = bind(options.listen_sample).await?;
        let behind = listener.local_addr()?;
        let sample = tokio::spawn(sample_service::serve(listener, shutdown.clone()));

        progress("control plane", options.listen_api);
        // It stays until the gateway has said its last word, which counts what was not counted yet.
        let silence = CancellationToken::new();
        let server = Server::start(&server_options(options), silence.clone()).await?;
        let (email, behind) = (&options.control.owner.admin_email, behind.to_string());
        let first =
            first_start(&server.app, email, password(&options.control.owner), &behind).await?;
        let demo = sample::find(&server.app, &behind).await?;

        progress("gateway", options.listen_http);
        let (gateway, bound) = start_gateway(options, &server, shutdown.clone()).await?;
        say_hello(&server, bound, first.as_ref(), demo.as_ref());
        let line = Ready::default()
            .with("api", format!("http://{}", server.api))
            .with("dp", format!("https://{}", server.dp))
            .with("metrics", format!("http://{}", server.metrics));
        super::gateway::ready(line, bound).print();

        let mut serving = pin!(server.wait());
        let failed = tokio::select! {
            ended = &mut serving => Some(ended),
            () = shutdown.cancelled() => None,
        };
        shutdown.cancel();
        let gateway = tokio::task::spawn_blocking(move || gateway.join()).await?;
        let sample = sample.await?;
        silence.cancel();
        let served = match failed {
            Some(ended) => ended,
            None => serving.await,
        };
        sample?;
        gateway.map_err(|_| "the gateway's thread broke off")??;
        served
    })
}

fn server_options(options: &DevOptions) -> ServerOptions {
    ServerOptions {
        control: options.control.clone(),
        listen_api: options.listen_api,
        listen_dp: options.listen_dp,
        listen_metrics: options.listen_metrics,
        advertise_dp: None,
    }
}

type GatewayThread = thread::JoinHandle<Result<(), gantry_gateway::Error>>;

/// Starts the gateway on threads of its own and waits until it has its first configuration.
async fn start_gateway(
    options: &DevOptions,
    server: &Server,
    shutdown: CancellationToken,
) -> Outcome<(GatewayThread, Bound)> {
    let folder = options.control.store.data.join("gateway");
    let tls = identity(&server.app, &folder).await?;
    let endpoint = format!("https://{}", server.dp);
    let (sender, bound) = oneshot::channel();
    let settings = Options {
        http: Some(options.listen_http),
        https: Some(options.listen_https),
        status: Some(options.listen_status),
        data_dir: folder,
        heartbeat: Some(endpoint.clone()),
        source: Source::Etcd(Etcd {
            endpoints: vec![endpoint],
            prefix: "/apisix".into(),
            tls,
            login: None,
        }),
        access_log: None,
        metrics_interval: None,
        series: gantry_gateway::SeriesOptions::default(),
        instance_id: None,
        threads: None,
        fallback_server_name: None,
        clients: gantry_gateway::ClientOptions::default(),
        grace: Duration::from_secs(3),
        dns: Vec::new(),
        upgrade: false,
        cache: None,
        // The receiver waits below, or nobody cares any more.
        on_bound: Some(Box::new(move |bound| {
            let _ = sender.send(bound);
        })),
    };
    let gateway = thread::Builder::new()
        .name("gateway".into())
        .spawn(move || gantry_gateway::run(settings, shutdown))?;
    let Ok(bound) = bound.await else {
        let why = gateway.join().map_err(|_| "the gateway's thread broke off")?;
        return Err(why.err().map_or_else(|| "the gateway did not start".into(), Failure::from));
    };
    applied(&server.app).await?;
    Ok((gateway, bound))
}

/// The gateway's client certificate: the one of the last start while it is good, else a new one.
async fn identity(app: &App, folder: &Path) -> Outcome<SourceTls> {
    if let Some(kept) = kept_identity(app, folder).await {
        return Ok(kept);
    }
    let cluster = first_cluster(app).await?;
    let bundle = issue_certificate(&Cx::system(app, "devStart"), cluster).await?;
    write_bundle(folder, &bundle)?;
    Ok(SourceTls {
        authority: Some(bundle.ca_certificate),
        identity: Some((bundle.certificate, bundle.private_key)),
        server_name: None,
    })
}

async fn kept_identity(app: &App, folder: &Path) -> Option<SourceTls> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let (certificate, key, authority) = (read("tls.crt")?, read("tls.key")?, read("ca.crt")?);
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
    identify_certificate(app, &der).await.ok()?;
    Some(SourceTls {
        authority: Some(authority),
        identity: Some((certificate, key)),
        server_name: None,
    })
}

/// Waits until the gateway reports that it runs the newest revision.
async fn applied(app: &App) -> Outcome {
    let cluster: Id = first_cluster(app).await?;
    let cx = Cx::system(app, "devStart");
    let limit = tokio::time::Instant::now() + Duration::from_secs(15);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        let newest = gantry_app::cluster::get(&cx, cluster).await?.config_version;
        let instances = gantry_app::instance::list(&cx, cluster).await?.list;
        if instances.iter().any(|instance| instance.report.config_version >= newest) {
            return Ok(());
        }
        if tokio::time::Instant::now() > limit {
            tracing::warn!("the gateway has not reported the newest revision yet");
            return Ok(());
        }
    }
}

fn progress(what: &str, address: std::net::SocketAddr) {
    eprintln!("starting {what:<15} {address}");
}

fn say_hello(server: &Server, bound: Bound, first: Option<&FirstStart>, demo: Option<&Sample>) {
    use std::io::IsTerminal as _;

    let bold = |text: &str| {
        if telemetry::colours(std::io::stdout().is_terminal()) {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    println!("\n{}\n", bold("Gantry is running."));
    println!("  management API   http://{}/api/v1", server.api);
    println!("  for gateways     https://{}", server.dp);
    println!("  own metrics      http://{}/metrics", server.metrics);
    for (name, scheme, address) in [
        ("gateway", "http", bound.http),
        ("gateway", "https", bound.https),
        ("gateway status", "http", bound.status),
    ] {
        if let Some(address) = address {
            println!("  {name:<16} {scheme}://{address}");
        }
    }
    if let Some(first) = first {
        println!("\n{}\n", bold("Your account (shown only now)"));
        println!("  e-mail           {}", first.email);
        if let Some(password) = &first.password {
            println!("  password         {}   (one-time password)", password.expose());
        }
        println!("  access token     {}", first.access_token.expose());
    }
    if let (Some(demo), Some(http)) = (demo, bound.http) {
        println!("\n{}\n", bold("Try it: 200, 401 without a key, 200 with the key"));
        println!("  curl http://{http}{}", demo.open_path);
        println!("  curl http://{http}{}", demo.protected_path);
        println!("  curl http://{http}{} -H 'apikey: {}'", demo.protected_path, demo.key.expose());
    }
    println!("\nCtrl-C stops it; the data stays.\n");
}
