//! Every setting: a flag and an environment variable each, with defaults that run as they are.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gantry_app::alerting::AllowedNetworks;
use gantry_gateway::ZoneOptions;

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

#[derive(Args, Clone)]
pub struct ServerOptions {
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

/// What every gateway listens on.
#[derive(Args, Clone)]
pub struct ListenOptions {
    /// Address for plain HTTP traffic.
    #[arg(long, env = "GANTRY_LISTEN_HTTP", default_value = "0.0.0.0:9080")]
    pub listen_http: SocketAddr,
    /// Address for HTTPS traffic.
    #[arg(long, env = "GANTRY_LISTEN_HTTPS", default_value = "0.0.0.0:9443")]
    pub listen_https: SocketAddr,
    /// Address for status, readiness and metrics.
    #[arg(long, env = "GANTRY_LISTEN_STATUS", default_value = "127.0.0.1:9091")]
    pub listen_status: SocketAddr,
    /// Threads that carry traffic; 0 takes one for each core.
    #[arg(long, env = "GANTRY_THREADS", default_value_t = 0)]
    pub threads: usize,
}

/// How a gateway meets its clients.
#[derive(Args, Clone)]
pub struct ClientOptions {
    /// Speak HTTP/2 without TLS to clients that begin with it.
    #[arg(long, env = "GANTRY_H2C")]
    pub h2c: bool,
    /// Every connection begins with a header of the PROXY protocol, version 1 or 2.
    #[arg(long, env = "GANTRY_PROXY_PROTOCOL")]
    pub proxy_protocol: bool,
    /// Port that clients find HTTPS at, for redirects; without it the port of `--listen-https`.
    #[arg(long, env = "GANTRY_HTTPS_PORT")]
    pub https_port: Option<u16>,
    /// Addresses and networks, with commas, whose X-Forwarded headers are believed.
    #[arg(long, env = "GANTRY_TRUSTED_ADDRESSES", value_delimiter = ',')]
    pub trusted_addresses: Option<Vec<String>>,
    /// Longest request target; beyond it the answer is 414.
    #[arg(long, env = "GANTRY_MAX_TARGET_BYTES", default_value_t = 8 * 1024)]
    pub max_target_bytes: usize,
    /// Most bytes of all header fields together; beyond it the answer is 431.
    #[arg(long, env = "GANTRY_MAX_HEADER_BYTES", default_value_t = 32 * 1024)]
    pub max_header_bytes: usize,
    /// Longest request body, beyond it the answer is 413; without it there is no limit.
    #[arg(long, env = "GANTRY_MAX_BODY_BYTES")]
    pub max_body_bytes: Option<u64>,
    /// Seconds a client may keep silent within a request.
    #[arg(long, env = "GANTRY_READ_TIMEOUT_SECONDS", default_value_t = 60)]
    pub read_timeout_seconds: u64,
    /// Seconds a client may take nothing of its response.
    #[arg(long, env = "GANTRY_SEND_TIMEOUT_SECONDS", default_value_t = 60)]
    pub send_timeout_seconds: u64,
    /// Seconds a connection may be idle.
    #[arg(long, env = "GANTRY_IDLE_TIMEOUT_SECONDS", default_value_t = 60)]
    pub idle_timeout_seconds: u64,
}

#[derive(Args, Clone)]
pub struct GatewayOptions {
    /// File with settings (YAML): the names of flags with underscores. Flags stand above environment
    /// variables, these above the file.
    #[arg(long, env = "GANTRY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Folder for the gateway's identity and its last good configuration.
    #[arg(long, env = "GANTRY_DATA", default_value = "gantry-gateway-data")]
    pub data: PathBuf,
    #[command(flatten)]
    pub listen: ListenOptions,
    #[command(flatten)]
    pub source: SourceOptions,
    /// File for a line of JSON about each request; `-` is standard output.
    #[arg(long, env = "GANTRY_ACCESS_LOG")]
    pub access_log: Option<PathBuf>,
    #[command(flatten)]
    pub clients: ClientOptions,
    /// Seconds that requests under way may take after the gateway was asked to stop.
    #[arg(long, env = "GANTRY_GRACE_SECONDS", default_value_t = 30)]
    pub grace_seconds: u64,
    /// Take over from the gateway that runs on the same data folder, without refusing a request.
    #[arg(long)]
    pub upgrade: bool,
    #[command(flatten)]
    pub cache: CacheZoneOptions,
    #[command(flatten)]
    pub series: SeriesFlags,
    /// Milliseconds between reports of metrics, whatever the control plane says.
    #[arg(long, env = "GANTRY_METRICS_INTERVAL_MS", hide = true)]
    pub metrics_interval_ms: Option<u64>,
}

/// How the plugin prometheus counts; APISIX has these in `plugin_attr.prometheus`.
#[derive(Args, Clone)]
pub struct SeriesFlags {
    /// Upper ends of the buckets of latencies in milliseconds, ascending, with commas; without it
    /// APISIX's.
    #[arg(long, env = "GANTRY_PROMETHEUS_BUCKETS", value_delimiter = ',')]
    pub prometheus_buckets: Vec<f64>,
    /// One more label of every series, `name=$variable`; give it several times.
    #[arg(long, env = "GANTRY_PROMETHEUS_LABEL", value_delimiter = ',')]
    pub prometheus_label: Vec<String>,
    /// Seconds without requests after which series are forgotten; 0 keeps them while there is room.
    #[arg(long, env = "GANTRY_PROMETHEUS_EXPIRE_SECONDS", default_value_t = 0)]
    pub prometheus_expire_seconds: u64,
    /// Most lines of one metric; what would be more is summed over consumers, then routes, then services.
    #[arg(long, env = "GANTRY_PROMETHEUS_LINES_MAX", default_value_t = 20_000)]
    pub prometheus_lines_max: usize,
}

/// Where proxy-cache keeps responses.
#[derive(Args, Clone)]
pub struct CacheZoneOptions {
    /// A zone for proxy-cache, `name=50m` in memory or `name=1g:/directory` on disk; give it several
    /// times. Without any there are APISIX's: memory_cache and disk_cache_one.
    #[arg(long, env = "GANTRY_CACHE_ZONE", value_delimiter = ',', value_name = "ZONE")]
    pub cache_zone: Vec<ZoneOptions>,
    /// Seconds that responses in zones on disk are fresh, unless they say otherwise.
    #[arg(long, env = "GANTRY_CACHE_TTL", default_value_t = 10)]
    pub cache_ttl: u64,
}

/// Where the configuration comes from: a Gantry control plane, any etcd, or a file.
#[derive(Args, Clone)]
pub struct SourceOptions {
    /// Control plane to follow: https://host:7443
    #[arg(long, env = "GANTRY_CONTROL_PLANE")]
    pub control_plane: Option<String>,
    /// File to follow instead, in APISIX's standalone format (`apisix.yaml`).
    #[arg(long, env = "GANTRY_STANDALONE")]
    pub standalone: Option<PathBuf>,
    /// etcd to follow instead; several addresses with commas: http://127.0.0.1:2379
    #[arg(long, env = "GANTRY_ETCD", value_delimiter = ',')]
    pub etcd: Vec<String>,
    /// Key prefix in that etcd.
    #[arg(long, env = "GANTRY_PREFIX", default_value = "/apisix")]
    pub prefix: String,
    /// Client certificate (PEM file).
    #[arg(long, env = "GANTRY_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM file).
    #[arg(long, env = "GANTRY_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Certificate authority of the other side (PEM file).
    #[arg(long, env = "GANTRY_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// User name, where no client certificate is used.
    #[arg(long, env = "GANTRY_ETCD_USER")]
    pub etcd_user: Option<String>,
    /// Password or gateway token of that user.
    #[arg(long, env = "GANTRY_ETCD_PASSWORD", hide_env_values = true)]
    pub etcd_password: Option<String>,
}

#[derive(Args, Clone)]
pub struct DevOptions {
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
