//! What simulated gateways are made of: a certificate, a watch as stock APISIX opens it, and reports.

use std::time::Duration;

use reqwest::{Certificate, Client, Identity};
use serde_json::{Value, json};

use crate::Outcome;
use crate::api::{Control, text};
use gantry_testkit::client;

/// What a gateway identifies itself with, PEM.
pub struct Material {
    pub certificate: String,
    pub key: String,
    pub ca: String,
}

impl Material {
    /// A new certificate of the cluster.
    pub async fn issue(control: &Control) -> Outcome<Self> {
        let issue = format!("/api/v1/clusters/{}/gateway_certificate", control.cluster);
        let bundle = control.api().await?.call("GET", &issue, None).await?.payload;
        Ok(Self {
            certificate: text(&bundle, "/certificate")?,
            key: text(&bundle, "/private_key")?,
            ca: text(&bundle, "/ca_certificate")?,
        })
    }

    /// A client with connections of its own.
    pub fn client(&self) -> Outcome<Client> {
        let Self { certificate, key, ca } = self;
        let identity = Identity::from_pem(format!("{certificate}\n{key}").as_bytes())?;
        Ok(client::builder()
            .http1_only()
            .timeout(Duration::from_secs(3600))
            .tls_certs_only([Certificate::from_pem(ca.as_bytes())?])
            .identity(identity)
            .build()?)
    }
}

/// A gateway that reports, and does nothing else.
pub struct Reporter {
    client: Client,
    /// `https://host:port` of the server.
    endpoint: String,
    number: usize,
}

impl Reporter {
    pub fn new(material: &Material, endpoint: &str, number: usize) -> Outcome<Self> {
        Ok(Self { client: material.client()?, endpoint: endpoint.to_owned(), number })
    }

    pub fn id(&self) -> String {
        format!("simulated-{}", self.number)
    }

    /// Says that it uses a revision.
    pub async fn beat(&self, revision: i64) -> Outcome {
        let body = json!({
            "id": self.id(), "hostname": self.id(), "ip": "127.0.0.1", "version": "Gantry/0.1.0",
            "api_calls": 10, "etcd_reachable": true, "config_version": revision,
            "ports": [9080, 9443], "problems": [],
        });
        self.post("/api/v1/dp/instance/heartbeat", &body).await
    }

    /// Reports these metrics.
    pub async fn push(&self, round: u64, metrics: &str) -> Outcome {
        let body = json!({ "id": self.id(), "metrics": metrics, "round": round });
        self.post("/api/v1/dp/metrics", &body).await
    }

    /// Opens a watch over everything; its first line has come.
    pub async fn watch(&self) -> Outcome<Lines> {
        Lines::open(&self.client, &self.endpoint).await
    }

    async fn post(&self, path: &str, body: &Value) -> Outcome {
        let request = self.client.post(format!("{}{path}", self.endpoint)).json(body);
        let request = request.header("X-APISEVEN-Instance-Id", self.id());
        let run = format!("3f2b8c1e-5d1f-4a52-9a44-{:012x}", self.number);
        let answer = request.header("X-APISEVEN-Run-Id", run).send().await?.error_for_status()?;
        answer.bytes().await?;
        Ok(())
    }
}

/// An answer that never ends, line by line.
pub struct Lines {
    answer: reqwest::Response,
    rest: Vec<u8>,
}

impl Lines {
    /// Opens a watch over everything; its first line, which says that it stands, has come.
    pub async fn open(client: &Client, endpoint: &str) -> Outcome<Self> {
        // `/apisix/` to `/apisix0` in base64.
        let watch =
            json!({ "create_request": { "key": "L2FwaXNpeC8=", "range_end": "L2FwaXNpeDA=" } });
        let request = client.post(format!("{endpoint}/v3/watch")).json(&watch);
        let answer = request.send().await?.error_for_status()?;
        let mut lines = Self { answer, rest: Vec::new() };
        lines.next().await?;
        Ok(lines)
    }

    /// The revision that the next line tells.
    pub async fn revision(&mut self) -> Outcome<i64> {
        loop {
            let line = self.next().await?;
            let revision = line.pointer("/result/header/revision").and_then(Value::as_str);
            if let Some(revision) = revision.and_then(|text| text.parse().ok()) {
                return Ok(revision);
            }
        }
    }

    async fn next(&mut self) -> Outcome<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            let more = self.answer.chunk().await?.ok_or("a watch ended")?;
            self.rest.extend_from_slice(&more);
        }
    }
}
