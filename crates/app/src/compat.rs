//! How answers are shaped where the original's clients and its reference disagree.

/// For whom answers have the form of the public Go SDK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GoSdk {
    /// For clients that call themselves `Go-http-client/…`.
    #[default]
    Auto,
    /// For everybody.
    On,
    /// For nobody.
    Off,
}
