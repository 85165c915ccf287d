//! The settings of a gateway.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use gantry_gateway::ZoneOptions;

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
    /// Servers to ask for the names of nodes, with commas, such as 10.0.0.2:53; without it those of the
    /// system.
    #[arg(long, env = "GANTRY_DNS_RESOLVER", value_delimiter = ',')]
    pub dns_resolver: Vec<SocketAddr>,
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
