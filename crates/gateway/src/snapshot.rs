//! What requests read: one revision of the configuration, compiled. Never locked, swapped whole.

use std::sync::Arc;

use gantry_routing::{sni::SniTable, table::RouteTable};
use pingora::utils::tls::CertKey;
use rpds::HashTrieMapSync;

use crate::{
    chain::{Chain, Links},
    consumer::Consumers,
    route::{Candidate, Route},
    tls::Certificate,
    upstream::Upstream,
};

/// One revision of the configuration. Cloning is cheap: all parts share their structure.
#[derive(Clone)]
pub struct Snapshot {
    pub routes: RouteTable<Candidate>,
    pub upstreams: HashTrieMapSync<String, Arc<Upstream>>,
    pub consumers: Consumers,
    pub groups: HashTrieMapSync<String, Arc<Links>>,
    pub certificates: SniTable<Arc<Certificate>>,
    /// What the gateway can present to upstreams, by the id of the ssl resource.
    pub client_certificates: HashTrieMapSync<String, Arc<CertKey>>,
    /// The plugins of all global rules.
    pub global: Arc<Chain>,
    /// False until a first configuration is in force: "not found" would be a guess.
    pub loaded: bool,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            routes: RouteTable::new(),
            upstreams: HashTrieMapSync::new_sync(),
            consumers: Consumers::default(),
            groups: HashTrieMapSync::new_sync(),
            certificates: SniTable::new(),
            client_certificates: HashTrieMapSync::new_sync(),
            global: Arc::default(),
            loaded: false,
        }
    }
}

/// Why a route has no upstream to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoUpstream {
    /// Neither route nor service has one: 503.
    None,
    /// The one that is referred to does not exist: 502.
    Dangling,
}

impl Snapshot {
    /// The upstream a route leads to.
    pub fn upstream(&self, route: &Route) -> Result<Arc<Upstream>, NoUpstream> {
        use crate::route::Target;
        match route.target() {
            Target::None => Err(NoUpstream::None),
            Target::Inline(upstream) => Ok(Arc::clone(upstream)),
            Target::Id(id) => self.upstreams.get(&**id).cloned().ok_or(NoUpstream::Dangling),
        }
    }
}
