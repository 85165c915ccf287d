//! A certificate: what a gateway shows to clients (Server) or to backends (Client).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_as_default;
use crate::{Id, Timestamp};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CertificateType {
    #[default]
    Server,
    Client,
}

/// Contract, schema `CertificateSpec`. `Serialize` is for sealed storage only: the private key must
/// not reach an answer, a log or the audit.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSpec {
    /// PEM chain, leaf first.
    pub certificate: String,
    /// PEM.
    pub private_key: String,
    /// PEM: whoever presents a certificate to the gateway must be signed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: Vec<String>,
    #[serde(default, rename = "type")]
    pub kind: CertificateType,
}

impl std::fmt::Debug for CertificateSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { certificate: _, private_key: _, ca_certificate, labels, kind } = self;
        f.debug_struct("CertificateSpec")
            .field("kind", kind)
            .field("labels", labels)
            .field("has_ca", &ca_certificate.is_some())
            .finish_non_exhaustive()
    }
}

/// What can be read in a certificate (contract, schema `CertificateMetadata`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// DNS names of the subject alternative name, else the common name.
    pub snis: Vec<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub subject: String,
    pub issuer: String,
    pub serial_number: String,
    pub signature_algorithm: String,
    #[serde(default)]
    pub extensions: BTreeMap<String, String>,
}

/// Contract, schema `CertificateDetails`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Certificate {
    pub id: Id,
    pub cluster_id: Id,
    pub status: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub facts: CertificateFacts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CertificateFacts>,
    pub labels: Vec<String>,
    #[serde(rename = "type")]
    pub kind: CertificateType,
}
