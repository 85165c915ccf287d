//! Starting and stopping: binds the listeners, loads what the disk has, starts the threads.
//!
//! Every serving thread has its own runtime and its own pool of upstream connections, so that
//! requests never wait for another thread.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cache::{Cache, Saved},
    configuration::Configuration,
    handover,
    heartbeat::Heartbeat,
    listen::{self, Port},
    machine,
    metrics::{Orders, Reports},
    monitor::Monitor,
    options::{Bound, Options},
    plugin::{Background, Shared, metrics::Metrics},
    proxy::Clients,
    sockets::Sockets,
    state::State,
    sync::{self, Change, Doubts, Source, SourceTls, Update},
    tls::Doorkeeper,
    upstream::{Resolver, Upstreams},
    worker::{Worker, end, shutdown_watch},
    zone::{CacheOptions, Zones},
};

/// Why a gateway could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("the data directory {path}: {error}")]
    Data { path: String, error: io::Error },
    #[error("the client for heartbeats: {0}")]
    Client(#[from] reqwest::Error),
    #[error("the settings for clients: {0}")]
    Clients(String),
    #[error("the settings for metrics: {0}")]
    Metrics(String),
    #[error("there is no gateway to take over from: {0}")]
    Upgrade(io::Error),
    #[error("no configuration was loaded in time")]
    NotReady,
    #[error("the gateway's certificate: {0}")]
    Certificate(String),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a thread of the gateway broke off")]
    Thread,
}

/// What requests leave to be logged gets this long after them.
const FLUSH: Duration = Duration::from_secs(5);
/// What reports and saves gets this long after the shutdown was asked for.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// A successor that has no configuration after this time gives up.
const READY: Duration = Duration::from_secs(60);
/// Updates that may wait to be applied; the source is slowed down beyond.
const UPDATES: usize = 64;

/// Runs a gateway until `shutdown`. Blocks; uses threads of its own, also inside a process that has
/// a runtime.
pub fn run(mut options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    // An error means that the process has chosen its provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (sockets, predecessor) = Sockets::open(&options)?;
    let bound = sockets.bound()?;
    let background = runtime()?;
    let https_port = options.clients.https_port.or(bound.https.map(|address| address.port()));
    let zones = zones(&options)?;
    let access_log = options.access_log.as_deref();
    options.series.check().map_err(Error::Metrics)?;
    let resolver = Resolver::new(std::mem::take(&mut options.dns));
    let shared = Shared {
        https_port,
        background: Background::new(background.handle().clone()),
        zones,
        metrics: Metrics::new(std::mem::take(&mut options.series)),
        upstreams: Upstreams { resolver, ..Upstreams::default() },
        ..Shared::default()
    };
    let state = Arc::new(State::new(shared, access_log));
    // What the disk has is in force before the first connection is accepted.
    let disk = Disk::load(&options, &state)?;
    let clients = Arc::new(Clients::compile(&options.clients).map_err(Error::Clients)?);
    let on_bound = options.on_bound.take();
    let grace = options.grace;
    let relieved = CancellationToken::new();
    let threads = options.threads.or_else(|| thread::available_parallelism().ok().map(usize::from));
    let door = Arc::new(Doorkeeper {
        state: Arc::clone(&state),
        fallback_name: options.fallback_server_name.clone(),
    });
    let mut workers = Vec::new();
    for number in 0..threads.unwrap_or(1).max(1) {
        let worker = Worker {
            http: sockets.http.as_ref().map(TcpListener::try_clone).transpose()?,
            https: sockets.https.as_ref().map(TcpListener::try_clone).transpose()?,
            state: Arc::clone(&state),
            door: Arc::clone(&door),
            clients: Arc::clone(&clients),
            shutdown: shutdown.clone(),
            relieved: relieved.clone(),
            grace,
        };
        workers.push((format!("gateway-{number}"), worker));
    }
    let quiet = CancellationToken::new();
    let keeper = thread::Builder::new().name("gateway-control".to_owned()).spawn({
        let endings = Endings { shutdown: shutdown.clone(), relieved, quiet: quiet.clone() };
        let state = Arc::clone(&state);
        move || control(background, options, sockets, &state, disk, &endings)
    })?;
    // Whatever fails from here on ends everything.
    let stopped = shutdown.clone();
    let _ending = (shutdown.drop_guard(), quiet.clone().drop_guard());
    if predecessor.is_some() {
        wait_until_ready(&state, &stopped)?;
    }
    let spawn = |(name, worker): (String, Worker)| {
        thread::Builder::new().name(name).spawn(move || worker.run())
    };
    let workers = workers.into_iter().map(spawn).collect::<Result<Vec<_>, _>>()?;
    if let Some(predecessor) = predecessor {
        handover::dismiss(predecessor)?;
    }
    if let Some(on_bound) = on_bound {
        on_bound(bound);
    }
    let mut outcome = Ok(());
    for worker in workers {
        let ended = worker.join().map_err(|_| Error::Thread).flatten();
        outcome = outcome.and(ended);
    }
    quiet.cancel();
    keeper.join().map_err(|_| Error::Thread).flatten().and(outcome)
}

/// The two moments of a gateway's end.
struct Endings {
    /// Nothing new is to begin.
    shutdown: CancellationToken,
    /// A successor serves; cancelled before `shutdown`.
    relieved: CancellationToken,
    /// Nothing happens any more.
    quiet: CancellationToken,
}

/// Opens the zones for responses; those APISIX is shipped with if nothing is configured.
fn zones(options: &Options) -> Result<Zones, Error> {
    let shipped = || CacheOptions::shipped(&options.data_dir);
    let cache = options.cache.clone().unwrap_or_else(shipped);
    Zones::open(&cache).map_err(|error| {
        let path = options.data_dir.display().to_string();
        Error::Data { path, error }
    })
}

/// The runtime of one thread.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Waits until there is a configuration to serve.
fn wait_until_ready(state: &State, shutdown: &CancellationToken) -> Result<(), Error> {
    let mut applied = state.status.watch();
    runtime()?.block_on(async {
        tokio::select! {
            ready = tokio::time::timeout(READY, applied.wait_for(|applied| applied.revision > 0)) => {
                ready.map(drop).map_err(|_| Error::NotReady)
            }
            () = shutdown.cancelled() => Err(Error::NotReady),
        }
    })
}

/// The thread that follows the configuration, reports, and does what plugins leave for later; no
/// request depends on it.
fn control(
    runtime: Runtime,
    options: Options,
    sockets: Sockets,
    state: &Arc<State>,
    disk: Disk,
    Endings { shutdown, relieved, quiet }: &Endings,
) -> Result<(), Error> {
    // If control fails, the workers must not go on without it.
    let _ending = shutdown.clone().drop_guard();
    let successor = handover::wait(
        handover::path(&options.data_dir),
        sockets.clones()?,
        shutdown.clone(),
        relieved.clone(),
    );
    let bound = sockets.bound()?;
    let status = sockets.into_status();
    let Disk { cache, configuration, instance_id } = disk;
    // Who reports follows a control plane, whose revisions are those of one cluster.
    let gapless = options.heartbeat.is_some();
    let (doubter, raised) = watch::channel(0);
    let reporting = match &options.heartbeat {
        None => None,
        Some(endpoint) => {
            let heartbeat =
                heartbeat(endpoint, &options.source, instance_id, bound, state, doubter)?;
            let reports = reports(&heartbeat, state, options.metrics_interval);
            Some((heartbeat, reports))
        }
    };
    let connections = TaskTracker::new();
    let outcome = runtime.block_on(async {
        if let Some(socket) = status {
            let (_, watched) = shutdown_watch(shutdown.clone());
            connections.spawn(listen::accept(status_port(socket, state, shutdown), watched));
        }
        connections.spawn(successor);
        let (saver, saved) = watch::channel(Saved::default());
        let saving = tokio::spawn(cache.keep(saved, Arc::clone(&state.status), shutdown.clone()));
        let mut keeper = Keeper { configuration, state: Arc::clone(state), saver };
        if let Some((heartbeat, reports)) = reporting {
            connections.spawn(heartbeat.run(shutdown.clone(), quiet.clone()));
            connections.spawn(reports.run(shutdown.clone()));
        }
        let (sender, updates) = mpsc::channel(UPDATES);
        let doubts = Doubts { raised, gapless };
        connections.spawn(sync::follow(options.source, doubts, sender, shutdown.clone()));
        keeper.apply(updates).await;
        let saved = saving.await;
        // Requests that end late are logged as well.
        quiet.cancelled().await;
        state.shared.logs.close(FLUSH).await;
        saved.map_err(|_| Error::Thread)
    });
    end(runtime, &connections, LAST_WORDS);
    outcome
}

/// Where people and monitoring ask how things are.
fn status_port(
    socket: TcpListener,
    state: &Arc<State>,
    shutdown: &CancellationToken,
) -> Port<Monitor> {
    Port {
        listener: socket,
        door: None,
        app: Arc::new(Monitor { state: Arc::clone(state) }),
        // Answers are ready at once, so whatever is open at the end is idle: no wait.
        connections: TaskTracker::new(),
        gauge: Arc::default(),
        proxied: false,
        heads: None,
        leaving: shutdown.clone(),
    }
}

/// What this gateway tells its control plane of itself.
fn heartbeat(
    endpoint: &str,
    source: &Source,
    instance_id: String,
    bound: Bound,
    state: &State,
    doubts: watch::Sender<u64>,
) -> Result<Heartbeat, Error> {
    Ok(Heartbeat {
        endpoint: endpoint.trim_end_matches('/').to_owned(),
        client: client(source.tls())?,
        instance_id,
        run_id: random_id(),
        hostname: machine::hostname().to_owned(),
        listeners: [bound.http, bound.https].into_iter().flatten().collect(),
        status: Arc::clone(&state.status),
        metrics: watch::Sender::new(Orders::default()),
        doubts,
    })
}

/// Metrics go the way of heartbeats.
fn reports(heartbeat: &Heartbeat, state: &Arc<State>, interval: Option<Duration>) -> Reports {
    Reports {
        endpoint: heartbeat.endpoint.clone(),
        client: heartbeat.client.clone(),
        instance_id: heartbeat.instance_id.clone(),
        run_id: heartbeat.run_id.clone(),
        state: Arc::clone(state),
        orders: heartbeat.metrics.subscribe(),
        interval,
    }
}

/// Applies updates and shows the outcome to everybody concerned.
struct Keeper {
    configuration: Configuration,
    state: Arc<State>,
    saver: watch::Sender<Saved>,
}

impl Keeper {
    /// Until the source ends.
    async fn apply(&mut self, mut updates: mpsc::Receiver<Update>) {
        while let Some(update) = updates.recv().await {
            match update {
                Update::Full { revision, entries } => {
                    self.configuration.replace(revision, entries);
                }
                Update::Changes { revision, changes } => {
                    self.configuration.apply(revision, changes);
                }
                Update::Reachable(reachable) => {
                    self.state.status.set_reachable(reachable);
                    continue;
                }
            }
            show(&self.state, &self.configuration, false);
            let saved = Saved {
                revision: self.configuration.applied(false).revision,
                values: self.configuration.values(),
            };
            self.saver.send_replace(saved);
        }
    }
}

/// Puts the configuration in force and says so.
fn show(state: &State, configuration: &Configuration, from_disk: bool) {
    state.publish(configuration.snapshot());
    state.status.apply(configuration.applied(from_disk));
}

/// What survives a restart.
struct Disk {
    cache: Cache,
    configuration: Configuration,
    instance_id: String,
}

impl Disk {
    /// Opens the data directory and puts in force what it has, until the source says otherwise.
    fn load(options: &Options, state: &State) -> Result<Self, Error> {
        let failed = |error| Error::Data { path: options.data_dir.display().to_string(), error };
        std::fs::create_dir_all(&options.data_dir).map_err(failed)?;
        let private_key = options.source.tls().identity.as_ref().map(|(_, key)| key.as_str());
        let prefix = options.source.prefix();
        let cache = Cache::open(&options.data_dir, private_key, prefix).map_err(failed)?;
        let instance_id = match &options.instance_id {
            Some(id) => id.clone(),
            None => instance_id(&options.data_dir).map_err(failed)?,
        };
        let mut configuration = Configuration::new(prefix, Arc::clone(&state.shared));
        if let Some(Saved { revision, values }) = cache.load() {
            tracing::info!(revision, "starting with the configuration on disk");
            let entry = |(key, value): (&String, &Arc<[u8]>)| Change {
                key: key.clone(),
                value: Some(Arc::clone(value)),
            };
            configuration.replace(revision, values.iter().map(entry).collect());
            state.status.set_saved(revision);
            show(state, &configuration, true);
        }
        Ok(Self { cache, configuration, instance_id })
    }
}

/// The id of this instance, the same at every start.
fn instance_id(directory: &Path) -> io::Result<String> {
    let path = directory.join("instance-id");
    match std::fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => {
            let id = random_id();
            std::fs::write(&path, &id)?;
            Ok(id)
        }
    }
}

/// A random UUID.
fn random_id() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    [hex.get(..8), hex.get(8..12), hex.get(12..16), hex.get(16..20), hex.get(20..)]
        .map(Option::unwrap_or_default)
        .join("-")
}

/// The HTTP client for heartbeats, with the same trust and certificate as the source.
fn client(tls: &SourceTls) -> Result<reqwest::Client, Error> {
    let mut builder = reqwest::Client::builder();
    if let Some(authority) = &tls.authority {
        let authority = reqwest::Certificate::from_pem_bundle(authority.as_bytes())?;
        builder = builder.tls_certs_only(authority);
    }
    if let Some((certificate, key)) = &tls.identity {
        let pem = format!("{certificate}\n{key}");
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes())?);
    }
    Ok(builder.build()?)
}
