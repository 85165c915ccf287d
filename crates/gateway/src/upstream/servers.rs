//! Who is asked for names: servers, after the hosts file. What the system's files say is read again when
//! they change.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use hickory_resolver::{
    Hosts, TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
        ResolverOpts,
    },
    lookup_ip::LookupIp,
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::parse_resolv_conf,
};

/// How long one try may take, so that another one fits into an answer.
const TRY: Duration = Duration::from_secs(2);

/// Time between two looks at the files, at least.
const PAUSE: Duration = Duration::from_secs(3);

/// Those of `resolv.conf` if there are no addresses.
pub struct Servers {
    addresses: Vec<SocketAddr>,
    files: Files,
    began: Instant,
    pause: Duration,
    /// When the files are looked at again, in milliseconds since `began`.
    due_ms: AtomicU64,
    current: ArcSwap<Current>,
}

struct Files {
    resolv: PathBuf,
    hosts: PathBuf,
}

/// What tells a file's versions apart: its time and its length, if it is there.
type Stamp = Option<(SystemTime, u64)>;

/// What the files say, once they have been read.
#[derive(Default)]
struct Current {
    /// Grows with every change.
    version: u64,
    stamps: [Stamp; 2],
    /// None until somebody asks.
    client: Option<TokioResolver>,
}

impl Default for Servers {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Servers {
    /// Asks these, or those of the system if there are none.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        let [resolv, hosts] = ["/etc/resolv.conf", "/etc/hosts"].map(PathBuf::from);
        Self {
            addresses,
            files: Files { resolv, hosts },
            began: Instant::now(),
            pause: PAUSE,
            due_ms: AtomicU64::new(0),
            current: ArcSwap::default(),
        }
    }

    /// Those of other files, looked at all the time.
    #[cfg(test)]
    pub fn reading([resolv, hosts]: [PathBuf; 2]) -> Self {
        let files = Files { resolv, hosts };
        Self { files, pause: Duration::ZERO, ..Self::default() }
    }

    /// The version of the files. Looks whether there is a new one if it is time for that.
    pub fn version(&self, now: Instant) -> u64 {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (passed, due) = (ms(now - self.began), self.due_ms.load(Ordering::Relaxed));
        if passed >= due {
            let next = passed.saturating_add(ms(self.pause));
            let mine =
                self.due_ms.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
            let current = self.current.load();
            if mine.is_ok() && current.client.is_some() && current.stamps != self.files.stamps() {
                self.read(&current);
            }
        }
        self.current.load().version
    }

    /// Asks for a name; the version of the files that say who is asked.
    pub fn lookup(
        &self,
        name: &str,
    ) -> (u64, impl Future<Output = Result<LookupIp, NetError>> + use<>) {
        let mut current = self.current.load_full();
        if current.client.is_none() {
            self.read(&current);
            current = self.current.load_full();
        }
        let (version, name) = (current.version, name.to_owned());
        (version, async move {
            match &current.client {
                Some(client) => client.lookup_ip(name).await,
                None => Err(io::Error::other("there is nobody to ask for names").into()),
            }
        })
    }

    /// Reads the files. Those that cannot be read are tried again next time.
    fn read(&self, before: &Current) {
        let stamps = self.files.stamps();
        match self.connect(before.client.is_none()) {
            Ok(client) => {
                let version = before.version + 1;
                let client = Some(client);
                self.current.store(Arc::new(Current { version, stamps, client }));
            }
            Err(error) => {
                tracing::error!(%error, "the files about names cannot be read: nothing changes");
            }
        }
    }

    /// The first time, having no servers is better than nothing.
    fn connect(&self, is_first: bool) -> Result<TokioResolver, NetError> {
        let (config, mut options) = match self.files.servers() {
            _ if !self.addresses.is_empty() => configured(&self.addresses),
            Ok(found) => found,
            Err(error) if is_first => {
                tracing::error!(%error, "there are no servers for names; only the hosts file has some");
                configured(&[])
            }
            Err(error) => return Err(error),
        };
        // IPv4 where there is a choice, as APISIX does.
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        // Answers are kept by who asks, with the addresses that outlive a failure.
        options.cache_size = 0;
        options.timeout = TRY;
        options.use_hosts_file = ResolveHosts::Never;
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        *builder.options_mut() = options;
        let mut client = builder.build()?;
        client.set_hosts(Arc::new(self.files.hosts()?));
        Ok(client)
    }
}

fn configured(servers: &[SocketAddr]) -> (ResolverConfig, ResolverOpts) {
    let server = |address: &SocketAddr| {
        let mut ways = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        ways.iter_mut().for_each(|way| way.port = address.port());
        NameServerConfig::new(address.ip(), true, ways.into())
    };
    let servers = servers.iter().map(server).collect();
    (ResolverConfig::from_parts(None, Vec::new(), servers), ResolverOpts::default())
}

impl Files {
    fn stamps(&self) -> [Stamp; 2] {
        [&self.resolv, &self.hosts].map(|path| {
            let found = fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len()))
        })
    }

    fn servers(&self) -> Result<(ResolverConfig, ResolverOpts), NetError> {
        parse_resolv_conf(fs::read(&self.resolv)?)
    }

    /// No file knows no names.
    fn hosts(&self) -> io::Result<Hosts> {
        let mut hosts = Hosts::default();
        match fs::File::open(&self.hosts) {
            Ok(file) => hosts.read_hosts_conf(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(hosts)
    }
}
