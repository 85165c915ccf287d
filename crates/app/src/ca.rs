//! Gantry's own certificate authority: it vouches for gateways to the server and the other way.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use gantry_model::{Error, Id, Result, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::time::ASN1Time;

use crate::seal::random_bytes;

const DAY_S: i64 = 24 * 3600;
/// Ten years.
const CA_LIFE_S: i64 = 3650 * DAY_S;
/// Thirteen months.
pub(crate) const LEAF_LIFE_S: i64 = 397 * DAY_S;
/// Clocks of gateways may be behind by this much.
const BACKDATE_S: i64 = 3600;

/// The authority: its certificate and what signs with it.
pub(crate) struct Ca {
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both in PEM.
pub(crate) struct Issued {
    pub certificate: String,
    pub private_key: String,
    /// Lower-case hex without leading zeros.
    pub serial: String,
    pub not_after: Timestamp,
}

impl Ca {
    /// A new authority as PEM text: certificate, then key.
    pub(crate) fn generate(now: Timestamp) -> Result<String> {
        let key = KeyPair::generate().map_err(Error::internal)?;
        let mut params = params("Gantry gateway CA", now, CA_LIFE_S)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(Error::internal)?;
        Ok(certificate.pem() + &key.serialize_pem())
    }

    /// The authority that [`Ca::generate`] wrote.
    pub(crate) fn parse(pem: &str) -> Result<Self> {
        let broken = || Error::internal("the stored certificate authority cannot be read");
        let start = pem.find("-----BEGIN PRIVATE KEY").ok_or_else(broken)?;
        let (certificate, key) = pem.split_at_checked(start).ok_or_else(broken)?;
        let key = KeyPair::from_pem(key).map_err(Error::internal)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(Error::internal)?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
    }

    /// A certificate by which a gateway shows which cluster it belongs to.
    pub(crate) fn issue_gateway(&self, org: Id, cluster: Id, now: Timestamp) -> Result<Issued> {
        let mut params = params(&format!("gateway of cluster {cluster}"), now, LEAF_LIFE_S)?;
        params.distinguished_name.push(DnType::OrganizationName, org.to_string());
        params.distinguished_name.push(DnType::OrganizationalUnitName, cluster.to_string());
        let name = format!("cluster-{cluster}.org-{org}.gateway.gantry.internal");
        params.subject_alt_names = vec![dns(&name)?];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, now)
    }

    fn issue_server(&self, names: &[String], now: Timestamp) -> Result<Issued> {
        let mut params = params("Gantry", now, LEAF_LIFE_S)?;
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => dns(name)?,
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, now)
    }

    fn sign(&self, mut params: CertificateParams, now: Timestamp) -> Result<Issued> {
        let mut serial = random_bytes::<16>();
        // Positive, and without a leading zero that one side would write and the other not.
        serial[0] = (serial[0] & 0x7f) | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(Error::internal)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(Error::internal)?;
        Ok(Issued {
            certificate: certificate.pem(),
            private_key: key.serialize_pem(),
            serial: hex::encode(serial),
            not_after: now.plus_seconds(LEAF_LIFE_S),
        })
    }

    pub(crate) fn der(&self) -> Result<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(Error::internal)
    }
}

fn params(name: &str, now: Timestamp, life_s: i64) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let date = |time: Timestamp| ASN1Time::from_timestamp(time.seconds()).map_err(Error::internal);
    params.not_before = date(now.plus_seconds(-BACKDATE_S))?.to_datetime();
    params.not_after = date(now.plus_seconds(life_s))?.to_datetime();
    Ok(params)
}

fn dns(name: &str) -> Result<SanType> {
    Ok(SanType::DnsName(name.try_into().map_err(Error::internal)?))
}

/// What the gateway-facing port shows; renewed when clusters, and so names, are added.
pub(crate) struct ServerIdentity(Arc<Current>);

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ServerIdentity {
    pub(crate) fn new(ca: &Ca, names: &[String], now: Timestamp) -> Result<Self> {
        Ok(Self(Arc::new(Current(RwLock::new(certified(ca, names, now)?)))))
    }

    pub(crate) fn renew(&self, ca: &Ca, names: &[String], now: Timestamp) -> Result<()> {
        let key = certified(ca, names, now)?;
        *self.0.0.write().unwrap_or_else(PoisonError::into_inner) = key;
        Ok(())
    }

    pub(crate) fn resolver(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::<Current>::clone(&self.0)
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn certified(ca: &Ca, names: &[String], now: Timestamp) -> Result<Arc<CertifiedKey>> {
    let issued = ca.issue_server(names, now)?;
    let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(issued.private_key.as_bytes());
    let key = rustls::crypto::ring::sign::any_supported_type(&key.map_err(Error::internal)?)
        .map_err(Error::internal)?;
    Ok(Arc::new(CertifiedKey::new(vec![leaf.map_err(Error::internal)?, ca.der()?], key)))
}
