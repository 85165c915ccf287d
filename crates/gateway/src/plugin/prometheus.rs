//! prometheus: counts finished requests; `metrics` holds the series and writes them out.

use std::{sync::Arc, time::Duration};

use gantry_routing::vars::Vars as _;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Kind, Place, Plugin, Shared, config,
    metrics::{Hidden, Labels, Sample},
};
use crate::{exchange::Facts, route::Candidate};

pub(super) const KIND: Kind =
    Kind { name: "prometheus", compile: Prometheus::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    prefer_name: bool,
}

struct Prometheus {
    shared: Arc<Shared>,
    prefer_name: bool,
}

impl Prometheus {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { prefer_name } = config::read(value)?;
        let hidden = place.metadata.and_then(|metadata| metadata.get("disabled_labels"));
        let hidden: Hidden = hidden.map(config::read).transpose()?.unwrap_or_default();
        place.shared.metrics.hide(hidden);
        Ok(Arc::new(Self { shared: Arc::clone(place.shared), prefer_name }))
    }

    fn labels<'a>(&self, facts: &Facts<'a>, extra: &'a [String]) -> Labels<'a> {
        let exchange = facts.exchange;
        let consumer = exchange.consumer.as_ref().map_or("", |consumer| &consumer.name);
        let node = exchange.attempts.address.map(|address| address.ip());
        let mut labels = Labels { consumer, node, extra, ..Labels::default() };
        if let Some(candidate) = &exchange.route {
            let route = &*candidate.route;
            let name = |id: &'a str, name: Option<&'a str>| {
                name.filter(|_| self.prefer_name).unwrap_or(id)
            };
            labels.route = name(&route.id, route.name.as_deref());
            if let Some(id) = &route.service_id {
                labels.service = name(id, route.service_name());
            }
        }
        labels
    }
}

impl Plugin for Prometheus {
    fn log(&self, facts: &Facts<'_>) {
        let exchange = facts.exchange;
        let text = |name: &str| facts.var(name).and_then(|value| Some(value.text()?.into_owned()));
        let extra =
            self.shared.metrics.extra_variables().map(|name| text(name).unwrap_or_default());
        let extra: Vec<String> = extra.collect();
        let route = exchange.route.as_ref();
        self.shared.metrics.record(&Sample {
            labels: self.labels(facts, &extra),
            matched_uri: route.map_or("", Candidate::uri),
            matched_host: route.map_or("", Candidate::host),
            began: exchange.started,
            status: exchange.response.status,
            source: exchange.response.source.name(),
            total_ms: millis(exchange.started.elapsed()),
            upstream_ms: exchange.attempts.response_time.map(millis),
            ingress: facts.request_bytes(),
            egress: facts.response_bytes(),
        });
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
