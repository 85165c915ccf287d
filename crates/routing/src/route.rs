//! What a route demands of a request apart from host and path.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::expr::{self, Expr};
use crate::resource::Route;
use crate::table::Pattern;
use crate::vars::Vars;

/// The conditions of a route, compiled. Shared by the gateway that applies them and the server that
/// explains them.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    patterns: Box<[Pattern]>,
    priority: i64,
    methods: Option<Methods>,
    remote_addrs: Box<[IpNet]>,
    vars: Option<Box<Expr>>,
}

impl RouteMatch {
    /// Compiles all conditions. The error is a sentence.
    ///
    /// A route with a Lua condition is refused: without the condition it would match too much.
    pub fn compile(route: &Route) -> Result<Self, String> {
        if route.filter_func.is_some() || route.script.is_some() || route.script_id.is_some() {
            return Err("conditions and scripts in Lua cannot run in this gateway".to_owned());
        }
        let patterns =
            route.uris.iter().map(|uri| Pattern::compile(uri)).collect::<Result<_, _>>()?;
        let nets = route.remote_addrs.iter().map(|text| expr::net(text));
        let methods = Methods::of(&route.methods)?;
        Ok(Self {
            patterns,
            priority: route.priority,
            methods: (!route.methods.is_empty()).then_some(methods),
            remote_addrs: nets.collect::<Result<_, _>>()?,
            vars: route.vars.as_ref().map(Expr::compile).transpose()?.map(Box::new),
        })
    }

    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    #[must_use]
    pub fn priority(&self) -> i64 {
        self.priority
    }

    /// The names of the variables that the route's conditions look at.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        self.vars.as_ref().map_or_else(Vec::new, |vars| vars.variables())
    }

    /// Whether a request for one of the patterns may use the route.
    ///
    /// A route without methods takes every method, also unknown ones.
    #[must_use]
    pub fn accepts(&self, method: &str, remote_addr: IpAddr, vars: &dyn Vars) -> bool {
        let address = remote_addr.to_canonical();
        self.methods.is_none_or(|methods| methods.contains(method))
            && (self.remote_addrs.is_empty()
                || self.remote_addrs.iter().any(|net| net.contains(&address)))
            && self.vars.as_ref().is_none_or(|vars_expr| vars_expr.matches(vars))
    }
}

/// The methods a route may name; the place is the bit.
const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE"];

#[derive(Clone, Copy, Debug)]
struct Methods(u16);

impl Methods {
    fn of(names: &[String]) -> Result<Self, String> {
        names.iter().try_fold(Self(0), |methods, name| {
            let bit =
                bit(name).ok_or_else(|| format!("`{name}` is not a method routes can name"))?;
            Ok(Self(methods.0 | bit))
        })
    }

    fn contains(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }
}

fn bit(name: &str) -> Option<u16> {
    METHODS.iter().position(|method| *method == name).map(|place| 1 << place)
}
