//! The operations that histories are made of.

use gantry_model::Id;
use gantry_model::config::{
    ApiSpec, ApplicationSpec, CanaryReleaseSpec, ClusterSettings, ConsumerSpec, LogCollectionSpec,
    PluginState, Plugins, ServiceRegistrySpec,
};
use gantry_translate::strategies;
use proptest::bool::weighted;
use proptest::prelude::*;
use proptest::sample::Index;

use super::SLOTS;

/// One operation. An index picks among what exists; where nothing does, nothing happens.
#[derive(Clone, Debug)]
pub enum Step {
    CreateApplication(ApplicationSpec),
    ReplaceApplication(Index, ApplicationSpec),
    PublishApplication(Index, bool),
    DeleteApplication(Index),
    CreateApi(Index, ApiSpec),
    ReplaceApi(Index, ApiSpec),
    DeleteApi(Index),
    CreateCanaryRelease(Index, CanaryReleaseSpec),
    /// Takes a release to the next state it may have, or lets it pause.
    MoveCanaryRelease(Index, bool),
    DeleteCanaryRelease(Index),
    PutConsumer(ConsumerSpec),
    DeleteConsumer(Index),
    /// Creates the certificate of a slot, or deletes it when it is there.
    ToggleCertificate(usize),
    Settings(ClusterSettings),
    Plugins(Plugins),
    /// Loads or unloads a plugin, or changes its metadata, whatever leads to this state.
    Plugin(String, PluginState),
    /// Creates the log collection of a slot, or replaces it when it is there.
    PutLogCollection(Id, LogCollectionSpec),
    DeleteLogCollection(Id),
    PutServiceRegistry(Id, ServiceRegistrySpec),
    DeleteServiceRegistry(Id),
}

pub fn step() -> impl Strategy<Value = Step> {
    let one = any::<Index>;
    // Client certificates are a matter of references, which other tests look at.
    let application = || {
        strategies::application().prop_map(|mut spec| {
            spec.upstreams.iter_mut().for_each(|entry| entry.upstream.client_cert_id = None);
            spec
        })
    };
    let consumer =
        (0..SLOTS).prop_flat_map(|slot| strategies::consumer(format!("consumer_{slot}")));
    prop_oneof![
        3 => application().prop_map(Step::CreateApplication),
        2 => (one(), application()).prop_map(|(at, spec)| Step::ReplaceApplication(at, spec)),
        1 => (one(), any::<bool>()).prop_map(|(at, on)| Step::PublishApplication(at, on)),
        1 => one().prop_map(Step::DeleteApplication),
        4 => (one(), strategies::api()).prop_map(|(at, spec)| Step::CreateApi(at, spec)),
        2 => (one(), strategies::api()).prop_map(|(at, spec)| Step::ReplaceApi(at, spec)),
        1 => one().prop_map(Step::DeleteApi),
        2 => (one(), strategies::canary_release())
            .prop_map(|(at, spec)| Step::CreateCanaryRelease(at, spec)),
        4 => (one(), weighted(0.8)).prop_map(|(at, on)| Step::MoveCanaryRelease(at, on)),
        1 => one().prop_map(Step::DeleteCanaryRelease),
        2 => consumer.prop_map(Step::PutConsumer),
        1 => one().prop_map(Step::DeleteConsumer),
        2 => (0..SLOTS).prop_map(Step::ToggleCertificate),
        1 => strategies::cluster_settings().prop_map(Step::Settings),
        1 => strategies::cluster_plugins().prop_map(Step::Plugins),
        2 => strategies::plugin_state().prop_map(|(name, state)| Step::Plugin(name, state)),
        4 => strategies::log_collection()
            .prop_map(|(slot, spec)| Step::PutLogCollection(slot, spec)),
        1 => strategies::log_collection().prop_map(|(slot, _)| Step::DeleteLogCollection(slot)),
        4 => strategies::service_registry()
            .prop_map(|(slot, spec)| Step::PutServiceRegistry(slot, spec)),
        1 => strategies::service_registry()
            .prop_map(|(slot, _)| Step::DeleteServiceRegistry(slot)),
    ]
}
