//! The APISIX objects that a resource is translated into.

use gantry_app::debug;
use gantry_model::Id;
use serde::Deserialize;
use serde_json::Value;

use crate::answer::{Answer, Reply};
use crate::extract::{Caller, Params};

#[derive(Deserialize)]
pub struct OfResource {
    cluster_id: Id,
    #[serde(rename = "type")]
    kind: String,
    obj_id: Id,
}

pub async fn dump(
    Caller(cx): Caller,
    Params(OfResource { cluster_id, kind, obj_id }): Params<OfResource>,
) -> Reply<Value> {
    Ok(Answer::new(debug::dump(&cx, cluster_id, &kind, obj_id).await?))
}
