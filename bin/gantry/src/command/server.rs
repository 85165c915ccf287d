//! `gantry server`: the control plane behind its two ports.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use gantry_app::billing::{Plans, StripeOptions};
use gantry_app::compat::GoSdk;
use gantry_app::mail::{Smtp, SmtpTls};
use gantry_app::metrics::RemoteOptions;
use gantry_app::{App, Clock, Config};
use gantry_app::{oidc, setup};
use gantry_model::Secret;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Failure, Outcome, runtime};
use crate::lifecycle::shutdown_on_signal;
use crate::options::{
    AlertOptions, BillingOptions, GoSdkMode, MetricsOptions, OidcOptions, OwnerOptions,
    ServerOptions, SiteOptions, SmtpTlsMode, StoreOptions,
};
use crate::ready::Ready;

/// Runs until a signal.
pub fn run(options: &ServerOptions) -> Outcome {
    runtime()?.block_on(async {
        let shutdown = shutdown_on_signal()?;
        let server = Server::start(options, shutdown).await?;
        if let Some(first) = setup::first_owner(
            &server.app,
            &options.control.owner.admin_email,
            password(&options.control.owner),
        )
        .await?
        {
            println!("owner       {}", first.email);
            if let Some(password) = first.password {
                println!("password    {}   (one-time password, shown only now)", password.expose());
            }
        }
        Ready::default()
            .with("api", format!("http://{}", server.api))
            .with("dp", format!("https://{}", server.dp))
            .with("metrics", format!("http://{}", server.metrics))
            .print();
        server.wait().await
    })
}

/// A control plane whose ports are open.
pub struct Server {
    pub app: App,
    pub api: SocketAddr,
    pub dp: SocketAddr,
    pub metrics: SocketAddr,
    tasks: JoinSet<Outcome>,
    shutdown: CancellationToken,
}

impl Server {
    /// Opens the store, binds all ports and serves until `shutdown`.
    pub async fn start(options: &ServerOptions, shutdown: CancellationToken) -> Outcome<Self> {
        let api = bind(options.listen_api).await?;
        let dp = std::net::TcpListener::bind(options.listen_dp)
            .map_err(|error| format!("cannot listen on {}: {error}", options.listen_dp))?;
        let metrics = bind(options.listen_metrics).await?;
        let (api_address, dp_address) = (api.local_addr()?, dp.local_addr()?);
        let metrics_address = metrics.local_addr()?;
        let mut config = config(&options.control.store);
        config.public_url = options.control.site.public_url.clone();
        config.smtp = smtp(&options.control.site);
        config.compat_go_sdk = match options.control.site.compat_go_sdk {
            GoSdkMode::Auto => GoSdk::Auto,
            GoSdkMode::On => GoSdk::On,
            GoSdkMode::Off => GoSdk::Off,
        };
        bill(&mut config, &options.control.billing)?;
        config.oidc = oidc(&options.control.site.oidc);
        config.gateway_endpoint =
            options.advertise_dp.clone().unwrap_or_else(|| reachable(dp_address).to_string());
        keep(&mut config, &options.control.metrics)?;
        config.alerting = alerting(&options.control.alerts);
        let app = App::open(config).await?;

        let mut tasks = JoinSet::new();
        let router = gantry_rest::router(app.clone());
        for (listener, router) in
            [(api, router), (metrics, gantry_rest::operator_router(app.clone()))]
        {
            let router = router.into_make_service_with_connect_info::<SocketAddr>();
            let serving = axum::serve(listener, router)
                .with_graceful_shutdown(shutdown.clone().cancelled_owned());
            tasks.spawn(async { serving.into_future().await.map_err(Failure::from) });
        }
        let doors = gantry_etcd::serve(
            dp,
            app.clone(),
            gantry_rest::dp_router(app.clone()),
            shutdown.clone(),
        );
        tasks.spawn(async { doors.await.map_err(Failure::from) });
        tasks.spawn(dismiss_at_end(app.clone(), shutdown.clone()));
        let housekeeping = gantry_app::housekeeping::run(app.clone(), shutdown.clone());
        tasks.spawn(async {
            housekeeping.await;
            Ok(())
        });
        let keeping = gantry_app::metrics::keep(app.clone(), shutdown.clone());
        tasks.spawn(async {
            keeping.await;
            Ok(())
        });
        let alerts = gantry_app::alerting::run(app.clone(), shutdown.clone());
        tasks.spawn(async {
            alerts.await;
            Ok(())
        });
        let metrics = metrics_address;
        Ok(Self { app, api: api_address, dp: dp_address, metrics, tasks, shutdown })
    }

    /// Until everything has stopped; a part that fails stops the others.
    pub async fn wait(mut self) -> Outcome {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            self.shutdown.cancel();
            outcome = outcome.and(ended.map_err(Failure::from).and_then(|ended| ended));
        }
        self.app.close().await;
        outcome
    }
}

/// Answers at the end those who wait for gateways, so that nobody waits for them.
async fn dismiss_at_end(app: App, shutdown: CancellationToken) -> Outcome {
    shutdown.cancelled().await;
    app.dismiss_waiting();
    Ok(())
}

/// Binds a port with an error that names it.
pub async fn bind(address: SocketAddr) -> Outcome<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen on {address}: {error}").into())
}

/// How the options say to open the store.
pub fn config(store: &StoreOptions) -> Config {
    let StoreOptions { data, database, master_key } = store.clone();
    let mut config = Config::new(data);
    config.database = database;
    config.master_key = master_key.map(Secret::new);
    config.clock = Clock::system();
    config
}

/// How alerts are evaluated and sent.
fn alerting(options: &AlertOptions) -> gantry_app::alerting::Options {
    let AlertOptions { webhook_allow_networks, alert_interval_ms } = options.clone();
    gantry_app::alerting::Options {
        allowed_networks: webhook_allow_networks,
        interval: alert_interval_ms.map(Duration::from_millis),
        patience: None,
    }
}

/// Takes over who pays for what.
fn bill(config: &mut Config, billing: &BillingOptions) -> Outcome {
    if let Some(file) = &billing.plans {
        config.plans = Plans::read(file)?;
    }
    config.stripe = billing
        .stripe_key
        .clone()
        .map(|key| StripeOptions { url: billing.stripe_url.clone(), secret_key: Secret::new(key) });
    Ok(())
}

/// Takes over how much of metrics is kept, and where else they go.
fn keep(config: &mut Config, options: &MetricsOptions) -> Outcome {
    let days = |days: u16| i64::from(days) * 24 * 3_600_000;
    let kept = options.metrics_days.max(options.metrics_coarse_days);
    config.metrics.full_ms = days(options.metrics_days);
    config.metrics.retention_ms = days(kept);
    config.metrics.disk_bytes_max = u64::from(options.metrics_megabytes) << 20;
    config.metrics_remote = RemoteOptions {
        write: options.metrics_remote_write.clone(),
        query: options.metrics_query.clone(),
        headers: headers(&options.metrics_header, options.metrics_headers_file.as_deref())?,
    };
    Ok(())
}

/// Headers from flags and from a file, where empty lines and those that begin with `#` are none.
fn headers(flags: &[String], file: Option<&Path>) -> Outcome<Vec<(String, Secret)>> {
    let read = |file: &Path| {
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
    };
    let text = file.map(read).transpose()?.unwrap_or_default();
    let lines = flags.iter().map(String::as_str).chain(text.lines()).map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let header = |line: &str| {
        let (name, value) = line.split_once(':').ok_or("a header has to be `Name: value`")?;
        Ok((name.trim().to_owned(), Secret::new(value.trim())))
    };
    lines.map(header).collect()
}

/// The mail server, if one is named.
fn smtp(site: &SiteOptions) -> Option<Smtp> {
    let site = site.clone();
    let (tls, usual_port) = match site.smtp_tls {
        SmtpTlsMode::None => (SmtpTls::None, 25),
        SmtpTlsMode::Starttls => (SmtpTls::StartTls, 587),
        SmtpTlsMode::Implicit => (SmtpTls::Implicit, 465),
    };
    Some(Smtp {
        host: site.smtp_host?,
        port: site.smtp_port.unwrap_or(usual_port),
        login: site.smtp_user.zip(site.smtp_password.map(Secret::new)),
        from: site.smtp_from?,
        tls,
    })
}

/// The identity provider, if one is named.
fn oidc(options: &OidcOptions) -> Option<oidc::Settings> {
    let OidcOptions {
        oidc_issuer,
        oidc_client_id,
        oidc_client_secret,
        oidc_scopes,
        oidc_allowed_domains,
        oidc_allow_signup,
    } = options.clone();
    Some(oidc::Settings {
        issuer: oidc_issuer?,
        client_id: oidc_client_id?,
        client_secret: oidc_client_secret.map(Secret::new),
        scopes: oidc_scopes,
        allow_signup: oidc_allow_signup.unwrap_or(!oidc_allowed_domains.is_empty()),
        allowed_domains: oidc_allowed_domains,
    })
}

/// The password that was chosen for the first owner, if one was.
pub fn password(owner: &OwnerOptions) -> Option<Secret> {
    owner.admin_password.clone().map(Secret::new)
}

/// An address that others can connect to: "any address" becomes this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    }
}
