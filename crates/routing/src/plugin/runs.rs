//! Which plugins Gantry's own gateway runs. Here, because the server has to know too.

/// Names in their order; the gateway tests that these are the ones it has.
pub const RUN_IN_GANTRY: &[&str] = &[
    "basic-auth",
    "client-control",
    "cors",
    "ip-restriction",
    "jwt-auth",
    "key-auth",
    "limit-count",
    "prometheus",
    "proxy-control",
    "proxy-rewrite",
    "real-ip",
    "redirect",
    "request-id",
    "response-rewrite",
    "traffic-split",
];

/// Whether Gantry's own gateway runs a plugin.
#[must_use]
pub fn runs_in_gantry(name: &str) -> bool {
    RUN_IN_GANTRY.binary_search(&name).is_ok()
}
