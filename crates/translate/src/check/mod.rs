//! What a caller may not write: rules that neither the contract nor a type can state.
//!
//! Each function answers all broken rules at once, with the paths of fields as the caller sent them;
//! none means that the translation is a set of documents every gateway accepts. What depends on
//! other stored objects (references, uniqueness) is checked where those are known.

mod api;
mod application;
mod canary_release;
mod certificate;
mod cluster;
mod consumer;
mod expression;
mod health;
pub(crate) mod host;
mod loaded_plugin;
mod log_collection;
mod path;
mod plugins;
mod schema;
mod service_registry;
mod upstream;

use gantry_model::{Id, Violation};

pub use api::check_api;
pub use application::check_application;
pub use canary_release::check_canary_release;
pub use certificate::check_certificate;
pub use cluster::check_cluster;
pub use consumer::check_consumer;
pub use loaded_plugin::check_plugin_metadata;
pub use log_collection::check_log_collection;
pub use service_registry::check_service_registry;

/// Stands for the ids of what is checked: rules do not depend on them.
fn some_id() -> Id {
    Id::new(1).expect("1 is positive")
}

/// Broken rules as they are found.
#[derive(Default)]
pub(crate) struct Report(pub(crate) Vec<Violation>);

impl Report {
    /// Notes that `field` breaks `rule`, which reads on from the field's name; `example` is a valid
    /// value as JSON text.
    pub(crate) fn broken(
        &mut self,
        field: impl Into<String>,
        rule: impl Into<String>,
        example: impl Into<String>,
    ) {
        self.0.push(Violation::new(field, rule, example));
    }
}
