//! What an API server has told: EndpointSlices, reduced to what upstreams need.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
};

use serde::Deserialize;

use super::Endpoint;

/// The object of an event: an EndpointSlice, a bookmark that has metadata only, or a Status.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    pub metadata: Metadata,
    endpoints: Option<Vec<Addresses>>,
    ports: Option<Vec<Port>>,
    /// Of a Status.
    pub code: Option<u16>,
    /// Of a Status.
    pub message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
    pub resource_version: String,
    pub labels: Option<BTreeMap<String, String>>,
    /// Of a list: where the next page begins.
    pub r#continue: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Addresses {
    #[serde(default)]
    addresses: Vec<String>,
    conditions: Option<Conditions>,
}

#[derive(Debug, Deserialize)]
struct Conditions {
    ready: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
}

const SERVICE: &str = "kubernetes.io/service-name";

/// All slices of a registry.
#[derive(Default)]
pub struct Catalog {
    /// By `namespace/name`.
    slices: HashMap<String, Slice>,
    /// The slices of each service, `namespace/name`.
    services: HashMap<String, BTreeSet<String>>,
}

struct Slice {
    service: String,
    ports: Vec<(String, u16)>,
    hosts: Vec<String>,
}

impl Catalog {
    /// Takes a slice in; answers the services this touches.
    pub fn put(&mut self, object: Object) -> Vec<String> {
        let Object { metadata, endpoints, ports, .. } = object;
        let key = format!("{}/{}", metadata.namespace, metadata.name);
        let mut touched = self.remove(&metadata);
        let name = metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE));
        let Some(name) = name else { return touched };
        let service = format!("{}/{name}", metadata.namespace);
        // Unknown counts as ready: that is how Kubernetes wants it.
        let ready = |entry: &Addresses| {
            entry.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        };
        let hosts = endpoints.unwrap_or_default().into_iter().filter(ready);
        let ports = ports.unwrap_or_default().into_iter();
        let slice = Slice {
            service: service.clone(),
            ports: ports
                .filter_map(|port| Some((port.name.unwrap_or_default(), port.port?)))
                .collect(),
            hosts: hosts.flat_map(|entry| entry.addresses).collect(),
        };
        self.services.entry(service.clone()).or_default().insert(key.clone());
        self.slices.insert(key, slice);
        if !touched.contains(&service) {
            touched.push(service);
        }
        touched
    }

    /// How many slices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slices.len()
    }

    /// Forgets a slice; answers the service this touches.
    pub fn remove(&mut self, metadata: &Metadata) -> Vec<String> {
        let key = format!("{}/{}", metadata.namespace, metadata.name);
        let Some(slice) = self.slices.remove(&key) else { return Vec::new() };
        if let Some(slices) = self.services.get_mut(&slice.service) {
            slices.remove(&key);
            if slices.is_empty() {
                self.services.remove(&slice.service);
            }
        }
        vec![slice.service]
    }

    /// The nodes of a service at a port. The port is a name; a number counts only where ports have
    /// no name. IPv4 where a service has both.
    #[must_use]
    pub fn find(&self, service: &str, port: &str, weight: u32) -> Vec<Endpoint> {
        let slices = self.services.get(service).into_iter().flatten();
        let mut found: Vec<Endpoint> = Vec::new();
        for slice in slices.filter_map(|key| self.slices.get(key)) {
            let fits = |(name, number): &&(String, u16)| {
                name == port || name.is_empty() && number.to_string() == port
            };
            for (_, number) in slice.ports.iter().filter(fits) {
                let endpoint =
                    |host: &String| Endpoint { host: host.clone(), port: *number, weight };
                found.extend(slice.hosts.iter().map(endpoint));
            }
        }
        let is_v4 = |endpoint: &Endpoint| endpoint.host.parse::<Ipv4Addr>().is_ok();
        if found.iter().any(is_v4) {
            found.retain(is_v4);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
