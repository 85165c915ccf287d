//! Certificates of a cluster.

use gantry_app::certificate;
use gantry_model::config::{Certificate, CertificateFacts, CertificateSpec};
use gantry_model::{Id, Page};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfCertificate {
    cluster_id: Id,
    certificate_id: Id,
}

/// Contract, schema `CertificateReplaced`: the Go SDK reads the facts from `Metadata` only.
#[derive(Serialize)]
pub struct Replaced {
    #[serde(flatten)]
    certificate: Certificate,
    #[serde(rename = "Metadata")]
    metadata: CertificateFacts,
}

impl From<Certificate> for Replaced {
    fn from(certificate: Certificate) -> Self {
        Self { metadata: certificate.facts.clone(), certificate }
    }
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    List(query): List,
) -> Reply<Page<Certificate>> {
    Ok(Answer::new(certificate::list(&cx, cluster_id, &query).await?))
}

pub async fn create(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(spec): Body<CertificateSpec>,
) -> Reply<Certificate> {
    Ok(Answer::written(certificate::create(&cx, cluster_id, spec).await?))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfCertificate { cluster_id, certificate_id }): Params<OfCertificate>,
) -> Reply<Certificate> {
    Ok(Answer::new(certificate::get(&cx, cluster_id, certificate_id).await?))
}

pub async fn replace(
    Caller(cx): Caller,
    Params(OfCertificate { cluster_id, certificate_id }): Params<OfCertificate>,
    Body(spec): Body<CertificateSpec>,
) -> Reply<Replaced> {
    let written = certificate::replace(&cx, cluster_id, certificate_id, spec).await?;
    Ok(Answer::written(written).map(Replaced::from))
}

pub async fn patch(
    Caller(cx): Caller,
    Params(OfCertificate { cluster_id, certificate_id }): Params<OfCertificate>,
    Body(change): Body<Map<String, Value>>,
) -> Reply<Certificate> {
    Ok(Answer::written(certificate::patch(&cx, cluster_id, certificate_id, change).await?))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfCertificate { cluster_id, certificate_id }): Params<OfCertificate>,
) -> Reply<()> {
    Ok(Answer::done(certificate::delete(&cx, cluster_id, certificate_id).await?))
}
