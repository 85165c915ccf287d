//! Alert policies of a cluster, with their triggers and webhooks.

use gantry_app::{alert_policy, alert_webhook, alerting};
use gantry_model::alert_policy::{
    AlertPolicy, AlertPolicyBasicInfo, AlertPolicyCreate, AlertPolicyDisabled, BackTest,
    TriggerSettings,
};
use gantry_model::alert_webhook::{WebhookSpec, WebhookTrial};
use gantry_model::{Id, Page};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfPolicy {
    cluster_id: Id,
    #[serde(rename = "alert_policies_id")]
    policy_id: Id,
}

#[derive(Deserialize)]
pub struct OfWebhook {
    cluster_id: Id,
    #[serde(rename = "alert_policies_id")]
    policy_id: Id,
    webhook_id: Id,
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    List(query): List,
) -> Reply<Page<AlertPolicy>> {
    Ok(Answer::new(alert_policy::list(&cx, cluster_id, &query).await?))
}

pub async fn create(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(create): Body<AlertPolicyCreate>,
) -> Reply<AlertPolicy> {
    Ok(Answer::written(alert_policy::create(&cx, cluster_id, create).await?))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfPolicy { cluster_id, policy_id }): Params<OfPolicy>,
) -> Reply<AlertPolicy> {
    Ok(Answer::new(alert_policy::get(&cx, cluster_id, policy_id).await?))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfPolicy { cluster_id, policy_id }): Params<OfPolicy>,
) -> Reply<()> {
    Ok(Answer::done(alert_policy::delete(&cx, cluster_id, policy_id).await?))
}

pub async fn set_basic_info(
    Caller(cx): Caller,
    Params(OfPolicy { cluster_id, policy_id }): Params<OfPolicy>,
    Body(info): Body<AlertPolicyBasicInfo>,
) -> Reply<()> {
    Ok(Answer::done(alert_policy::set_basic_info(&cx, cluster_id, policy_id, info).await?))
}

pub async fn set_disabled(
    Caller(cx): Caller,
    Params(OfPolicy { cluster_id, policy_id }): Params<OfPolicy>,
    Body(AlertPolicyDisabled { disabled }): Body<AlertPolicyDisabled>,
) -> Reply<()> {
    Ok(Answer::done(alert_policy::set_disabled(&cx, cluster_id, policy_id, disabled).await?))
}

pub async fn set_triggers(
    Caller(cx): Caller,
    Params(OfPolicy { cluster_id, policy_id }): Params<OfPolicy>,
    Body(triggers): Body<TriggerSettings>,
) -> Reply<()> {
    Ok(Answer::done(alert_policy::set_triggers(&cx, cluster_id, policy_id, triggers).await?))
}

pub async fn add_webhook(
    Caller(cx): Caller,
    Params(OfPolicy { cluster_id, policy_id }): Params<OfPolicy>,
    Body(spec): Body<WebhookSpec>,
) -> Reply<()> {
    Ok(Answer::done(alert_webhook::add(&cx, cluster_id, policy_id, spec).await?))
}

pub async fn replace_webhook(
    Caller(cx): Caller,
    Params(OfWebhook { cluster_id, policy_id, webhook_id }): Params<OfWebhook>,
    Body(spec): Body<WebhookSpec>,
) -> Reply<()> {
    Ok(Answer::done(alert_webhook::replace(&cx, cluster_id, policy_id, webhook_id, spec).await?))
}

pub async fn delete_webhook(
    Caller(cx): Caller,
    Params(OfWebhook { cluster_id, policy_id, webhook_id }): Params<OfWebhook>,
) -> Reply<()> {
    Ok(Answer::done(alert_webhook::delete(&cx, cluster_id, policy_id, webhook_id).await?))
}

pub async fn try_webhook(
    Caller(cx): Caller,
    Params(OfWebhook { cluster_id, policy_id, webhook_id }): Params<OfWebhook>,
) -> Reply<WebhookTrial> {
    Ok(Answer::new(alerting::trial(&cx, cluster_id, policy_id, webhook_id).await?))
}

pub async fn back_test(
    Caller(cx): Caller,
    Params(OfPolicy { cluster_id, policy_id }): Params<OfPolicy>,
) -> Reply<BackTest> {
    Ok(Answer::new(alerting::back_test(&cx, cluster_id, policy_id).await?))
}
