//! Configuration kinds: what gateways consume, as the management API shows it.
//!
//! Each file holds one kind: the part a caller writes (`…Spec`) and the whole object a caller reads.
//! Requests may hold read-only and unknown fields; they are ignored (contract, `x-sdk-compat`).

pub mod api;
pub mod application;
pub mod canary_release;
pub mod certificate;
pub mod cluster;
pub mod consumer;
pub mod expression;
pub mod loaded_plugin;
pub mod log_collection;
pub mod service_registry;
pub mod upstream;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

pub use api::{Api, ApiPath, ApiSpec, ApiType, ApiWithApplication, PathType, RouteControl};
pub use application::{Application, ApplicationSpec, Protocol};
pub use canary_release::{
    CanaryRelease, CanaryReleaseRequest, CanaryReleaseSpec, CanaryRule, CanaryState, CanaryType,
};
pub use certificate::{Certificate, CertificateFacts, CertificateSpec, CertificateType};
pub use cluster::{Cluster, ClusterSettings, ClusterSummary};
pub use consumer::{Consumer, ConsumerSpec, JwtRequest};
pub use expression::{Expression, Operator, Relationship, Subject};
pub use loaded_plugin::{
    LoadedPlugin, NamedRef, PluginLoad, PluginMetadataUpdate, PluginReference, PluginState,
    PluginStates,
};
pub use log_collection::{LogCollection, LogCollectionSpec, LoggerType};
pub use service_registry::{RegistryType, ServiceRegistry, ServiceRegistrySpec};
pub use upstream::{Upstream, UpstreamVersion};

/// Plugin configurations by plugin name.
pub type Plugins = Map<String, Value>;

/// `status` of an object that is ready (contract, schema `EntityStatus`).
pub const STATUS_READY: i32 = 50;

/// `active` of a published object; the original counts the other way round than one would expect.
pub const PUBLISHED: u8 = 0;
/// `active` of a draft: stored, not served.
pub const DRAFT: u8 = 1;

/// Reads JSON `null` as the type's default: clients written in Go send it for empty lists and maps.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
