//! A compiled route: what a request that matches it needs, merged with its service.

use std::sync::Arc;

use crate::chain::Chain;

/// A route, ready to serve.
pub struct Route {
    pub id: String,
    pub name: Option<String>,
    pub service_id: Option<String>,
    pub service_name: Option<String>,
    pub chain: Arc<Chain>,
}
