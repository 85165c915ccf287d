//! ua-restriction: allow or deny by the User-Agent.

use std::sync::Arc;

use fancy_regex::Regex;
use gantry_routing::regex;
use http::{HeaderValue, StatusCode, header::USER_AGENT};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "ua-restriction", compile: UaRestriction::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    allowlist: Option<Vec<String>>,
    denylist: Option<Vec<String>>,
    bypass_missing: bool,
    message: String,
}

struct UaRestriction {
    list: List,
    bypass_missing: bool,
    message: String,
}

enum List {
    Allowed(Vec<Regex>),
    Denied(Vec<Regex>),
}

impl UaRestriction {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { allowlist, denylist, bypass_missing, message } = config::read(value)?;
        let compiled = |list: &[String]| {
            list.iter().map(|pattern| regex::compile(pattern, false)).collect::<Result<_, _>>()
        };
        let list = match (&allowlist, &denylist) {
            (Some(list), None) => List::Allowed(compiled(list)?),
            (None, Some(list)) => List::Denied(compiled(list)?),
            _ => return Err("give either `allowlist` or `denylist`".to_owned()),
        };
        Ok(Arc::new(Self { list, bypass_missing, message }))
    }
}

impl List {
    /// With several headers, one good value is enough for an allowlist and one bad value for a
    /// denylist. A pattern that gives up never lets a request in.
    fn admits<'a>(&self, mut agents: impl Iterator<Item = &'a HeaderValue>) -> bool {
        let found = |list: &[Regex], agent: &HeaderValue, gave_up: bool| {
            let agent = String::from_utf8_lossy(agent.as_bytes());
            list.iter().any(|pattern| pattern.is_match(agent.trim()).unwrap_or(gave_up))
        };
        match self {
            Self::Allowed(list) => agents.any(|agent| found(list, agent, false)),
            Self::Denied(list) => !agents.any(|agent| found(list, agent, true)),
        }
    }
}

impl Plugin for UaRestriction {
    fn access(&self, _exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let agents = request.headers.get_all(USER_AGENT);
        let welcome = match agents.iter().next() {
            None => self.bypass_missing,
            Some(_) => self.list.admits(agents.iter()),
        };
        if welcome {
            return Flow::Next;
        }
        Answer::json(StatusCode::FORBIDDEN, &json!({ "message": self.message })).into()
    }
}
