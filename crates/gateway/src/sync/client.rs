//! The etcd calls a gateway makes, over gRPC.

use std::{fmt, sync::Arc, time::Duration};

use gantry_etcd_proto::{
    etcdserverpb::{
        AuthenticateRequest, RangeRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
        WatchResponse, auth_client::AuthClient, kv_client::KvClient, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    mvccpb::{KeyValue, event::EventType},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use super::Change;

/// Gantry's gateway port or any etcd v3.
#[derive(Debug, Clone)]
pub struct Etcd {
    /// `http://host:port` or `https://host:port`; several are tried in turn.
    pub endpoints: Vec<String>,
    /// The directory that holds this cluster's configuration, `/apisix`.
    pub prefix: String,
    pub tls: SourceTls,
    pub login: Option<Login>,
}

/// PEM texts for an `https` source. Empty: the system knows the authority, no client certificate.
#[derive(Clone, Default)]
pub struct SourceTls {
    /// Who signs the source's certificate.
    pub authority: Option<String>,
    /// The gateway's certificate and private key.
    pub identity: Option<(String, String)>,
    /// The name in the source's certificate, if it is not the endpoint's host.
    pub server_name: Option<String>,
}

impl fmt::Debug for SourceTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// A user of the source and the password or gateway token.
#[derive(Clone)]
pub struct Login {
    pub name: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Why a connection to the source ended.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The changes since our revision are not to be had: read everything again.
    #[error("the source has no history back to our revision")]
    History,
    /// What we have is not what the source has: read everything again.
    #[error("{0}")]
    Doubt(&'static str),
    #[error("{0}")]
    Transport(#[from] tonic::transport::Error),
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    #[error("{0}")]
    Protocol(&'static str),
}

/// How long connecting, authenticating or a ping may take before the source counts as silent.
const SILENCE: Duration = Duration::from_secs(5);
/// Pings find a connection that died without a word.
const PING: Duration = Duration::from_secs(5);
/// A whole configuration comes in one message.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// One connection to the source.
pub struct Client {
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
    /// With its final slash: `/apisix/`.
    directory: String,
}

impl Client {
    /// Connects to one of the endpoints, by turns, and signs in if there is a login.
    pub async fn connect(source: &Etcd, attempt: usize) -> Result<Self, Lost> {
        let count = source.endpoints.len().max(1);
        let address = source
            .endpoints
            .get(attempt % count)
            .ok_or(Lost::Protocol("no endpoint is configured"))?;
        let mut endpoint = Endpoint::from_shared(address.clone())?
            .connect_timeout(SILENCE)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(SILENCE)
            .keep_alive_while_idle(true);
        if address.starts_with("https:") {
            endpoint = endpoint.tls_config(tls(&source.tls))?;
        }
        let channel = endpoint.connect().await?;
        let token = match &source.login {
            Some(login) => Some(authenticate(channel.clone(), login).await?),
            None => None,
        };
        let directory = format!("{}/", source.prefix.trim_end_matches('/'));
        Ok(Self { channel, token, directory })
    }

    /// Everything below the prefix, and the revision it is from.
    pub async fn range(&mut self) -> Result<(i64, Vec<Change>), Lost> {
        let mut client =
            KvClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let request = RangeRequest {
            key: self.directory.clone().into(),
            range_end: end_of(&self.directory).into(),
            ..RangeRequest::default()
        };
        let answer = client.range(self.request(request)).await?.into_inner();
        let header = answer.header.ok_or(Lost::Protocol("an answer has no revision"))?;
        let entries =
            answer.kvs.into_iter().filter_map(|entry| self.change(entry, false)).collect();
        Ok((header.revision, entries))
    }

    /// The changes from this revision on.
    pub async fn watch(self, from: i64) -> Result<Watch, Lost> {
        let mut client =
            WatchClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let create = WatchCreateRequest {
            key: self.directory.clone().into(),
            range_end: end_of(&self.directory).into(),
            start_revision: from,
            ..WatchCreateRequest::default()
        };
        // The sender is kept: closing it would end the watch.
        let (requests, outgoing) = mpsc::channel(1);
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.try_send(create).map_err(|_| Lost::Protocol("the watch cannot be opened"))?;
        let answers = client.watch(self.request(ReceiverStream::new(outgoing))).await?.into_inner();
        Ok(Watch { client: self, answers, requests })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    /// The change of a key below the prefix. Directory placeholders are none.
    fn change(&self, entry: KeyValue, deleted: bool) -> Option<Change> {
        let key = String::from_utf8(entry.key.into()).ok()?;
        let key = key.strip_prefix(&self.directory)?;
        if key.is_empty() || key.ends_with('/') {
            return None;
        }
        let value = (!deleted).then(|| Arc::from(&entry.value[..]));
        Some(Change { key: key.to_owned(), value })
    }
}

/// An open watch.
pub struct Watch {
    client: Client,
    answers: Streaming<WatchResponse>,
    requests: mpsc::Sender<WatchRequest>,
}

/// What a watch reports.
pub enum Event {
    /// The watch stands; this is the source's newest revision.
    Created { revision: i64 },
    /// Everything that happened from the first to this revision.
    Changes { first: i64, revision: i64, changes: Vec<Change> },
    /// Everything up to this revision has been told; answers [`Watch::ask`].
    Progress { revision: i64 },
}

impl Watch {
    /// Asks how far the watch has come.
    pub fn ask(&self) -> Result<(), Lost> {
        let union = RequestUnion::ProgressRequest(WatchProgressRequest {});
        let request = WatchRequest { request_union: Some(union) };
        self.requests.try_send(request).map_err(|_| Lost::Protocol("the watch takes no question"))
    }

    /// Waits for the next report. Can be dropped at any time without losing one.
    pub async fn next(&mut self) -> Result<Event, Lost> {
        let closed = Lost::Protocol("the source closed the watch");
        let answer = self.answers.message().await?.ok_or(closed)?;
        if answer.compact_revision > 0 {
            return Err(Lost::History);
        }
        if answer.canceled {
            return Err(Lost::Protocol("the source cancelled the watch"));
        }
        let header = answer.header.ok_or(Lost::Protocol("an answer has no revision"))?;
        if answer.created {
            return Ok(Event::Created { revision: header.revision });
        }
        let (mut first, mut revision) = (i64::MAX, 0);
        let mut changes = Vec::with_capacity(answer.events.len());
        for event in answer.events {
            let deleted = event.r#type == EventType::Delete as i32;
            let Some(entry) = event.kv else { continue };
            first = first.min(entry.mod_revision);
            revision = revision.max(entry.mod_revision);
            changes.extend(self.client.change(entry, deleted));
        }
        if revision > 0 {
            return Ok(Event::Changes { first, revision, changes });
        }
        Ok(Event::Progress { revision: header.revision })
    }
}

async fn authenticate(channel: Channel, login: &Login) -> Result<MetadataValue<Ascii>, Lost> {
    let request =
        AuthenticateRequest { name: login.name.clone(), password: login.password.clone() };
    let mut client = AuthClient::new(channel);
    let call = tokio::time::timeout(SILENCE, client.authenticate(request));
    let answer = call.await.map_err(|_| Lost::Protocol("signing in took too long"))??;
    answer.into_inner().token.parse().map_err(|_| Lost::Protocol("the token is not a header value"))
}

fn tls(settings: &SourceTls) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new();
    if let Some(authority) = &settings.authority {
        config = config.ca_certificate(Certificate::from_pem(authority));
    }
    if let Some((certificate, key)) = &settings.identity {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    if let Some(name) = &settings.server_name {
        config = config.domain_name(name);
    }
    config
}

/// The first key behind a directory: its last byte, the slash, counted up.
fn end_of(directory: &str) -> Vec<u8> {
    let mut end = directory.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
