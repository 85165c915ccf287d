//! proxy-control: request buffering. This gateway always streams request bodies, so the setting
//! is accepted and has nothing to switch.

use std::sync::Arc;

use serde_json::Value;

use super::{Kind, Place, Plugin};

pub(super) const KIND: Kind =
    Kind { name: "proxy-control", compile: ProxyControl::compile, identify: None };

struct ProxyControl;

impl ProxyControl {
    fn compile(_value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        Ok(Arc::new(Self))
    }
}

impl Plugin for ProxyControl {}
