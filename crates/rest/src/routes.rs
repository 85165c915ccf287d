//! The REST API on one page: which handler answers which operation of the contract.
//! Method, path and every rule on parameters and bodies come from the contract itself, who may call
//! from the table of permissions (`gantry_app::access`).

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, get, on};
use gantry_app::App;
use gantry_app::access::{self, Scope};
use gantry_app::gateway::AGENT_PATH;
use http::Method;

use crate::contract::contract;
use crate::gate::{Gate, gate};
use crate::{
    access_token, agent, alert_history, alert_policy, api, application, billing, canary_release,
    certificate, cluster, consumer, debug, docs, fallback, frame, heartbeat, instance, invitation,
    label, loaded_plugin, log_collection, member, metrics, openapi, organization, plugin, probe,
    region, role, service_admin, service_registry, session, user,
};

/// One line of the list.
pub struct Route {
    pub id: &'static str,
    mount: Box<dyn Fn(MethodFilter) -> MethodRouter<App>>,
}

fn op<H, T>(id: &'static str, handler: H) -> Route
where
    H: Handler<T, App>,
    T: 'static,
{
    Route { id, mount: Box::new(move |filter| on(filter, handler.clone())) }
}

/// Operation and handler.
#[rustfmt::skip]
pub fn routes() -> Vec<Route> {
    vec![
        op("loginRedirect",                  session::login_page),
        op("login",                          session::login),
        op("logout",                         session::logout),
        op("identityCallback",               session::callback),
        op("getCurrentUser",                 user::me),
        op("updateCurrentUser",              user::update),
        op("deleteCurrentUser",              user::delete),
        op("updatePassword",                 user::update_password),
        op("updateProductTour",              user::update_product_tour),
        op("resendVerificationEmail",        user::resend_verification_email),
        op("verifyEmail",                    user::verify_email),
        op("listAccessTokens",               access_token::list),
        op("createAccessToken",              access_token::create),
        op("deleteAccessToken",              access_token::delete),
        op("deleteAllAccessTokens",          access_token::delete_all),

        op("createOrganization",             organization::create),
        op("initializeOrganization",         organization::initialize),
        op("getOrganization",                organization::get),
        op("deleteOrganization",             organization::delete),
        op("getPlan",                        billing::plan),
        op("createSubscription",             billing::subscribe),
        op("getUpcomingInvoice",             billing::upcoming_invoice),
        op("redirectToCustomerPortal",       billing::customer_portal),
        op("listRegions",                    region::list),
        op("listRoles",                      role::list),

        op("listMembers",                    member::list),
        op("createMember",                   member::create),
        op("getMember",                      member::get),
        op("updateMember",                   member::update),
        op("deleteMember",                   member::delete),
        op("transferOwnership",              member::transfer_ownership),
        op("reinviteMember",                 member::invite_again),
        op("acceptInvitation",               invitation::accept),
        op("joinByInvitation",               invitation::join),

        op("listClusters",                   cluster::list),
        op("createCluster",                  cluster::create),
        op("getCluster",                     cluster::get),
        op("updateClusterSettings",          cluster::update_settings),
        op("updateClusterPlugins",           cluster::update_plugins),

        op("generateGatewayCertificate",     instance::issue_certificate),
        op("getStartupConfigTemplate",       instance::startup_config),
        op("listGatewayInstances",           instance::list),
        op("listReceipts",                   instance::receipts),
        op("reportHeartbeat",                heartbeat::report),
        op("reportMetrics",                  metrics::report),
        op("getClusterMetrics",              metrics::get),

        op("listApplications",               application::list),
        op("createApplication",              application::create),
        op("createApplicationFromOpenAPI",   openapi::import),
        op("getApplication",                 application::get),
        op("updateApplication",              application::replace),
        op("patchApplication",               application::patch),
        op("deleteApplication",              application::delete),
        op("deleteAllApplications",          application::delete_all),

        op("listAPIs",                       api::list),
        op("createAPI",                      api::create),
        op("getAPI",                         api::get),
        op("updateAPI",                      api::replace),
        op("patchAPI",                       api::patch),
        op("deleteAPI",                      api::delete),
        op("deleteAllAPIs",                  api::delete_all),
        op("searchAPIs",                     api::search),

        op("listServiceAdmins",              service_admin::list),
        op("addServiceAdmins",               service_admin::add),
        op("deleteServiceAdmin",             service_admin::delete),

        op("listCanaryReleases",             canary_release::list),
        op("createCanaryRelease",            canary_release::create),
        op("getCanaryRelease",               canary_release::get),
        op("updateCanaryRelease",            canary_release::replace),
        op("deleteCanaryRelease",            canary_release::delete),

        op("listConsumers",                  consumer::list),
        op("createConsumer",                 consumer::create),
        op("getConsumer",                    consumer::get),
        op("updateConsumer",                 consumer::replace),
        op("patchConsumer",                  consumer::patch),
        op("deleteConsumer",                 consumer::delete),
        op("createConsumerJWT",              consumer::issue_jwt),

        op("listCertificates",               certificate::list),
        op("createCertificate",              certificate::create),
        op("getCertificate",                 certificate::get),
        op("updateCertificate",              certificate::replace),
        op("patchCertificate",               certificate::patch),
        op("deleteCertificate",              certificate::delete),

        op("listServiceRegistries",          service_registry::list),
        op("createServiceRegistry",          service_registry::create),
        op("getServiceRegistry",             service_registry::get),
        op("updateServiceRegistry",          service_registry::replace),
        op("deleteServiceRegistry",          service_registry::delete),

        op("listLogCollections",             log_collection::list),
        op("createLogCollection",            log_collection::create),
        op("getLogCollection",               log_collection::get),
        op("updateLogCollection",            log_collection::replace),
        op("deleteLogCollection",            log_collection::delete),

        op("listAlertPolicies",               alert_policy::list),
        op("createAlertPolicy",               alert_policy::create),
        op("getAlertPolicy",                  alert_policy::get),
        op("updateAlertPolicyBasicInfo",      alert_policy::set_basic_info),
        op("updateAlertPolicyDisabled",       alert_policy::set_disabled),
        op("deleteAlertPolicy",               alert_policy::delete),
        op("setAlertPolicyTrigger",           alert_policy::set_triggers),
        op("addAlertPolicyWebhook",           alert_policy::add_webhook),
        op("updateAlertPolicyWebhook",        alert_policy::replace_webhook),
        op("deleteAlertPolicyWebhook",        alert_policy::delete_webhook),
        op("testAlertPolicyWebhook",          alert_policy::try_webhook),
        op("backTestAlertPolicy",             alert_policy::back_test),
        op("listAlertHistories",              alert_history::list),
        op("getAlertHistory",                 alert_history::get),

        op("listLabels",                     label::list),
        op("debugResource",                  debug::dump),
        op("getPluginSchema",                plugin::schema),
        op("getPluginMetadataSchema",        plugin::metadata_schema),
        op("listAvailablePlugins",           plugin::available),
        op("loadPlugin",                     loaded_plugin::load),
        op("listLoadedPlugins",              loaded_plugin::list),
        op("updateLoadedPlugin",             loaded_plugin::update),
        op("deleteLoadedPlugin",             loaded_plugin::unload),
        op("getPluginReference",             loaded_plugin::references),
        op("listVariables",                  plugin::variables),
    ]
}

/// The management API, with its probes and the contract.
pub fn router(app: App) -> Router {
    let mut router = Router::new()
        .route("/healthz", get(probe::healthy))
        .route("/readyz", get(probe::ready))
        .route("/billing/{organization}", get(billing::page))
        .route("/api/openapi.json", get(probe::contract))
        .route("/api/docs", get(docs::page))
        .route(AGENT_PATH, get(agent::archive));
    for route in routes().into_iter().filter(|route| scope(route.id) != Some(Scope::Gateway)) {
        router = mount(router, &app, &route);
    }
    finish(router, app)
}

/// What gateways call; the caller puts `Extension<Identity>` on each request.
pub fn dp_router(app: App) -> Router {
    let mut router = Router::new();
    for route in routes().into_iter().filter(|route| scope(route.id) == Some(Scope::Gateway)) {
        router = mount(router, &app, &route);
    }
    finish(router, app)
}

/// What the operator's own tools ask: `/metrics` beside the probes. It tells numbers of all clusters
/// and asks nobody who they are, so it belongs on a listener that only the operator reaches.
pub fn operator_router(app: App) -> Router {
    let router = Router::new()
        .route("/metrics", get(probe::metrics))
        .route("/healthz", get(probe::healthy))
        .route("/readyz", get(probe::ready));
    finish(router, app)
}

fn mount(mut router: Router<App>, app: &App, route: &Route) -> Router<App> {
    let (Some(operation), Some(rule)) = (contract().operation(route.id), access::rule(route.id))
    else {
        return router;
    };
    let guard = Gate { app: app.clone(), operation, rule };
    for (method, path) in &operation.spellings {
        let handler = (route.mount)(filter(method));
        let guarded = handler.route_layer(from_fn_with_state(guard.clone(), gate));
        router = router.route(path, guarded);
    }
    router
}

fn scope(operation: &str) -> Option<Scope> {
    access::rule(operation).map(|rule| rule.scope)
}

fn filter(method: &Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET)
}

fn finish(router: Router<App>, app: App) -> Router {
    router
        .fallback(fallback::unknown_path)
        .method_not_allowed_fallback(fallback::wrong_method)
        .layer(from_fn_with_state(app.clone(), frame::frame))
        .with_state(app)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_of_the_contract_has_one_handler() {
        let built: Vec<&str> = routes().iter().map(|route| route.id).collect();
        let distinct: BTreeSet<&str> = built.iter().copied().collect();
        assert_eq!(built.len(), distinct.len(), "an operation is listed twice");
        let wanted: BTreeSet<&str> = contract().operations().map(|one| one.id.as_str()).collect();
        assert_eq!(distinct, wanted);
    }

    #[test]
    fn every_operation_has_a_line_in_the_table_of_permissions() {
        let ruled: BTreeSet<&str> = access::rules().map(|rule| rule.operation).collect();
        let wanted: BTreeSet<&str> = contract().operations().map(|one| one.id.as_str()).collect();
        assert_eq!(ruled, wanted);
    }

    #[test]
    fn scopes_fit_the_ids_in_the_path() {
        for rule in access::rules() {
            let path = contract().operation(rule.operation).unwrap().path().to_owned();
            let expected = match rule.scope {
                Scope::Public | Scope::User => continue,
                Scope::Organization | Scope::Clusters => "/orgs/{id}",
                Scope::Cluster | Scope::Applications => "/clusters/{cluster_id}",
                Scope::Application => "/apps/{app_id}",
                Scope::Gateway => "/dp/",
            };
            assert!(path.contains(expected), "{}: {path}", rule.operation);
        }
    }
}
