//! Labels in use.

use gantry_app::{Kind, label};
use gantry_model::Id;
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Caller, Params};

#[derive(Deserialize)]
pub struct OfSource {
    cluster_id: Id,
    label_source: Source,
}

/// Contract, parameter `LabelSource`.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Api,
    Application,
    Consumer,
    Certificate,
}

impl From<Source> for Kind {
    fn from(source: Source) -> Self {
        match source {
            Source::Api => Self::Api,
            Source::Application => Self::Application,
            Source::Consumer => Self::Consumer,
            Source::Certificate => Self::Certificate,
        }
    }
}

/// A bare array, not a page (contract, `listLabels`).
pub async fn list(
    Caller(cx): Caller,
    Params(OfSource { cluster_id, label_source }): Params<OfSource>,
) -> Reply<Vec<String>> {
    Ok(Answer::new(label::list(&cx, cluster_id, label_source.into()).await?))
}
