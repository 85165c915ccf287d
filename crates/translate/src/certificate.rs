//! A certificate, shown to clients or to backends.

use gantry_model::Id;
use gantry_model::config::{CertificateSpec, CertificateType};
use serde_json::json;

use crate::Keys;
use crate::document::{Directory, Document, labels};

/// How many intermediates may stand between a client's certificate and the CA.
const CLIENT_DEPTH: u8 = 2;

/// The document of a certificate for the server names `snis`, which only type Server needs.
#[must_use]
pub fn certificate(id: Id, spec: &CertificateSpec, snis: &[String]) -> Keys {
    let mut keys = Keys::new();
    let CertificateSpec { certificate, private_key, ca_certificate, labels: tags, kind } = spec;
    let mut document = Document::with_id(&id);
    // APISIX takes a key for encrypted if it does not start with a dash.
    document.put("cert", certificate.trim());
    document.put("key", private_key.trim());
    document.put_map("labels", labels(tags));
    let ca = ca_certificate.as_deref().map(str::trim).filter(|ca| !ca.is_empty());
    match kind {
        CertificateType::Server => {
            let snis: Vec<String> = snis.iter().map(|sni| sni.to_ascii_lowercase()).collect();
            document.put("type", "server");
            document.put("snis", snis);
            document.put("status", 1);
            document.put_some("client", ca.map(|ca| json!({ "ca": ca, "depth": CLIENT_DEPTH })));
        }
        CertificateType::Client => {
            document.put("type", "client");
            document.put_some("client", ca.map(|ca| json!({ "ca": ca })));
        }
    }
    document.store(&mut keys, Directory::Certificates, id);
    keys
}
