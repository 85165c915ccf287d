//! What is translated: a cluster or a stored resource of any kind, with what its translation takes
//! from its parent.

use gantry_model::config::{
    ApiSpec, ApplicationSpec, CertificateSpec, ClusterSettings, ConsumerSpec, Plugins,
    ServiceRegistrySpec,
};
use gantry_model::{Id, Result, Violation};
use gantry_store::Tx;
use gantry_store::resource::{Kind, ResourceRow};
use gantry_translate::{Keys, References, Surroundings};

use crate::object::{self, Spec as _};
use crate::{App, certificate, surroundings};

pub(crate) enum Subject {
    Cluster { id: Id, settings: ClusterSettings, plugins: Plugins },
    Application { id: Id, spec: ApplicationSpec },
    Api { id: Id, spec: ApiSpec, app: Id, parent: ApplicationSpec },
    Consumer { id: Id, spec: ConsumerSpec },
    Certificate { id: Id, spec: CertificateSpec, snis: Vec<String> },
    LogCollection,
    CanaryRelease,
    ServiceRegistry { id: Id, spec: ServiceRegistrySpec },
}

impl Subject {
    /// A stored resource.
    pub(crate) async fn of(app: &App, tx: &mut Tx, row: ResourceRow) -> Result<Self> {
        let (id, cluster) = (row.id, row.cluster_id);
        Ok(match row.kind {
            Kind::Application => Self::Application { id, spec: object::opened(app, row)?.spec },
            Kind::Api => {
                let parent_id = row.parent_id;
                let parent = object::find(app, tx, cluster, parent_id).await?.spec;
                Self::Api { id, spec: object::opened(app, row)?.spec, app: parent_id, parent }
            }
            Kind::Consumer => Self::Consumer { id, spec: object::opened(app, row)?.spec },
            Kind::Certificate => {
                let spec: CertificateSpec = object::opened(app, row)?.spec;
                let snis = certificate::facts(&spec.certificate, "certificate")?.snis;
                Self::Certificate { id, spec, snis }
            }
            Kind::LogCollection => Self::LogCollection,
            Kind::CanaryRelease => Self::CanaryRelease,
            Kind::ServiceRegistry => {
                Self::ServiceRegistry { id, spec: object::opened(app, row)?.spec }
            }
        })
    }

    fn references(&self) -> References {
        match self {
            Self::Cluster { plugins, .. } => References::of_plugins(plugins),
            Self::Application { spec, .. } => spec.index().references,
            Self::Api { spec, .. } => spec.index().references,
            Self::Consumer { spec, .. } => spec.index().references,
            Self::Certificate { .. }
            | Self::LogCollection
            | Self::CanaryRelease
            | Self::ServiceRegistry { .. } => References::default(),
        }
    }

    /// What gateways are served for it.
    pub(crate) fn keys(&self, around: &Surroundings) -> Keys {
        match self {
            Self::Cluster { id, settings, plugins } => {
                gantry_translate::cluster(*id, settings, plugins, around)
            }
            Self::Application { id, spec } => gantry_translate::application(*id, spec, around),
            Self::Api { id, spec, app, parent } => {
                gantry_translate::api(*id, *app, parent, spec, around)
            }
            Self::Consumer { id, spec } => gantry_translate::consumer(*id, spec, around),
            Self::Certificate { id, spec, snis } => gantry_translate::certificate(*id, spec, snis),
            Self::LogCollection | Self::CanaryRelease => Keys::new(),
            Self::ServiceRegistry { id, spec } => gantry_translate::service_registry(*id, spec),
        }
    }

    /// Rules that it breaks now.
    pub(crate) fn violations(&self, around: &Surroundings) -> Vec<Violation> {
        match self {
            Self::Cluster { settings, plugins, .. } => {
                gantry_translate::check_cluster(settings, plugins, around)
            }
            Self::Application { spec, .. } => gantry_translate::check_application(spec, around),
            Self::Api { spec, parent, .. } => gantry_translate::check_api(parent, spec, around),
            Self::Consumer { spec, .. } => gantry_translate::check_consumer(spec, around),
            Self::Certificate { .. }
            | Self::LogCollection
            | Self::CanaryRelease
            | Self::ServiceRegistry { .. } => Vec::new(),
        }
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Cluster { .. } => "the cluster".into(),
            Self::Application { spec, .. } => format!("the application `{}`", spec.name),
            Self::Api { spec, .. } => format!("the API `{}`", spec.name),
            Self::Consumer { spec, .. } => format!("the consumer `{}`", spec.name),
            Self::Certificate { id, .. } => format!("certificate {id}"),
            Self::LogCollection => "a log collection".into(),
            Self::CanaryRelease => "a canary release".into(),
            Self::ServiceRegistry { spec, .. } => format!("the service registry `{}`", spec.name),
        }
    }
}

/// What these refer to, as it is now.
pub(crate) async fn around(
    app: &App,
    tx: &mut Tx,
    cluster: Id,
    subjects: &[Subject],
) -> Result<Surroundings> {
    let references = subjects.iter().map(Subject::references).collect();
    surroundings::of(app, tx, cluster, references).await
}
