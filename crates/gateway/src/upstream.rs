//! A compiled upstream: its nodes and how to choose among them.

/// A group of equal servers.
pub struct Upstream {
    pub nodes: Vec<Node>,
}

/// One server of an upstream.
pub struct Node {
    pub host: String,
    pub port: u16,
}
