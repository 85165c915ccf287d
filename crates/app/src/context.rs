//! What the control plane is made of ([`App`]) and who asks it for something ([`Cx`]).

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use gantry_model::receipt::Delivery;
use gantry_model::{Error, Id, Result, Secret, Timestamp};
use gantry_store::{Db, Tx};
use rustls::server::danger::ClientCertVerifier;

use crate::access::Access;
use crate::acknowledgement::Resyncs;
use crate::alerting::{self, Alerting};
use crate::audit::ChainKey;
use crate::billing::{Billing, Plans, StripeOptions};
use crate::ca::{Ca, ServerIdentity};
use crate::clock::Clock;
use crate::compat::GoSdk;
use crate::feed::Feeds;
use crate::gateway::Identity;
use crate::ids::IdSource;
use crate::mail::{Mailer, Smtp};
use crate::metrics::{self, Metrics};
use crate::oidc::{Oidc, Settings};
use crate::preview::Preview;
use crate::receipt::{Wait, Waiters};
use crate::rotation;
use crate::seal::{Sealer, random_bytes};
use crate::telemetry::Telemetry;
use crate::throttle::Throttle;
use crate::token::Signer;
use crate::verified::Verified;

/// How to open an [`App`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the SQLite database and of the master key; created if absent.
    pub data_dir: PathBuf,
    /// `postgres://…`; without it, SQLite in `data_dir`.
    pub database: Option<String>,
    /// 32 bytes in base64; without it, the key in `<data_dir>/master.key`.
    pub master_key: Option<Secret>,
    pub clock: Clock,
    /// Host and port under which gateways reach this installation.
    pub gateway_endpoint: String,
    /// Last part of the clusters' host names.
    pub domain: String,
    /// Base of the links that people get, such as `https://gantry.example.com`.
    pub public_url: String,
    /// The plans organizations may be on.
    pub plans: Plans,
    /// Stripe, where it takes the money; without it usage is counted and nobody collects.
    pub stripe: Option<StripeOptions>,
    /// The server that takes our mail; without it none is sent.
    pub smtp: Option<Smtp>,
    /// Who gets answers in the form of the public Go SDK.
    pub compat_go_sdk: GoSdk,
    /// How much of the gateways' metrics is kept, in `<data_dir>/metrics`.
    pub metrics: metrics::Options,
    /// Prometheus-compatible servers that metrics go to and are asked from.
    pub metrics_remote: metrics::RemoteOptions,
    /// The identity provider that people may sign in with.
    pub oidc: Option<Settings>,
    /// How alerts are evaluated and sent.
    pub alerting: alerting::Options,
}

impl Config {
    /// SQLite in `data_dir`, gateways on this machine.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            database: None,
            master_key: None,
            clock: Clock::system(),
            gateway_endpoint: "localhost:7443".into(),
            domain: "gantry.internal".into(),
            public_url: "http://localhost:7080".into(),
            plans: Plans::default(),
            stripe: None,
            smtp: None,
            compat_go_sdk: GoSdk::Auto,
            metrics: metrics::Options::default(),
            metrics_remote: metrics::RemoteOptions::default(),
            oidc: None,
            alerting: alerting::Options::default(),
        }
    }
}

/// The control plane. Clones share everything.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] holds; nothing outside this crate can name or use it.
pub struct Parts {
    pub(crate) db: Db,
    pub(crate) sealer: Sealer,
    /// Where the master key is kept, unless it was given.
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) signer: Signer,
    pub(crate) audit_key: ChainKey,
    pub(crate) ca: Ca,
    pub(crate) server: ServerIdentity,
    /// Made once: every request of a gateway asks it.
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    pub(crate) verified: Verified,
    pub(crate) feeds: Feeds,
    pub(crate) waiters: Waiters,
    pub(crate) resyncs: Resyncs,
    pub(crate) throttle: Throttle,
    pub(crate) clock: Clock,
    pub(crate) gateway_endpoint: String,
    pub(crate) domain: String,
    /// Without a slash at its end.
    pub(crate) public_url: String,
    pub(crate) plans: Plans,
    pub(crate) billing: Box<dyn Billing>,
    pub(crate) mailer: Mailer,
    compat_go_sdk: GoSdk,
    pub(crate) metrics: Metrics,
    pub(crate) telemetry: Telemetry,
    pub(crate) oidc: Option<Oidc>,
    pub(crate) alerting: Alerting,
    ids: IdSource,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Opens the database, applies migrations, makes the installation's keys on the first start,
    /// and writes what an older version translated differently.
    pub async fn open(config: Config) -> Result<Self> {
        std::fs::create_dir_all(&config.data_dir).map_err(Error::internal)?;
        let file = config.data_dir.join("master.key");
        let sealer = Sealer::open(&file, config.master_key.as_ref())?;
        let key_file = config.master_key.is_none().then_some(file);
        let db = match &config.database {
            Some(url) => Db::open_postgres(url).await?,
            None => Db::open_sqlite(&config.data_dir.join("gantry.db")).await?,
        };
        let mut sealer = rotation::settle(&db, key_file.as_deref(), sealer).await?;
        let derived = sealer.hash_key();
        let hash_key = installation_secret(&db, &sealer, "hash_key", || Ok(derived)).await?;
        sealer.set_hash_key(&hash_key)?;
        let now = config.clock.now();
        let new_key = || Ok(BASE64.encode(random_bytes::<32>()));
        let signing = installation_secret(&db, &sealer, "token_signing_key", new_key).await?;
        let audit_key = installation_secret(&db, &sealer, "audit_chain_key", new_key).await?;
        let ca_key = || Ca::generate(now);
        let ca = Ca::parse(&installation_secret(&db, &sealer, "gateway_ca", ca_key).await?)?;
        let names = server_names(&mut db.read().await?, &config.gateway_endpoint).await?;
        let folder = config.data_dir.join("metrics");
        let metrics = Metrics::new(folder, config.metrics, &config.metrics_remote)?;
        let app = Self(Arc::new(Parts {
            server: ServerIdentity::new(&ca, &names, now)?,
            verifier: crate::gateway::verifier(&ca)?,
            signer: Signer::new(signing.as_bytes()),
            audit_key: ChainKey::new(audit_key),
            verified: Verified::default(),
            feeds: Feeds::default(),
            waiters: Waiters::default(),
            resyncs: Resyncs::default(),
            throttle: Throttle::default(),
            ids: IdSource::new(u16::from_le_bytes(random_bytes::<2>())),
            clock: config.clock,
            metrics,
            telemetry: Telemetry::default(),
            gateway_endpoint: config.gateway_endpoint,
            domain: config.domain,
            public_url: config.public_url.trim_end_matches('/').to_owned(),
            plans: config.plans,
            billing: crate::billing::provider(config.stripe.as_ref())?,
            mailer: Mailer::new(config.smtp.as_ref())?,
            compat_go_sdk: config.compat_go_sdk,
            oidc: config.oidc.map(Oidc::new).transpose()?,
            alerting: Alerting::new(config.alerting),
            db,
            sealer,
            key_file,
            ca,
        }));
        crate::reconcile::all(&app).await?;
        Ok(app)
    }

    /// Saves the metrics and closes the database; calls after it fail.
    pub async fn close(&self) {
        self.metrics.close().await;
        self.db.close().await;
    }

    /// Answers the writes that wait for gateways, as the server is about to stop.
    pub fn dismiss_waiting(&self) {
        self.waiters.dismiss();
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> Result<()> {
        gantry_store::user::exists(&mut self.db.read().await?).await.map(|_| ())
    }

    /// Base of the links that people get, without a slash at its end.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Who gets answers in the form of the public Go SDK.
    #[must_use]
    pub fn compat_go_sdk(&self) -> GoSdk {
        self.compat_go_sdk
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn new_id(&self) -> Id {
        self.ids.next(self.now())
    }

    /// Puts the names of clusters created since the start into the server's certificate.
    pub(crate) async fn renew_server_certificate(&self) -> Result<()> {
        let names = server_names(&mut self.db.read().await?, &self.gateway_endpoint).await?;
        self.server.renew(&self.ca, &names, self.now())
    }
}

/// A secret of the installation, made by `new` when there is none yet.
async fn installation_secret(
    db: &Db,
    sealer: &Sealer,
    name: &'static str,
    new: impl FnOnce() -> Result<String>,
) -> Result<String> {
    let place = format!("secret/{name}");
    if let Some(sealed) = gantry_store::secret::find(&mut db.read().await?, name).await? {
        return sealer.open_text(&place, &sealed);
    }
    let sealed = sealer.seal(&place, new()?.as_bytes())?;
    let kept = db
        .write(move |tx| {
            Box::pin(async move {
                gantry_store::secret::put_new(tx, name, &sealed).await?;
                gantry_store::secret::find(tx, name).await
            })
        })
        .await?;
    let kept = kept.ok_or_else(|| Error::internal("a new secret of the installation is gone"))?;
    sealer.open_text(&place, &kept)
}

async fn server_names(tx: &mut Tx, endpoint: &str) -> Result<Vec<String>> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.push(crate::gateway::endpoint_host(endpoint).to_owned());
    names.extend(gantry_store::cluster::domains(tx).await?);
    names.sort();
    names.dedup();
    Ok(names)
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    User {
        id: String,
        email: String,
        /// The session that signing out ends; `None` with an access token.
        session: Option<Id>,
    },
    Gateway(Identity),
    /// Gantry itself: its first start, its housekeeping, the operator's command line.
    System,
}

impl Actor {
    /// The actor in revisions and the audit.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::User { email, .. } => format!("user:{email}"),
            Self::Gateway(identity) => format!("gateway:{}", identity.cluster),
            Self::System => "system".into(),
        }
    }
}

/// One request: who asks for what.
#[derive(Clone)]
pub struct Cx {
    pub app: App,
    pub actor: Actor,
    /// Operation id of the contract, such as `createApplication`.
    pub operation: &'static str,
    pub request_id: String,
    /// Writes are checked in full, tell what they would do, and leave nothing behind.
    pub dry_run: bool,
    /// Plugins that gateways may leave out if they do not run them.
    pub optional_plugins: Vec<String>,
    /// Writes of configuration answer when gateways have applied them.
    pub wait: Option<Wait>,
    /// What it may touch.
    pub(crate) access: Access,
}

/// What a write made of a resource.
#[derive(Clone, Debug)]
pub struct Written<T> {
    pub value: T,
    /// Newest configuration revision of the cluster after the write.
    pub revision: i64,
    /// Something the caller should know although the write was accepted.
    pub warning: Option<String>,
    /// What gateways would see, in a dry run.
    pub preview: Option<Preview>,
    /// What gateways said to it, if it waited for them.
    pub delivery: Option<Delivery>,
}

impl Cx {
    /// A request that nobody has admitted to anything yet (`access::enforce`).
    pub fn new(app: &App, actor: Actor, operation: &'static str, request_id: String) -> Self {
        let access = Access::Undecided;
        let (app, optional_plugins) = (app.clone(), Vec::new());
        Self {
            app,
            actor,
            operation,
            request_id,
            dry_run: false,
            optional_plugins,
            wait: None,
            access,
        }
    }

    /// A request of Gantry to itself.
    pub fn system(app: &App, operation: &'static str) -> Self {
        Self::new(app, Actor::System, operation, String::new())
    }

    /// Id of the user who asks.
    pub(crate) fn user_id(&self) -> Result<&str> {
        match &self.actor {
            Actor::User { id, .. } => Ok(id),
            _ => Err(Error::forbidden("only a signed-in user can do this")),
        }
    }
}
