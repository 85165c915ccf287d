//! Gateways: how they prove who they are, what they need to start, and what they report.

use std::sync::Arc;

use gantry_model::config::ServiceRegistrySpec;
use gantry_model::{Error, Id, Result, Secret, Timestamp};
use gantry_store::gateway::GatewayCertificateRow;
use gantry_store::{cluster, gateway};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Serialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::ca::Ca;
use crate::change::change;
use crate::object::Stored;
use crate::seal::random_text;
use crate::token::{Claims, Use};
use crate::{App, Cx};

/// How long the token of a gateway user counts; clients fetch a new one when it ends.
const TOKEN_S: i64 = 24 * 3600;

/// Where the management API serves the agent for stock APISIX.
pub const AGENT_PATH: &str = "/agent/apisix.tar.gz";

const REFUSED: &str = "the gateway's certificate or token is not valid here";

/// Which cluster a gateway belongs to, and how it proved that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: Id,
    pub org: Id,
    pub via: Via,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    Certificate { serial: String },
    User { name: String },
}

/// What a gateway needs to connect; all three in PEM.
#[derive(Clone, Serialize)]
pub struct TlsBundle {
    pub certificate: String,
    pub private_key: String,
    pub ca_certificate: String,
}

/// Name and password of a gateway user.
#[derive(Clone, Debug)]
pub struct GatewayUser {
    pub name: String,
    pub password: Secret,
}

/// Makes a new client certificate for gateways of a cluster.
pub async fn issue_certificate(cx: &Cx, id: Id) -> Result<TlsBundle> {
    let issued = change(cx, id, move |change| {
        Box::pin(async move {
            let issued = change.app.ca.issue_gateway(change.cluster.org_id, id, change.now)?;
            let row = GatewayCertificateRow {
                serial: issued.serial.clone(),
                cluster_id: id,
                not_after: issued.not_after,
                created_at: change.now,
                revoked_at: None,
            };
            gateway::insert_certificate(change.tx, &row).await?;
            let record = json!({ "serial": issued.serial, "not_after": issued.not_after });
            change.audit("gateway_certificate", &issued.serial, None, Some(record));
            Ok(issued)
        })
    });
    let issued = issued.await?.value;
    Ok(TlsBundle {
        certificate: issued.certificate,
        private_key: issued.private_key,
        ca_certificate: cx.app.ca.certificate.clone(),
    })
}

/// Ends a certificate before its time; `serial` in hex, as certificates show it.
pub async fn revoke_certificate(cx: &Cx, id: Id, serial: &str) -> Result<()> {
    let serial: String = serial.chars().filter(|c| *c != ':').collect::<String>().to_lowercase();
    let revoked = change(cx, id, move |change| {
        Box::pin(async move {
            if !gateway::revoke_certificate(change.tx, id, &serial, change.now).await? {
                return Err(Error::not_found("gateway certificate"));
            }
            let record = json!({ "revoked_at": change.now });
            change.audit("gateway_certificate", &serial, None, Some(record));
            Ok(())
        })
    });
    revoked.await.map(|_| ())
}

/// Makes a gateway user, for gateways that cannot show a certificate.
pub async fn issue_user(cx: &Cx, id: Id) -> Result<GatewayUser> {
    let name = format!("gateway-{}", cx.app.new_id());
    let password = Secret::new(random_text::<24>());
    let (hash, kept) = (cx.app.sealer.hash(password.expose()), name.clone());
    let issued = change(cx, id, move |change| {
        Box::pin(async move {
            gateway::insert_token(change.tx, &kept, id, &hash, change.now).await?;
            change.audit("gateway_user", &kept, None, Some(json!({ "name": kept })));
            Ok(())
        })
    });
    issued.await?;
    Ok(GatewayUser { name, password })
}

/// The cluster of a gateway by the certificate it showed, in DER.
pub async fn identify_certificate(app: &App, der: &[u8]) -> Result<Identity> {
    let now = app.now();
    let serial = app.verified.serial(der, now, || verified_serial(app, der, now))?;
    let mut tx = app.db.read().await?;
    let known = gateway::find_certificate(&mut tx, &serial).await?;
    let known = known.filter(|row| row.revoked_at.is_none() && row.not_after > now);
    let known = known.ok_or_else(|| Error::unauthorized(REFUSED))?;
    let found = cluster::find(&mut tx, known.cluster_id).await?;
    let found = found.ok_or_else(|| Error::unauthorized(REFUSED))?;
    Ok(Identity { cluster: found.id, org: found.org_id, via: Via::Certificate { serial } })
}

/// Serial number of a certificate that our own authority signed for a gateway and that is valid.
fn verified_serial(app: &App, der: &[u8], now: Timestamp) -> Result<String> {
    let refused = || Error::unauthorized(REFUSED);
    let seconds = u64::try_from(now.seconds()).map_err(Error::internal)?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let leaf = CertificateDer::from(der);
    app.verifier.verify_client_cert(&leaf, &[], time).map_err(|_| refused())?;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| refused())?;
    Ok(hex::encode(parsed.raw_serial()).trim_start_matches('0').to_owned())
}

/// Accepts the certificates that our own authority signed for gateways.
pub(crate) fn verifier(ca: &Ca) -> Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der()?).map_err(Error::internal)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(Error::internal)
}

/// TLS of the gateway-facing port: a certificate of our authority for every cluster's name, client
/// certificates of the same authority wanted but not required.
pub async fn server_tls(app: &App) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_client_cert_verifier(app.verifier.clone())
        .with_cert_resolver(app.server.resolver()))
}

/// Signs a gateway user in; the answer is a token for [`identify_token`].
pub async fn login(app: &App, name: &str, password: &str) -> Result<String> {
    let names = [format!("gateway {name}")];
    let names = names.each_ref().map(String::as_str);
    let now = app.now();
    app.throttle.check(&names, now)?;
    let known = gateway::find_token(&mut app.db.read().await?, name).await?;
    let hash = app.sealer.hash(password);
    let fits = known.is_some_and(|(_, kept)| kept.as_bytes().ct_eq(hash.as_bytes()).into());
    if !fits {
        app.throttle.failed(&names, now);
        return Err(Error::unauthorized("the name or the password of the gateway is wrong"));
    }
    app.throttle.succeeded(&names);
    app.signer.sign(&Claims {
        sub: name.to_owned(),
        jti: app.new_id(),
        iat: now.seconds(),
        exp: Some(now.plus_seconds(TOKEN_S).seconds()),
        purpose: Use::Gateway,
    })
}

/// The cluster of a gateway by its token.
pub async fn identify_token(app: &App, token: &str) -> Result<Identity> {
    let refused = || Error::unauthorized(REFUSED);
    let claims = app.signer.read(token, app.now())?;
    if claims.purpose != Use::Gateway {
        return Err(refused());
    }
    let mut tx = app.db.read().await?;
    let (id, _) = gateway::find_token(&mut tx, &claims.sub).await?.ok_or_else(refused)?;
    let found = cluster::find(&mut tx, id).await?.ok_or_else(refused)?;
    Ok(Identity { cluster: id, org: found.org_id, via: Via::User { name: claims.sub } })
}

/// The host of `host:port`, without the brackets of an IPv6 address.
pub(crate) fn endpoint_host(endpoint: &str) -> &str {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Start-up configuration of a stock gateway: a Go template in which the client fills in its paths.
/// `kind` is `apisix` or `helm`.
pub async fn startup_config(cx: &Cx, id: Id, kind: &str) -> Result<String> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, id).await?;
    let template = match kind {
        "apisix" => include_str!("../templates/apisix.yaml"),
        "helm" => include_str!("../templates/helm.yaml"),
        _ => {
            let rule = "must be `apisix` or `helm`";
            return Err(Error::invalid_field("config_type", rule, "\"apisix\""));
        }
    };
    let registries = crate::service_registry::enabled(&cx.app, &mut tx, id).await?;
    let found = cluster::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("cluster"))?;
    let (settings, _) = crate::cluster::opened(&cx.app, &found)?;
    let proxy = settings.api_proxy_settings.unwrap_or_default();
    let observability = settings.observability_settings.unwrap_or_default();
    let tail_slash = proxy.url_handling_options.iter().any(|option| option == "Delete Tail Slash");
    let status_header = observability.show_upstream_status_in_response_header;
    Ok(template
        .replace("@AGENT@", &format!("{}{AGENT_PATH}", cx.app.public_url()))
        .replace("@ENDPOINT@", &cx.app.gateway_endpoint)
        .replace("@SNI@", endpoint_host(&cx.app.gateway_endpoint))
        .replace("@DELETE_TAIL_SLASH@", &tail_slash.to_string())
        .replace("@SHOW_UPSTREAM_STATUS@", &status_header.to_string())
        .replace("@DISCOVERY@", &discovery(kind, &registries)?))
}

/// The section on service registries: APISIX reads them nowhere else. Tokens are read in the
/// environment of the gateway, as they are shown to nobody.
fn discovery(kind: &str, registries: &[Stored<ServiceRegistrySpec>]) -> Result<String> {
    if registries.is_empty() {
        return Ok(String::new());
    }
    let mut lines = match kind {
        "helm" => "discovery:\n  enabled: true\n  registry:\n    kubernetes:\n".to_owned(),
        _ => "discovery:\n  kubernetes:\n".to_owned(),
    };
    let indent = if kind == "helm" { "      " } else { "    " };
    for one in registries {
        let mut entry = gantry_translate::startup_registry(one.row.id, &one.spec);
        if let Some(token) = entry.pointer_mut("/client/token") {
            *token = format!("${{{{SERVICE_REGISTRY_{}_TOKEN}}}}", one.row.id).into();
        }
        // JSON is YAML; braces must not look like an action to the client's template engine.
        let entry = entry.to_string().replace("{{", "{{\"{{\"}}");
        lines += &format!("{indent}- {entry}\n");
    }
    Ok(lines)
}
