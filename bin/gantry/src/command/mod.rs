//! The verbs: wiring, top to bottom, and nothing else.

pub mod admin;
pub mod dev;
pub mod gateway;
pub mod server;

use std::error::Error;
use std::fmt;

use tokio::runtime::{Builder, Runtime};

/// The end of a verb; an error is for the person who typed it.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a verb failed, with everything that led to it.
pub struct Failure(Box<dyn Error + Send + Sync>);

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// The runtime of everything but the gateway's own threads.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}
