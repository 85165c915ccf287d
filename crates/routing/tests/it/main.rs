//! Properties of the crate as its users see it.

mod checks;
mod matching;
mod naive;
