//! Every setting: a flag and an environment variable each, with defaults that run as they are.

mod gateway;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gantry_app::alerting::AllowedNetworks;

pub use gateway::{
    CacheZoneOptions, ClientOptions, GatewayOptions, ListenOptions, SeriesFlags, SourceOptions,
};

/// API management that a team hosts itself.
#[derive(Parser)]
#[command(name = "gantry", version, about, max_term_width = 100)]
pub struct Options {
    #[command(flatten)]
    pub log: LogOptions,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct LogOptions {
    /// What is logged, such as `info` or `warn,gantry_app=debug`.
    #[arg(long, env = "GANTRY_LOG", default_value = "info,pingora_proxy=off", global = true)]
    pub log: String,
    /// Write the log as JSON, one object a line.
    #[arg(long, env = "GANTRY_LOG_JSON", global = true)]
    pub log_json: bool,
    #[command(flatten)]
    pub traces: TraceOptions,
}

/// Where the control plane's traces go (OpenTelemetry, OTLP over HTTP).
#[derive(Args)]
pub struct TraceOptions {
    /// Collector that gets a trace of each request, such as http://127.0.0.1:4318; without it there
    /// are none.
    #[arg(long, env = "GANTRY_OTLP_ENDPOINT", global = true)]
    pub otlp_endpoint: Option<String>,
    /// Header for the collector, `Name: value`; give it several times (lines in the variable).
    #[arg(
        long,
        env = "GANTRY_OTLP_HEADER",
        hide_env_values = true,
        value_delimiter = '\n',
        global = true
    )]
    pub otlp_header: Vec<String>,
    /// Share of requests that are traced, 0 to 1, unless the client has decided.
    #[arg(long, env = "GANTRY_OTLP_RATIO", default_value_t = 1.0, global = true)]
    pub otlp_ratio: f64,
}

#[derive(Subcommand)]
pub enum Command {
    /// Run the control plane.
    Server(ServerOptions),
    /// Run a gateway.
    Gateway(GatewayOptions),
    /// Run control plane, gateway and a sample service together, with a working demo.
    Dev(DevOptions),
    /// Recover access, directly on the data directory or database.
    Admin(AdminOptions),
}

/// Where the control plane keeps what it knows.
#[derive(Args, Clone)]
pub struct StoreOptions {
    /// Folder for the database, keys and caches.
    #[arg(long, env = "GANTRY_DATA", default_value = "gantry-data")]
    pub data: PathBuf,
    /// PostgreSQL to use instead of SQLite: postgres://user:password@host/name
    #[arg(long, env = "GANTRY_DATABASE", hide_env_values = true)]
    pub database: Option<String>,
    /// Key that seals secrets at rest, 32 bytes in base64; without it `<data>/master.key` is made.
    #[arg(long, env = "GANTRY_MASTER_KEY", hide_env_values = true)]
    pub master_key: Option<String>,
}

/// How much of what gateways count is kept, in `<data>/metrics`, and where else it goes.
#[derive(Args, Clone)]
pub struct MetricsOptions {
    /// Days for which every sample of metrics is kept.
    #[arg(long, env = "GANTRY_METRICS_DAYS", default_value_t = 15)]
    pub metrics_days: u16,
    /// Days for which metrics are kept at all; after `--metrics-days`, one sample in five minutes.
    #[arg(long, env = "GANTRY_METRICS_COARSE_DAYS", default_value_t = 395)]
    pub metrics_coarse_days: u16,
    /// Megabytes on disk beyond which the oldest metrics go before that.
    #[arg(long, env = "GANTRY_METRICS_MEGABYTES", default_value_t = 4096)]
    pub metrics_megabytes: u32,
    /// Send metrics to this server too (Prometheus remote write), such as
    /// https://prometheus.example.com/api/v1/write
    #[arg(long, env = "GANTRY_METRICS_REMOTE_WRITE", hide_env_values = true)]
    pub metrics_remote_write: Option<String>,
    /// Answer queries from this server that speaks PromQL, instead of the own files; the base of its
    /// API, such as https://prometheus.example.com
    #[arg(long, env = "GANTRY_METRICS_QUERY", hide_env_values = true)]
    pub metrics_query: Option<String>,
    /// Header for both servers, `Name: value`; give it several times (lines in the variable).
    #[arg(long, env = "GANTRY_METRICS_HEADER", hide_env_values = true, value_delimiter = '\n')]
    pub metrics_header: Vec<String>,
    /// File with such headers, one a line.
    #[arg(long, env = "GANTRY_METRICS_HEADERS_FILE")]
    pub metrics_headers_file: Option<PathBuf>,
}

/// The first owner; used once, when there is none.
#[derive(Args, Clone)]
pub struct OwnerOptions {
    /// E-mail address of the first owner.
    #[arg(long, env = "GANTRY_ADMIN_EMAIL", default_value = "admin@localhost.localdomain")]
    pub admin_email: String,
    /// Password of the first owner; without it one is made and printed once.
    #[arg(long, env = "GANTRY_ADMIN_PASSWORD", hide_env_values = true)]
    pub admin_password: Option<String>,
}

/// What organizations may use, and who takes the money.
#[derive(Args, Clone)]
pub struct BillingOptions {
    /// File with the plans of organizations (YAML or JSON); without it there is one without limits.
    #[arg(long, env = "GANTRY_PLANS")]
    pub plans: Option<PathBuf>,
    /// Secret key of a Stripe account that takes the money; without it usage is only counted.
    #[arg(long, env = "GANTRY_STRIPE_KEY", hide_env_values = true)]
    pub stripe_key: Option<String>,
    /// Base of Stripe's API.
    #[arg(long, env = "GANTRY_STRIPE_URL", default_value = "https://api.stripe.com")]
    pub stripe_url: String,
}

/// How alerts are sent.
#[derive(Args, Clone)]
pub struct AlertOptions {
    /// Addresses and networks, with commas, that webhooks may lead to although they are not public,
    /// such as 10.0.0.0/8; loopback, private, link-local and metadata addresses are refused else.
    #[arg(
        long,
        env = "GANTRY_WEBHOOK_ALLOW_NETWORKS",
        default_value = "",
        hide_default_value = true
    )]
    pub webhook_allow_networks: AllowedNetworks,
    /// Milliseconds between the checks of every alert policy, whatever it says itself.
    #[arg(long, env = "GANTRY_ALERT_INTERVAL_MS", hide = true)]
    pub alert_interval_ms: Option<u64>,
}

/// How people reach this installation and are reached by it.
#[derive(Args, Clone)]
pub struct SiteOptions {
    /// Base of the links that people get, such as https://gantry.example.com
    #[arg(long, env = "GANTRY_PUBLIC_URL", default_value = "http://localhost:7080")]
    pub public_url: String,
    /// Host of the mail server; without it no mail is sent and links are shown or logged instead.
    #[arg(long, env = "GANTRY_SMTP_HOST", requires = "smtp_from")]
    pub smtp_host: Option<String>,
    /// Port of the mail server; without it 25, 587 or 465, as `--smtp-tls` says.
    #[arg(long, env = "GANTRY_SMTP_PORT")]
    pub smtp_port: Option<u16>,
    /// User name for the mail server, if it asks for one.
    #[arg(long, env = "GANTRY_SMTP_USER", requires = "smtp_password")]
    pub smtp_user: Option<String>,
    /// Password of that user.
    #[arg(long, env = "GANTRY_SMTP_PASSWORD", hide_env_values = true, requires = "smtp_user")]
    pub smtp_password: Option<String>,
    /// Sender of mails: gantry@example.com or "Gantry <gantry@example.com>".
    #[arg(long, env = "GANTRY_SMTP_FROM")]
    pub smtp_from: Option<String>,
    /// How the connection to the mail server is protected.
    #[arg(long, env = "GANTRY_SMTP_TLS", value_enum, default_value = "starttls")]
    pub smtp_tls: SmtpTlsMode,
    /// Who gets answers in the form of the public Go SDK, where it differs from the reference; auto
    /// goes by the client's name.
    #[arg(long, env = "GANTRY_COMPAT_GO_SDK", value_enum, default_value = "auto")]
    pub compat_go_sdk: GoSdkMode,
    #[command(flatten)]
    pub oidc: OidcOptions,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum GoSdkMode {
    Auto,
    On,
    Off,
}

/// The identity provider that people may sign in with (OpenID Connect).
#[derive(Args, Clone)]
pub struct OidcOptions {
    /// Issuer, exactly as the provider spells it, such as https://accounts.example.com
    #[arg(long, env = "GANTRY_OIDC_ISSUER", requires = "oidc_client_id")]
    pub oidc_issuer: Option<String>,
    /// Our name at the provider; `<public-url>/api/v1/user/callback` is the redirect URI there.
    #[arg(long, env = "GANTRY_OIDC_CLIENT_ID")]
    pub oidc_client_id: Option<String>,
    /// Our secret at the provider; without it we are a public client.
    #[arg(long, env = "GANTRY_OIDC_CLIENT_SECRET", hide_env_values = true)]
    pub oidc_client_secret: Option<String>,
    /// What to ask the provider for, with commas.
    #[arg(
        long,
        env = "GANTRY_OIDC_SCOPES",
        value_delimiter = ',',
        default_value = "openid,email,profile"
    )]
    pub oidc_scopes: Vec<String>,
    /// Only addresses in these domains get an account; several with commas.
    #[arg(long, env = "GANTRY_OIDC_ALLOWED_DOMAINS", value_delimiter = ',')]
    pub oidc_allowed_domains: Vec<String>,
    /// Whether people who come from the provider get an account without an invitation; without it,
    /// they do if `--oidc-allowed-domains` is given.
    #[arg(long, env = "GANTRY_OIDC_ALLOW_SIGNUP", num_args = 0..=1, default_missing_value = "true")]
    pub oidc_allow_signup: Option<bool>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum SmtpTlsMode {
    /// Not at all.
    None,
    /// Plain at first, TLS before anything is said.
    Starttls,
    /// TLS from the first byte.
    Implicit,
}

/// What a control plane does, whatever it listens on.
#[derive(Args, Clone)]
pub struct ControlOptions {
    #[command(flatten)]
    pub store: StoreOptions,
    #[command(flatten)]
    pub owner: OwnerOptions,
    #[command(flatten)]
    pub site: SiteOptions,
    #[command(flatten)]
    pub billing: BillingOptions,
    #[command(flatten)]
    pub metrics: MetricsOptions,
    #[command(flatten)]
    pub alerts: AlertOptions,
}

#[derive(Args, Clone)]
pub struct ServerOptions {
    #[command(flatten)]
    pub control: ControlOptions,
    /// Address of the management API.
    #[arg(long, env = "GANTRY_LISTEN_API", default_value = "0.0.0.0:7080")]
    pub listen_api: SocketAddr,
    /// Address that gateways connect to (mutual TLS).
    #[arg(long, env = "GANTRY_LISTEN_DP", default_value = "0.0.0.0:7443")]
    pub listen_dp: SocketAddr,
    /// Address of this server's own metrics and probes. Whoever reaches it reads them.
    #[arg(long, env = "GANTRY_LISTEN_METRICS", default_value = "127.0.0.1:7081")]
    pub listen_metrics: SocketAddr,
    /// Host and port under which gateways reach `--listen-dp`, such as gantry.example.com:7443.
    #[arg(long, env = "GANTRY_ADVERTISE_DP")]
    pub advertise_dp: Option<String>,
}

#[derive(Args, Clone)]
pub struct DevOptions {
    #[command(flatten)]
    pub control: ControlOptions,
    /// Address of the management API.
    #[arg(long, env = "GANTRY_LISTEN_API", default_value = "127.0.0.1:7080")]
    pub listen_api: SocketAddr,
    /// Address that gateways connect to (mutual TLS).
    #[arg(long, env = "GANTRY_LISTEN_DP", default_value = "127.0.0.1:7443")]
    pub listen_dp: SocketAddr,
    /// Address of the control plane's own metrics and probes.
    #[arg(long, env = "GANTRY_LISTEN_METRICS", default_value = "127.0.0.1:7081")]
    pub listen_metrics: SocketAddr,
    /// Address for plain HTTP traffic.
    #[arg(long, env = "GANTRY_LISTEN_HTTP", default_value = "127.0.0.1:9080")]
    pub listen_http: SocketAddr,
    /// Address for HTTPS traffic.
    #[arg(long, env = "GANTRY_LISTEN_HTTPS", default_value = "127.0.0.1:9443")]
    pub listen_https: SocketAddr,
    /// Address for status, readiness and metrics of the gateway.
    #[arg(long, env = "GANTRY_LISTEN_STATUS", default_value = "127.0.0.1:9091")]
    pub listen_status: SocketAddr,
    /// Address of the sample service that the demo application forwards to.
    #[arg(long, env = "GANTRY_LISTEN_SAMPLE", default_value = "127.0.0.1:7070")]
    pub listen_sample: SocketAddr,
}

#[derive(Args)]
pub struct AdminOptions {
    #[command(flatten)]
    pub store: StoreOptions,
    #[command(subcommand)]
    pub action: AdminAction,
}

#[derive(Subcommand)]
pub enum AdminAction {
    /// Print a new access token of a user.
    CreateToken {
        /// Whose token.
        #[arg(long)]
        email: String,
        /// End of validity: days from now (`30d`), hours (`12h`), or `never`.
        #[arg(long, default_value = "30d")]
        expire: String,
        /// What the token is for.
        #[arg(long, default_value = "made by gantry admin")]
        notes: String,
    },
    /// Give a user a new password and end all of their sessions.
    ResetPassword {
        /// Whose password.
        #[arg(long)]
        email: String,
        /// The new password; without it one is made and printed.
        #[arg(long, env = "GANTRY_NEW_PASSWORD", hide_env_values = true)]
        password: Option<String>,
    },
    /// Write a new client certificate for gateways of a cluster into a folder.
    IssueCertificate {
        /// Id of the cluster.
        #[arg(long)]
        cluster: String,
        /// Folder for tls.crt, tls.key and ca.crt.
        #[arg(long)]
        out: PathBuf,
    },
    /// Print the name and password of a new gateway user, for gateways that cannot show a certificate.
    IssueGatewayUser {
        /// Id of the cluster.
        #[arg(long)]
        cluster: String,
    },
    /// Refuse a gateway's client certificate from now on.
    RevokeCertificate {
        /// Id of the cluster.
        #[arg(long)]
        cluster: String,
        /// Serial number, in hex as in the certificate.
        #[arg(long)]
        serial: String,
    },
    /// Check that nobody has edited the audit.
    VerifyAudit,
    /// Seal everything under a new master key. Stop all servers first.
    RotateMasterKey {
        /// The new key, 32 bytes in base64; without it one is made.
        #[arg(long, env = "GANTRY_NEW_MASTER_KEY", hide_env_values = true)]
        new_key: Option<String>,
    },
}
