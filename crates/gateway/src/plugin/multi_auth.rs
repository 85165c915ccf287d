//! multi-auth: one of several ways to authenticate is enough; they are tried in order.

use std::sync::Arc;

use gantry_routing::plugin as catalog;
use http::StatusCode;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{BodyWanted, Flow, Kind, Place, Plugin, Resume, config};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "multi-auth", compile: MultiAuth::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    auth_plugins: Vec<Map<String, Value>>,
}

struct MultiAuth(Arc<[Arc<dyn Plugin>]>);

impl MultiAuth {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { auth_plugins } = config::read(value)?;
        let plugins = auth_plugins.into_iter().flatten();
        let plugins = plugins.map(|(name, config)| {
            compile(&name, config, place).map_err(|reason| format!("`{name}`: {reason}"))
        });
        Ok(Arc::new(Self(plugins.collect::<Result<_, _>>()?)))
    }
}

fn compile(name: &str, config: Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
    if !catalog::get(name).is_some_and(catalog::Plugin::is_auth) || name == KIND.name {
        return Err("it does not authenticate consumers".to_owned());
    }
    if config.get("_meta").is_some() {
        return Err("`_meta` has no effect here".to_owned());
    }
    super::compile(name, config, place)
}

impl Plugin for MultiAuth {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        Attempt { plugins: Arc::clone(&self.0), next: 0 }.make(exchange, request)
    }
}

/// How far the list has been tried.
struct Attempt {
    plugins: Arc<[Arc<dyn Plugin>]>,
    next: usize,
}

impl Attempt {
    fn make(mut self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let Some(plugin) = self.plugins.get(self.next).cloned() else {
            let body = json!({"message": "Authorization Failed"});
            return Answer::json(StatusCode::UNAUTHORIZED, &body).into();
        };
        self.next += 1;
        let flow = plugin.rewrite(exchange, request);
        self.follow(flow, exchange, request)
    }

    /// Goes on with the next plugin where this one refuses.
    fn follow(self, flow: Flow, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        match flow {
            Flow::Next => Flow::Next,
            Flow::Answer(_) => self.make(exchange, request),
            Flow::Wait(wait) => Flow::Wait(Box::pin(async move { self.after(wait.await) })),
            Flow::Body(wanted) => {
                let BodyWanted { limit, too_large, resume } = *wanted;
                Flow::Body(Box::new(BodyWanted { limit, too_large, resume: self.after(resume) }))
            }
        }
    }

    fn after(self, resume: Resume) -> Resume {
        Box::new(move |exchange, request| {
            let flow = resume(exchange, request);
            self.follow(flow, exchange, request)
        })
    }
}
