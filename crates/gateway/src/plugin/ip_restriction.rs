//! ip-restriction: allow or deny by the client's address.

use std::sync::Arc;

use http::StatusCode;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config, networks::Networks};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "ip-restriction", compile: IpRestriction::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    whitelist: Option<Vec<String>>,
    blacklist: Option<Vec<String>>,
    message: String,
    response_code: u16,
}

struct IpRestriction {
    list: Networks,
    /// Whether being in the list lets a client in; else it keeps the client out.
    admits: bool,
    status: StatusCode,
    message: String,
}

impl IpRestriction {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { whitelist, blacklist, message, response_code } = config::read(value)?;
        let (list, admits) = match (&whitelist, &blacklist) {
            (Some(list), None) => (list, true),
            (None, Some(list)) => (list, false),
            _ => return Err("give either `whitelist` or `blacklist`".to_owned()),
        };
        let list = Networks::parse(list)?;
        Ok(Arc::new(Self { list, admits, status: config::status(response_code)?, message }))
    }
}

impl Plugin for IpRestriction {
    fn access(&self, exchange: &mut Exchange, _request: &mut RequestHeader) -> Flow {
        if self.list.contains(exchange.client.ip()) == self.admits {
            return Flow::Next;
        }
        Answer::json(self.status, &json!({ "message": self.message })).into()
    }
}
