//! The line that says "everything is bound": for supervisors, scripts and tests.

use std::fmt::Display;

/// `gantry ready name=address …` on standard output.
#[derive(Default)]
pub struct Ready(String);

impl Ready {
    #[must_use]
    pub fn with(mut self, name: &str, address: impl Display) -> Self {
        self.0.push_str(&format!(" {name}={address}"));
        self
    }

    pub fn print(self) {
        use std::io::Write as _;

        let mut out = std::io::stdout().lock();
        // A closed standard output is no reason to stop serving.
        let _ = writeln!(out, "gantry ready{}", self.0).and_then(|()| out.flush());
    }
}
