//! Certificates: read, compared with their keys, and never shown with them.

use std::collections::BTreeMap;

use gantry_model::config::{
    Certificate, CertificateFacts, CertificateSpec, CertificateType, STATUS_READY,
};
use gantry_model::{Error, Id, ListQuery, Page, Result, Timestamp, Violation};
use gantry_store::reference;
use gantry_store::resource::{self, Kind};
use gantry_translate::Keys;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Map, Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use crate::change::{Change, change};
use crate::object::{self, Index, Spec, Stored};
use crate::{Cx, Written, check};

impl Spec for CertificateSpec {
    const KIND: Kind = Kind::Certificate;

    fn index(&self) -> Index {
        // What is stored was readable when it was stored.
        let Ok(facts) = facts(&self.certificate, "certificate") else { return Index::default() };
        let texts = [facts.subject.as_str(), facts.issuer.as_str()];
        let is_server = self.kind == CertificateType::Server;
        Index {
            sort_number: facts.not_after.micros(),
            search_text: check::search_text(
                texts.into_iter().chain(facts.snis.iter().map(String::as_str)),
            ),
            labels: self.labels.clone(),
            served_names: if is_server { facts.snis.clone() } else { Vec::new() },
            ..Index::default()
        }
    }
}

pub async fn list(cx: &Cx, cluster: Id, query: &ListQuery) -> Result<Page<Certificate>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let (rows, count) = resource::list(&mut tx, Kind::Certificate, cluster, query).await?;
    let stored = object::opened_all(&cx.app, rows)?;
    Ok(object::page(stored.into_iter().map(view).collect::<Result<_>>()?, count))
}

pub async fn get(cx: &Cx, cluster: Id, id: Id) -> Result<Certificate> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    view(object::find(&cx.app, &mut tx, cluster, id).await?)
}

pub async fn create(cx: &Cx, cluster: Id, spec: CertificateSpec) -> Result<Written<Certificate>> {
    let facts = checked(&spec)?;
    change(cx, cluster, move |change| {
        Box::pin(async move {
            change.warning = expiry_warning(&facts, change.now);
            let stored = object::insert(change, cluster, spec).await?;
            let id = stored.row.id;
            change.keys(Keys::new(), gantry_translate::certificate(id, &stored.spec, &facts.snis));
            change.audit(Kind::Certificate.name(), id, None, record(&stored.spec)?);
            view(stored)
        })
    })
    .await
}

pub async fn replace(
    cx: &Cx,
    cluster: Id,
    id: Id,
    spec: CertificateSpec,
) -> Result<Written<Certificate>> {
    object::edit(cx, cluster, cluster, id, move |change, old| Box::pin(save(change, old, spec)))
        .await
}

/// Puts `patch` over the stored certificate at the top level; it may hold nothing but labels.
pub async fn patch(
    cx: &Cx,
    cluster: Id,
    id: Id,
    patch: Map<String, Value>,
) -> Result<Written<Certificate>> {
    object::edit(cx, cluster, cluster, id, move |change, old: Stored<CertificateSpec>| {
        Box::pin(async move {
            let spec = check::merged(&old.spec, patch)?;
            save(change, old, spec).await
        })
    })
    .await
}

async fn save(
    change: &mut Change<'_>,
    old: Stored<CertificateSpec>,
    spec: CertificateSpec,
) -> Result<Certificate> {
    let new_facts = checked(&spec)?;
    let id = old.row.id;
    if old.spec.kind == CertificateType::Client && spec.kind != CertificateType::Client {
        refuse_in_use(change, id).await?;
    }
    change.warning = expiry_warning(&new_facts, change.now);
    let old_snis = facts(&old.spec.certificate, "certificate")?.snis;
    let new = object::update(change, &old, spec).await?;
    change.keys(
        gantry_translate::certificate(id, &old.spec, &old_snis),
        gantry_translate::certificate(id, &new.spec, &new_facts.snis),
    );
    change.audit(Kind::Certificate.name(), id, record(&old.spec)?, record(&new.spec)?);
    view(new)
}

pub async fn delete(cx: &Cx, cluster: Id, id: Id) -> Result<Written<()>> {
    object::edit(cx, cluster, cluster, id, move |change, stored: Stored<CertificateSpec>| {
        Box::pin(async move {
            refuse_in_use(change, id).await?;
            let snis = facts(&stored.spec.certificate, "certificate")?.snis;
            resource::delete(change.tx, id).await?;
            change.keys(gantry_translate::certificate(id, &stored.spec, &snis), Keys::new());
            change.audit(Kind::Certificate.name(), id, record(&stored.spec)?, None);
            Ok(())
        })
    })
    .await
}

async fn refuse_in_use(change: &mut Change<'_>, id: Id) -> Result<()> {
    match reference::referrers(change.tx, id).await?.into_iter().next() {
        None => Ok(()),
        Some(row) => Err(Error::in_use(format!(
            "certificate {id} is the client certificate of application `{}`",
            row.name.unwrap_or_default()
        ))),
    }
}

/// Every rule about a certificate, and what can be read in it.
fn checked(spec: &CertificateSpec) -> Result<CertificateFacts> {
    let facts = facts(&spec.certificate, "certificate")?;
    check_key(spec)?;
    check_purpose(spec)?;
    if let Some(ca) = &spec.ca_certificate {
        self::facts(ca, "ca_certificate")?;
    }
    check::refuse(&gantry_translate::check_certificate(spec, &facts.snis))?;
    Ok(facts)
}

fn check_key(spec: &CertificateSpec) -> Result<()> {
    let key = PrivateKeyDer::from_pem_slice(spec.private_key.as_bytes()).map_err(|_| {
        let rule = "must be one private key in PEM, unencrypted";
        Error::invalid_field("private_key", rule, "\"-----BEGIN PRIVATE KEY-----\\n…\"")
    })?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|_| {
        Error::invalid_field("private_key", "must be an RSA, ECDSA or Ed25519 key", "")
    })?;
    let chain = chain(&spec.certificate, "certificate")?;
    rustls::sign::CertifiedKey::new(chain, key).keys_match().map_err(|_| {
        let rule = "must belong to the first certificate of `certificate`";
        Error::invalid_field("private_key", rule, "")
    })
}

/// The type must be among the purposes the certificate names, if it names any.
fn check_purpose(spec: &CertificateSpec) -> Result<()> {
    let chain = chain(&spec.certificate, "certificate")?;
    let leaf = leaf(&chain, "certificate")?;
    let Ok(Some(usage)) = leaf.extended_key_usage() else { return Ok(()) };
    let (fits, purpose) = match spec.kind {
        CertificateType::Server => (usage.value.server_auth, "server"),
        CertificateType::Client => (usage.value.client_auth, "client"),
    };
    if fits || usage.value.any {
        return Ok(());
    }
    let rule = format!("asks for {purpose} authentication, which the certificate does not permit");
    Err(Error::invalid(&[Violation::new("type", rule, "")]))
}

fn chain(pem: &str, field: &str) -> Result<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| not_pem(field))
}

fn leaf<'a>(chain: &'a [CertificateDer<'static>], field: &str) -> Result<X509Certificate<'a>> {
    let first = chain.first().ok_or_else(|| not_pem(field))?;
    X509Certificate::from_der(first).map(|(_, leaf)| leaf).map_err(|_| not_pem(field))
}

fn not_pem(field: &str) -> Error {
    let rule = "must be one or more X.509 certificates in PEM, the leaf first";
    Error::invalid_field(field, rule, "\"-----BEGIN CERTIFICATE-----\\n…\"")
}

/// What can be read in the first certificate of a PEM text.
pub(crate) fn facts(pem: &str, field: &str) -> Result<CertificateFacts> {
    let chain = chain(pem, field)?;
    let leaf = leaf(&chain, field)?;
    Ok(CertificateFacts {
        snis: names(&leaf),
        not_before: Timestamp::from_seconds(leaf.validity().not_before.timestamp()),
        not_after: Timestamp::from_seconds(leaf.validity().not_after.timestamp()),
        subject: leaf.subject().to_string(),
        issuer: leaf.issuer().to_string(),
        serial_number: leaf.tbs_certificate.raw_serial_as_string(),
        signature_algorithm: leaf.signature_algorithm.algorithm.to_id_string(),
        extensions: extensions(&leaf),
    })
}

/// DNS names of the subject alternative name, else the common name; in lower case.
fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let common = leaf.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_lowercase));
    }
    names
}

fn extensions(leaf: &X509Certificate<'_>) -> BTreeMap<String, String> {
    let text = |parsed: &ParsedExtension<'_>| match parsed {
        ParsedExtension::BasicConstraints(basic) => format!("CA: {}", basic.ca),
        ParsedExtension::KeyUsage(usage) => usage.to_string(),
        _ => "present".to_owned(),
    };
    leaf.extensions()
        .iter()
        .map(|extension| (extension.oid.to_id_string(), text(extension.parsed_extension())))
        .collect()
}

fn expiry_warning(facts: &CertificateFacts, now: Timestamp) -> Option<String> {
    (facts.not_after <= now).then(|| format!("the certificate expired at {}", facts.not_after))
}

/// The audit keeps what can be read in a certificate, never the key.
fn record(spec: &CertificateSpec) -> Result<Option<Value>> {
    let CertificateSpec { certificate, private_key: _, ca_certificate, labels, kind } = spec;
    Ok(Some(json!({
        "certificate": facts(certificate, "certificate")?,
        "ca_certificate": ca_certificate,
        "labels": labels,
        "type": kind,
    })))
}

fn view(stored: Stored<CertificateSpec>) -> Result<Certificate> {
    let Stored { row, spec } = stored;
    let ca = spec.ca_certificate.as_deref().map(|ca| facts(ca, "ca_certificate"));
    Ok(Certificate {
        id: row.id,
        cluster_id: row.cluster_id,
        status: STATUS_READY,
        created_at: row.created_at,
        updated_at: row.updated_at,
        facts: facts(&spec.certificate, "certificate")?,
        ca_certificate: ca.transpose()?,
        labels: spec.labels,
        kind: spec.kind,
    })
}
