//! Rules of a certificate that concern gateways.

use gantry_model::Violation;
use gantry_model::config::{CertificateSpec, CertificateType};

use super::{Report, host, schema, some_id};

/// Broken rules of a certificate for the server names `snis`. Whether the PEM texts are valid and
/// belong together is not looked at.
#[must_use]
pub fn check_certificate(spec: &CertificateSpec, snis: &[String]) -> Vec<Violation> {
    let mut report = Report::default();
    if spec.kind == CertificateType::Server {
        if snis.is_empty() {
            let rule = "must hold a DNS name in its subject alternative name or common name, \
                        by which gateways select it";
            report.broken("certificate", rule, "");
        }
        for sni in snis.iter().filter(|sni| !host::is_pattern(sni)) {
            let rule = format!("holds the name `{}`, which is no DNS name", sni.escape_debug());
            report.broken("certificate", rule, "");
        }
    }
    let keys = crate::certificate(some_id(), spec, snis);
    schema::check_documents(&mut report, "certificate", &keys);
    report.0
}
