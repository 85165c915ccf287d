//! Plugins of a place, merged over the places that apply to a request and put in order.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use gantry_routing::expr::Expr;
use http::StatusCode;
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
    proxy::Session,
};

use crate::{
    answer::{Answer, Body},
    body,
    exchange::{Exchange, Facts},
    plugin::{Flow, Plugin},
};

/// One plugin in one configured place.
pub struct Link {
    pub name: &'static str,
    /// Larger runs earlier.
    pub priority: i64,
    /// False for `_meta.disable`: takes part in the merge, but does not run.
    pub enabled: bool,
    /// True if the plugin does not run globally for routes that have it themselves.
    pub prefer_route: bool,
    /// The plugin runs only for requests that this fits.
    pub filter: Option<Expr>,
    /// When the filter is asked.
    pub begins: Phase,
    /// Stands for a plugin that had to protect something and cannot. No other global rule displaces it;
    /// what goes before it in the merge does.
    pub closed: bool,
    /// Replaces the body of the plugin's answers from 400 on.
    pub error_response: Option<Bytes>,
    pub plugin: Arc<dyn Plugin>,
}

/// The plugins of one place by name.
pub type Links = BTreeMap<&'static str, Arc<Link>>;

/// The phases of a request in which plugins run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Rewrite,
    Access,
    Response,
    Log,
}

/// The two turns of the response phases; see [`Plugin::is_last`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    First,
    Last,
}

impl Turn {
    pub const ALL: [Self; 2] = [Self::First, Self::Last];
}

/// Plugins in the order they run.
#[derive(Default)]
pub struct Chain {
    links: Box<[Arc<Link>]>,
    reads_bodies: bool,
}

impl Chain {
    /// Merges places, the later ones winning by name, and orders what is left.
    #[must_use]
    pub fn merge<'a>(places: impl IntoIterator<Item = &'a Links>) -> Self {
        let mut merged = Links::new();
        for links in places {
            merged.extend(links.iter().map(|(name, link)| (*name, Arc::clone(link))));
        }
        let mut links: Box<[_]> = merged.into_values().filter(|link| link.enabled).collect();
        links.sort_by_key(|link| std::cmp::Reverse(link.priority));
        let reads_bodies = links.iter().any(|link| link.plugin.reads_bodies());
        Self { links, reads_bodies }
    }

    /// Runs the rewrite phase; Some if a plugin ended the request.
    pub async fn rewrite(
        &self,
        exchange: &mut Exchange,
        session: &mut Session,
    ) -> Result<Option<Answer>> {
        self.until_answer(Phase::Rewrite, exchange, session, |plugin, exchange, request| {
            plugin.rewrite(exchange, request)
        })
        .await
    }

    /// Runs the access phase; Some if a plugin ended the request.
    pub async fn access(
        &self,
        exchange: &mut Exchange,
        session: &mut Session,
    ) -> Result<Option<Answer>> {
        self.until_answer(Phase::Access, exchange, session, |plugin, exchange, request| {
            plugin.access(exchange, request)
        })
        .await
    }

    /// Lets every plugin whose turn it is see and change the response head.
    pub fn response_headers(
        &self,
        turn: Turn,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        for link in &self.links {
            if link.has(turn) && link.runs(Phase::Response, exchange, request, Some(response)) {
                link.plugin.response_headers(exchange, request, response);
            }
        }
    }

    /// Whether any plugin gives a body to a response of an upstream that has none.
    pub fn fills(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &ResponseHeader,
    ) -> bool {
        self.links.iter().any(|link| {
            link.plugin.fills(&Facts { response: Some(response), ..exchange.facts(request) })
                && link.runs(Phase::Response, exchange, request, Some(response))
        })
    }

    /// Whether any plugin looks at response bodies.
    #[must_use]
    pub fn reads_bodies(&self) -> bool {
        self.reads_bodies
    }

    /// Lets every plugin whose turn it is and that asks for it see and change a piece of the response
    /// body.
    pub fn response_body(
        &self,
        turn: Turn,
        exchange: &mut Exchange,
        body: &mut Option<Bytes>,
        end: bool,
    ) {
        for link in &self.links {
            if link.has(turn) && link.plugin.reads_bodies() && link.known(exchange) != Some(false) {
                link.plugin.response_body(exchange, body, end);
            }
        }
    }

    /// Tells every plugin that the request is over. `route` is the chain of the route if this is
    /// the global one.
    pub fn log(&self, facts: &Facts<'_>, route: Option<&Self>) {
        for link in &self.links {
            let elsewhere = link.prefer_route && route.is_some_and(|route| route.has(link.name));
            if !elsewhere && link.logs(facts) {
                link.plugin.log(facts);
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.links.iter().any(|link| link.name == name)
    }

    async fn until_answer(
        &self,
        phase: Phase,
        exchange: &mut Exchange,
        session: &mut Session,
        run: impl Fn(&dyn Plugin, &mut Exchange, &mut RequestHeader) -> Flow,
    ) -> Result<Option<Answer>> {
        for link in &self.links {
            if !link.runs(phase, exchange, session.req_header(), None) {
                continue;
            }
            let flow = run(&*link.plugin, exchange, session.req_header_mut());
            if let Some(answer) = settle(flow, exchange, session).await? {
                return Ok(Some(link.dress(answer)));
            }
        }
        Ok(None)
    }
}

/// Does what a plugin asks for until it has decided. The error is a client that breaks off.
async fn settle(
    mut flow: Flow,
    exchange: &mut Exchange,
    session: &mut Session,
) -> Result<Option<Answer>> {
    loop {
        let resume = match flow {
            Flow::Next => return Ok(None),
            Flow::Answer(answer) => return Ok(Some(*answer)),
            Flow::Wait(wait) => wait.await,
            Flow::Body(wanted) => {
                if !body::read(session, exchange, wanted.limit).await? {
                    return Ok(Some(wanted.too_large));
                }
                wanted.resume
            }
        };
        flow = resume(exchange, session.req_header_mut());
    }
}

impl Link {
    fn has(&self, turn: Turn) -> bool {
        self.plugin.is_last() == (turn == Turn::Last)
    }

    /// Whether `_meta.filter` lets the request in: asked in the plugin's first phase, where it can
    /// know most, and remembered. Before that phase a plugin does nothing or prepares for it.
    fn runs(
        &self,
        phase: Phase,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: Option<&ResponseHeader>,
    ) -> bool {
        let Some(filter) = &self.filter else { return true };
        if phase < self.begins {
            return true;
        }
        if let Some(fits) = self.known(exchange) {
            return fits;
        }
        let fits = filter.matches(&Facts { response, ..exchange.facts(request) });
        exchange.filtered.push((self.address(), fits));
        fits
    }

    /// The same for the last phase, which may be the plugin's first.
    fn logs(&self, facts: &Facts<'_>) -> bool {
        let Some(filter) = &self.filter else { return true };
        self.known(facts.exchange).unwrap_or_else(|| filter.matches(facts))
    }

    /// What the filter has said to the request; None if there is none or it was not asked.
    fn known(&self, exchange: &Exchange) -> Option<bool> {
        self.filter.as_ref()?;
        let mut filtered = exchange.filtered.iter();
        filtered.find(|(link, _)| *link == self.address()).map(|(_, fits)| *fits)
    }

    /// Tells links apart while a request holds them.
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Puts `_meta.error_response` in place of the body the plugin chose.
    fn dress(&self, mut answer: Answer) -> Answer {
        if let Some(text) = &self.error_response
            && answer.status >= StatusCode::BAD_REQUEST
        {
            answer.body = Body::Text(text.clone());
        }
        answer
    }
}
