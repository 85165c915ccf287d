//! What a plugin is, and the list of those this gateway runs. One plugin, one file; order and
//! merging are `chain`'s business, the phases are called by `proxy`.

mod acl;
mod api_breaker;
mod auth;
mod basic_auth;
mod body;
mod brotli;
mod client_control;
mod compress;
pub(crate) mod config;
mod consumer_restriction;
mod cors;
pub mod counter;
mod csrf;
mod datadog;
mod decoding;
mod delayed;
mod echo;
mod fault_injection;
mod file_logger;
mod forward_auth;
mod freshness;
mod grpc_web;
mod gzip;
mod headers;
mod hmac_auth;
mod http_logger;
mod ip_restriction;
mod jws;
mod jwt;
mod jwt_auth;
mod kafka_logger;
mod key_auth;
mod keyed;
mod limit;
mod limit_conn;
mod limit_count;
mod limit_req;
mod logger;
pub mod metrics;
mod mocking;
mod multi_auth;
mod networks;
mod openid_connect;
mod opentelemetry;
mod outbound;
mod prometheus;
mod proxy_cache;
mod proxy_control;
mod proxy_mirror;
mod proxy_rewrite;
mod public_api;
mod quota;
mod real_ip;
mod redirect;
mod redis;
mod referer_restriction;
mod remote_counter;
mod request_id;
mod request_validation;
mod response_rewrite;
mod room;
mod sentinels;
mod substitution;
mod syslog;
mod tcp_logger;
#[cfg(test)]
mod tests;
mod trace;
mod traffic_split;
mod ua_restriction;
mod udp_logger;
mod uri_blocker;
pub(crate) mod url;
mod workflow;
mod zipkin;

pub use client_control::BodyLimit;
pub(crate) use grpc_web::Call as GrpcWebCall;
pub(crate) use limit_count::Decision;
pub use networks::Networks;
pub use opentelemetry::Exported;
pub(crate) use proxy_mirror::Copies;
pub use request_id::Id as RequestId;
pub(crate) use response_rewrite::Codings;

use std::{any::Any, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use gantry_routing::{
    plugin::{self as catalog, Role},
    sentence,
};
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use serde_json::Value;
use tokio::runtime::Handle;

use crate::{
    answer::Answer,
    exchange::{Exchange, Facts},
    log::Logs,
    scrape::Scrapes,
    status::Status,
    upstream::Upstreams,
    zone::Zones,
};

/// What a plugin decides in a phase that may end the request.
pub enum Flow {
    /// Carry on with the next plugin.
    Next,
    /// End the request here with this answer. Boxed, because most requests never need one.
    Answer(Box<Answer>),
    /// Hold the request until this is ready, then do what it says. Other requests go on.
    Wait(Wait),
    /// Read the request's body into [`Exchange::body`] before going on.
    Body(Box<BodyWanted>),
}

/// What a plugin wants with the body of a request.
pub struct BodyWanted {
    /// The most bytes the body may have.
    pub limit: u64,
    /// What a client gets that sends more.
    pub too_large: Answer,
    /// Called when the body is there.
    pub resume: Resume,
}

/// Something that takes its time, such as the answer of another server. It owns what it needs; the
/// request is looked at again only afterwards.
pub type Wait = BoxFuture<'static, Resume>;

/// What to do with the request once the wait is over.
pub type Resume = Box<dyn FnOnce(&mut Exchange, &mut RequestHeader) -> Flow + Send>;

impl Flow {
    /// Holds the request for a while.
    pub fn pause(duration: Duration) -> Self {
        Self::wait(tokio::time::sleep(duration), |(), _, _| Self::Next)
    }

    /// Waits for `outcome`, then lets `resume` decide with it.
    pub fn wait<T: Send + 'static>(
        outcome: impl Future<Output = T> + Send + 'static,
        resume: impl FnOnce(T, &mut Exchange, &mut RequestHeader) -> Self + Send + 'static,
    ) -> Self {
        Self::Wait(Box::pin(async move {
            let outcome = outcome.await;
            let resume: Resume =
                Box::new(move |exchange, request| resume(outcome, exchange, request));
            resume
        }))
    }

    /// Reads the request's body, unless that has been done, then lets `resume` decide with
    /// [`Exchange::body`]. More than `limit` bytes are answered with 413. What `resume` leaves in
    /// [`Exchange::body`] is what the upstream gets.
    pub fn body(
        limit: u64,
        resume: impl FnOnce(&mut Exchange, &mut RequestHeader) -> Self + Send + 'static,
    ) -> Self {
        let too_large = Answer::page(StatusCode::PAYLOAD_TOO_LARGE);
        Self::Body(Box::new(BodyWanted { limit, too_large, resume: Box::new(resume) }))
    }
}

impl From<Answer> for Flow {
    fn from(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

/// One configured place of a plugin, compiled once and shared by all requests.
///
/// Every phase does nothing unless a plugin says otherwise. State of one request belongs into
/// [`Exchange::notes`], state of all requests into [`Shared`].
pub trait Plugin: Send + Sync {
    /// Before access control: authentication, redirects, changes to the request.
    fn rewrite(&self, _exchange: &mut Exchange, _request: &mut RequestHeader) -> Flow {
        Flow::Next
    }

    /// After authentication and the consumer's merge: access control and limits.
    fn access(&self, _exchange: &mut Exchange, _request: &mut RequestHeader) -> Flow {
        Flow::Next
    }

    /// Before the response head goes to the client, whoever made it.
    fn response_headers(
        &self,
        _exchange: &mut Exchange,
        _request: &RequestHeader,
        _response: &mut ResponseHeader,
    ) {
    }

    /// Whether the response phases come after those of all other plugins, as compression does: others
    /// see and change plain bodies.
    fn is_last(&self) -> bool {
        false
    }

    /// Whether `response_body` shall be called at all.
    fn reads_bodies(&self) -> bool {
        false
    }

    /// Whether it gives a body to this response of an upstream, which has none.
    fn fills(&self, _facts: &Facts<'_>) -> bool {
        false
    }

    /// For every piece of the response body; `end` marks the last one, which may be empty.
    fn response_body(&self, _exchange: &mut Exchange, _body: &mut Option<Bytes>, _end: bool) {}

    /// After the last byte.
    fn log(&self, _facts: &Facts<'_>) {}
}

/// Tells one configured place from another while a request holds both.
fn identity<T>(plugin: &T) -> usize {
    std::ptr::from_ref(plugin).addr()
}

/// Checks and compiles what one plugin's configuration says about another plugin.
fn compile(name: &str, mut config: Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
    catalog::check(name, &mut config, Role::Switch).map_err(|broken| sentence(&broken))?;
    (find(name).ok_or("this gateway does not have it")?.compile)(&config, place)
}

/// Where a plugin is configured, for those that keep state by place.
pub struct Place<'a> {
    /// The key of the resource that holds the configuration, such as `/apisix/routes/7`.
    pub owner: &'a str,
    /// The plugin's metadata, if the cluster has any.
    pub metadata: Option<&'a Value>,
    pub shared: &'a Arc<Shared>,
}

/// What a consumer's configuration of an authentication plugin says.
pub struct Identity {
    /// What a request presents and consumers are looked up by, such as the API key.
    pub key: String,
    /// What the plugin verifies the request with; only the plugin knows its type.
    pub secret: Box<dyn Any + Send + Sync>,
}

/// Turns a checked configuration into a plugin; an error says what is wrong with it.
pub type Compile = fn(&Value, &Place<'_>) -> Result<Arc<dyn Plugin>, String>;

/// Reads a consumer's configuration of an authentication plugin.
pub type Identify = fn(&Value) -> Result<Identity, String>;

/// One plugin of the registry.
pub struct Kind {
    pub name: &'static str,
    /// Compiles a configuration that has passed the plugin's schema, defaults filled in.
    pub compile: Compile,
    /// Reads the configuration of a consumer; authentication plugins only.
    pub identify: Option<Identify>,
}

/// State of plugins that outlives one compiled configuration: counters and metrics.
#[derive(Default)]
pub struct Shared {
    pub counters: counter::Counters,
    /// What limit-count tells a Redis only now and then.
    pub(crate) estimates: delayed::Estimates,
    /// What api-breaker has seen of hosts and paths.
    pub(crate) breakers: keyed::Keyed<api_breaker::Breaker>,
    /// Requests under way, for limit-conn.
    pub(crate) busy: keyed::Keyed<limit_conn::Busy>,
    /// The buckets of limit-req.
    pub(crate) leaks: keyed::Keyed<limit_req::Leak>,
    /// Where proxy-cache keeps responses.
    pub zones: Zones,
    /// What sends the copies of proxy-mirror.
    pub(crate) mirrors: proxy_mirror::Clients,
    /// For bodies that are held while they are under way.
    pub(crate) room: room::Room,
    /// Where limits are kept that several gateways share.
    pub(crate) stores: redis::Stores,
    pub metrics: metrics::Metrics,
    /// The port clients find HTTPS at, for redirects; None is 443.
    pub https_port: Option<u16>,
    pub background: Background,
    pub logs: Logs,
    pub upstreams: Upstreams,
    pub status: Arc<Status>,
    pub(crate) scrapes: Scrapes,
}

impl Shared {
    /// All counters in Prometheus' text form, handed to `take` piece by piece, which empties them.
    pub fn exposition(&self, take: &mut dyn FnMut(&mut String)) {
        let mut text = String::new();
        self.metrics.render(&mut text, take);
        self.status.render(&mut text);
        self.logs.render(&mut text);
        self.upstreams.render(&mut text);
        take(&mut text);
    }
}

/// Where work goes that no request waits for, such as sending logs: a thread of its own.
#[derive(Clone, Default)]
pub struct Background(Option<Handle>);

impl Background {
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self(Some(handle))
    }

    /// Starts a task; in the caller's runtime if no gateway runs around it, as in tests.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.0 {
            Some(handle) => handle.spawn(task),
            None => tokio::spawn(task),
        };
    }
}

/// The plugins this gateway runs, by name; the server knows them by [`RUN_IN_GANTRY`].
///
/// [`RUN_IN_GANTRY`]: gantry_routing::plugin::RUN_IN_GANTRY
const KINDS: &[Kind] = &[
    acl::KIND,
    api_breaker::KIND,
    basic_auth::KIND,
    brotli::KIND,
    client_control::KIND,
    consumer_restriction::KIND,
    cors::KIND,
    csrf::KIND,
    datadog::KIND,
    echo::KIND,
    fault_injection::KIND,
    file_logger::KIND,
    forward_auth::KIND,
    grpc_web::KIND,
    gzip::KIND,
    hmac_auth::KIND,
    http_logger::KIND,
    ip_restriction::KIND,
    jwt_auth::KIND,
    kafka_logger::KIND,
    key_auth::KIND,
    limit_conn::KIND,
    limit_count::KIND,
    limit_req::KIND,
    mocking::KIND,
    multi_auth::KIND,
    openid_connect::KIND,
    opentelemetry::KIND,
    prometheus::KIND,
    proxy_cache::KIND,
    proxy_control::KIND,
    proxy_mirror::KIND,
    proxy_rewrite::KIND,
    public_api::KIND,
    real_ip::KIND,
    redirect::KIND,
    referer_restriction::KIND,
    request_id::KIND,
    request_validation::KIND,
    response_rewrite::KIND,
    syslog::KIND,
    tcp_logger::KIND,
    traffic_split::KIND,
    ua_restriction::KIND,
    udp_logger::KIND,
    uri_blocker::KIND,
    workflow::KIND,
    zipkin::KIND,
];

/// Finds a plugin by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}
