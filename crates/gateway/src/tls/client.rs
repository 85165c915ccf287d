//! What variables say of a client's certificate and of the cipher, in the words of OpenSSL.

use sha1::{Digest, Sha1};
use x509_parser::{
    der_parser::oid::Oid,
    objects::{oid_registry, oid2abbrev},
    prelude::{AttributeTypeAndValue, FromDer, X509Certificate, X509Name},
};

/// The certificate a client has presented.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// As RFC 2253 writes it: `CN=jack,O=Shop`.
    pub subject: String,
    pub issuer: String,
    /// In hexadecimal digits.
    pub serial: String,
    /// SHA-1 of the whole, in hexadecimal digits.
    pub fingerprint: String,
}

impl ClientCertificate {
    /// None for what is no certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let serial = match certificate.raw_serial() {
            // A byte that only says that the number is positive.
            [0, digits @ ..] if !digits.is_empty() => digits,
            digits => digits,
        };
        Some(Self {
            subject: name(certificate.subject()),
            issuer: name(certificate.issuer()),
            serial: hex::encode_upper(serial),
            fingerprint: hex::encode(Sha1::digest(der)),
        })
    }
}

/// The parts of a name, the last one first.
fn name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let part = |part: &x509_parser::prelude::RelativeDistinguishedName<'_>| {
        part.iter().map(attribute).collect::<Vec<_>>().join("+")
    };
    parts.into_iter().rev().map(part).collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind: &Oid<'_> = attribute.attr_type();
    let kind = oid2abbrev(kind, oid_registry()).map_or_else(|_| kind.to_id_string(), str::to_owned);
    let Ok(text) = attribute.as_str() else {
        return format!("{kind}=#{}", hex::encode_upper(attribute.as_slice()));
    };
    let mut out = format!("{kind}=");
    let last = text.len().saturating_sub(1);
    for (place, byte) in text.bytes().enumerate() {
        let at_an_end = byte == b' ' && (place == 0 || place == last) || byte == b'#' && place == 0;
        if !(b' '..0x7f).contains(&byte) {
            out.push_str(&format!("\\{byte:02X}"));
            continue;
        }
        if at_an_end || b",+\"\\<>;".contains(&byte) {
            out.push('\\');
        }
        out.push(char::from(byte));
    }
    out
}

/// OpenSSL's name of a cipher that rustls calls `TLS13_AES_128_GCM_SHA256` or
/// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
pub fn cipher(name: &str) -> String {
    if let Some(name) = name.strip_prefix("TLS13_") {
        return format!("TLS_{name}");
    }
    let name = name.trim_start_matches("TLS_").replace("_WITH_", "_").replace("AES_", "AES");
    let name = name.replace('_', "-");
    name.strip_suffix("POLY1305-SHA256").map(|name| format!("{name}POLY1305")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber};

    use super::*;

    #[test]
    fn certificates_are_described_as_openssl_does() {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Shop, Größe");
        params.distinguished_name.push(DnType::CommonName, "jack");
        params.serial_number = Some(SerialNumber::from_slice(&[0x9a, 1]));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let read = ClientCertificate::read(certificate.der()).unwrap();
        assert_eq!(read.subject, "CN=jack,O=Shop\\, Gr\\C3\\B6\\C3\\9Fe");
        assert_eq!(read.issuer, read.subject);
        assert_eq!(read.serial, "9A01");
        assert_eq!(read.fingerprint, hex::encode(Sha1::digest(certificate.der())));
        assert_eq!(ClientCertificate::read(b"no certificate"), None);
    }

    #[test]
    fn ciphers_have_the_names_of_openssl() {
        for (name, expected) in [
            ("TLS13_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
        ] {
            assert_eq!(cipher(name), expected);
        }
    }
}
