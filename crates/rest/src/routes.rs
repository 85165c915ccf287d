//! The REST API on one page: which handler answers which operation of the contract, and for whom.
//! Method, path and every rule on parameters and bodies come from the contract itself.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use gantry_app::App;
use http::Method;

use crate::contract::contract;
use crate::gate::{Gate, gate};
use crate::{
    access_token, api, application, certificate, cluster, consumer, debug, fallback, frame,
    heartbeat, instance, label, organization, plugin, probe, region, session,
};

/// Who may call an operation. What a signed-in user may see is decided by membership in the
/// organization that the id in the path leads to; foreign ids are answered as unknown ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Any signed-in user.
    SignedIn,
    /// Members of the organization `id`.
    Organization,
    /// Members of the organization that owns the cluster `cluster_id`.
    Cluster,
    /// Members of the organization that owns the application `app_id`.
    Application,
    /// Gateways, on the port of their own.
    Gateway,
}

/// One line of the list.
pub struct Route {
    pub id: &'static str,
    pub access: Access,
    mount: Box<dyn Fn(MethodFilter) -> MethodRouter<App>>,
}

fn op<H, T>(id: &'static str, access: Access, handler: H) -> Route
where
    H: Handler<T, App>,
    T: 'static,
{
    Route { id, access, mount: Box::new(move |filter| on(filter, handler.clone())) }
}

/// Operation, access, handler.
#[rustfmt::skip]
pub fn routes() -> Vec<Route> {
    use Access::{Application, Cluster, Gateway, Organization, Public, SignedIn};
    vec![
        op("loginRedirect",             Public,       session::login_page),
        op("login",                     Public,       session::login),
        op("logout",                    SignedIn,     session::logout),
        op("getCurrentUser",            SignedIn,     session::me),
        op("listAccessTokens",          SignedIn,     access_token::list),
        op("createAccessToken",         SignedIn,     access_token::create),
        op("deleteAccessToken",         SignedIn,     access_token::delete),
        op("deleteAllAccessTokens",     SignedIn,     access_token::delete_all),

        op("createOrganization",        SignedIn,     organization::create),
        op("initializeOrganization",    SignedIn,     organization::initialize),
        op("getOrganization",           Organization, organization::get),
        op("listRegions",               SignedIn,     region::list),

        op("listClusters",              Organization, cluster::list),
        op("createCluster",             Organization, cluster::create),
        op("getCluster",                Cluster,      cluster::get),
        op("updateClusterSettings",     Cluster,      cluster::update_settings),
        op("updateClusterPlugins",      Cluster,      cluster::update_plugins),

        op("generateGatewayCertificate", Cluster,     instance::issue_certificate),
        op("getStartupConfigTemplate",  Cluster,      instance::startup_config),
        op("listGatewayInstances",      Cluster,      instance::list),
        op("reportHeartbeat",           Gateway,      heartbeat::report),

        op("listApplications",          Cluster,      application::list),
        op("createApplication",         Cluster,      application::create),
        op("getApplication",            Cluster,      application::get),
        op("updateApplication",         Cluster,      application::replace),
        op("patchApplication",          Cluster,      application::patch),
        op("deleteApplication",         Cluster,      application::delete),
        op("deleteAllApplications",     Cluster,      application::delete_all),

        op("listAPIs",                  Application,  api::list),
        op("createAPI",                 Application,  api::create),
        op("getAPI",                    Application,  api::get),
        op("updateAPI",                 Application,  api::replace),
        op("patchAPI",                  Application,  api::patch),
        op("deleteAPI",                 Application,  api::delete),
        op("deleteAllAPIs",             Application,  api::delete_all),
        op("searchAPIs",                Cluster,      api::search),

        op("listConsumers",             Cluster,      consumer::list),
        op("createConsumer",            Cluster,      consumer::create),
        op("getConsumer",               Cluster,      consumer::get),
        op("updateConsumer",            Cluster,      consumer::replace),
        op("patchConsumer",             Cluster,      consumer::patch),
        op("deleteConsumer",            Cluster,      consumer::delete),

        op("listCertificates",          Cluster,      certificate::list),
        op("createCertificate",         Cluster,      certificate::create),
        op("getCertificate",            Cluster,      certificate::get),
        op("updateCertificate",         Cluster,      certificate::replace),
        op("patchCertificate",          Cluster,      certificate::patch),
        op("deleteCertificate",         Cluster,      certificate::delete),

        op("listLabels",                Cluster,      label::list),
        op("debugResource",             Cluster,      debug::dump),
        op("getPluginSchema",           SignedIn,     plugin::schema),
        op("getPluginMetadataSchema",   SignedIn,     plugin::metadata_schema),
        op("listAvailablePlugins",      Organization, plugin::available),
        op("listVariables",             SignedIn,     plugin::variables),
    ]
}

/// Operations of the contract without a handler. This list only shrinks.
pub const NOT_BUILT_YET: &[&str] = &[
    "deleteOrganization",
    "createSubscription",
    "getUpcomingInvoice",
    "redirectToCustomerPortal",
    "getClusterMetrics",
    "loadPlugin",
    "listLoadedPlugins",
    "updateLoadedPlugin",
    "deleteLoadedPlugin",
    "getPluginReference",
    "createApplicationFromOpenAPI",
    "createConsumerJWT",
    "listMembers",
    "createMember",
    "getMember",
    "deleteMember",
    "updateMember",
    "transferOwnership",
    "reinviteMember",
    "getPlan",
    "resendVerificationEmail",
    "identityCallback",
    "acceptInvitation",
    "deleteCurrentUser",
    "updateCurrentUser",
    "updatePassword",
    "updateProductTour",
    "createServiceRegistry",
    "listServiceRegistries",
    "getServiceRegistry",
    "updateServiceRegistry",
    "deleteServiceRegistry",
    "listCanaryReleases",
    "createCanaryRelease",
    "getCanaryRelease",
    "updateCanaryRelease",
    "deleteCanaryRelease",
    "listLogCollections",
    "createLogCollection",
    "getLogCollection",
    "updateLogCollection",
    "deleteLogCollection",
    "listRoles",
    "createAlertPolicy",
    "listAlertPolicies",
    "getAlertPolicy",
    "deleteAlertPolicy",
    "updateAlertPolicyBasicInfo",
    "updateAlertPolicyDisabled",
    "addAlertPolicyWebhook",
    "updateAlertPolicyWebhook",
    "deleteAlertPolicyWebhook",
    "setAlertPolicyTrigger",
    "listAlertHistories",
    "getAlertHistory",
    "listServiceAdmins",
    "addServiceAdmins",
    "deleteServiceAdmin",
    "reportMetrics",
];

/// The management API, with its probes and the contract.
pub fn router(app: App) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(probe::healthy))
        .route("/readyz", get(probe::ready))
        .route("/api/openapi.json", get(probe::contract));
    for route in routes().into_iter().filter(|route| route.access != Access::Gateway) {
        router = mount(router, &app, &route);
    }
    for id in NOT_BUILT_YET {
        router = mount(router, &app, &op(id, Access::SignedIn, fallback::not_built));
    }
    finish(router, app)
}

/// What gateways call; the caller puts `Extension<Identity>` on each request.
pub fn dp_router(app: App) -> Router {
    let mut router = Router::new();
    for route in routes().into_iter().filter(|route| route.access == Access::Gateway) {
        router = mount(router, &app, &route);
    }
    finish(router, app)
}

fn mount(mut router: Router<App>, app: &App, route: &Route) -> Router<App> {
    let Some(operation) = contract().operation(route.id) else { return router };
    let guard = Gate { app: app.clone(), operation, access: route.access };
    for (method, path) in &operation.spellings {
        let handler = (route.mount)(filter(method));
        let guarded = handler.route_layer(from_fn_with_state(guard.clone(), gate));
        router = router.route(path, guarded);
    }
    router
}

fn filter(method: &Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET)
}

fn finish(router: Router<App>, app: App) -> Router {
    router
        .fallback(fallback::unknown_path)
        .method_not_allowed_fallback(fallback::wrong_method)
        .layer(from_fn(frame::frame))
        .with_state(app)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_of_the_contract_is_in_exactly_one_list() {
        let built: Vec<&str> = routes().iter().map(|route| route.id).collect();
        let listed: Vec<&str> = built.iter().chain(NOT_BUILT_YET).copied().collect();
        let distinct: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(listed.len(), distinct.len(), "an operation is listed twice");
        let wanted: BTreeSet<&str> = contract().operations().map(|one| one.id.as_str()).collect();
        assert_eq!(distinct, wanted);
    }

    #[test]
    fn access_fits_the_ids_in_the_path() {
        for route in routes() {
            let path = contract().operation(route.id).unwrap().path().to_owned();
            let expected = match route.access {
                Access::Public | Access::SignedIn => continue,
                Access::Organization => "/orgs/{id}",
                Access::Cluster => "/clusters/{cluster_id}",
                Access::Application => "/apps/{app_id}",
                Access::Gateway => "/dp/",
            };
            assert!(path.contains(expected), "{}: {path}", route.id);
        }
    }
}
