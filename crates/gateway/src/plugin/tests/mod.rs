//! Plugins as a request meets them: configured, compiled, and run phase by phase.

mod authentication;
mod cors;
mod faults;
mod hmac;
mod limits;
mod paths;
mod responses;
mod restrictions;
mod rewriting;
mod traffic;
mod validation;

use std::sync::Arc;

use http::{HeaderName, Method, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use serde_json::Value;

use super::{Flow, Place, Plugin, Shared, find};
use crate::{
    answer::{Answer, Body},
    exchange::Exchange,
    snapshot::Snapshot,
};

/// Checks and compiles a configuration as it would arrive in a route.
fn plugin(name: &str, config: &Value) -> Arc<dyn Plugin> {
    compile(name, config, &Arc::default()).unwrap()
}

fn compile(name: &str, config: &Value, shared: &Arc<Shared>) -> Result<Arc<dyn Plugin>, String> {
    compile_at(name, config, &Place { owner: "/apisix/routes/1", metadata: None, shared })
}

fn compile_at(name: &str, config: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
    let mut config = config.clone();
    gantry_routing::plugin::check(name, &mut config, gantry_routing::plugin::Role::Switch).unwrap();
    (find(name).unwrap().compile)(&config, place)
}

/// The same with metadata.
fn plugin_with(name: &str, config: &Value, metadata: &Value) -> Arc<dyn Plugin> {
    let place =
        Place { owner: "/apisix/routes/1", metadata: Some(metadata), shared: &Arc::default() };
    compile_at(name, config, &place).unwrap()
}

fn exchange() -> Exchange {
    Exchange::new(Arc::new(Snapshot::default()))
}

/// A request like `GET /path?query` with headers.
fn request(target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
    for (name, value) in headers {
        request.append_header(HeaderName::from_static(name), *value).unwrap();
    }
    request
}

fn options(headers: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = request("/", headers);
    request.set_method(Method::OPTIONS);
    request.set_version(Version::HTTP_11);
    request
}

/// Runs the rewrite phase and answers what the plugin answered.
fn rewrite(
    plugin: &Arc<dyn Plugin>,
    exchange: &mut Exchange,
    request: &mut RequestHeader,
) -> Option<Answer> {
    let flow = plugin.rewrite(exchange, request);
    answer(flow, exchange, request)
}

/// Runs the access phase and answers what the plugin answered.
fn access(
    plugin: &Arc<dyn Plugin>,
    exchange: &mut Exchange,
    request: &mut RequestHeader,
) -> Option<Answer> {
    let flow = plugin.access(exchange, request);
    answer(flow, exchange, request)
}

/// Waits for what a plugin waits for. Tests of plugins that wait need a runtime around them.
fn answer(mut flow: Flow, exchange: &mut Exchange, request: &mut RequestHeader) -> Option<Answer> {
    loop {
        match flow {
            Flow::Next => return None,
            Flow::Answer(answer) => return Some(*answer),
            Flow::Wait(wait) => flow = futures::executor::block_on(wait)(exchange, request),
            Flow::Body(wanted) => {
                let body = exchange.body.get_or_insert_default();
                if body.len() as u64 > wanted.limit {
                    return Some(wanted.too_large);
                }
                flow = (wanted.resume)(exchange, request);
            }
        }
    }
}

/// Status and body of an answer; the stock page is written as `page`.
fn read(answer: Option<Answer>) -> (u16, String) {
    let Some(answer) = answer else { return (0, String::new()) };
    let body = match &answer.body {
        Body::Page => "page".to_owned(),
        Body::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
    };
    (answer.status.as_u16(), body)
}

/// The response's headers after the plugin has seen an empty 200.
fn response(
    plugin: &Arc<dyn Plugin>,
    exchange: &mut Exchange,
    request: &RequestHeader,
) -> ResponseHeader {
    let mut response = ResponseHeader::build(200, None).unwrap();
    plugin.response_headers(exchange, request, &mut response);
    response
}

fn header<'a>(response: &'a ResponseHeader, name: &str) -> Option<&'a str> {
    response.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn the_server_knows_which_plugins_run_here() {
    let mut names: Vec<&str> = super::KINDS.iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    assert_eq!(names, gantry_routing::plugin::RUN_IN_GANTRY);
}
