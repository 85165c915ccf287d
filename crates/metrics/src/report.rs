//! What a gateway reports: the values of its series at one moment.

/// A report, or a part of one that was too large.
#[derive(Clone, Debug, PartialEq)]
pub struct Report<'a> {
    pub instance: &'a str,
    /// New at every start of the gateway, when its counters start again.
    pub run: &'a str,
    /// Numbers the reports of a run; parts of one report share it. `None`: each stands alone.
    pub round: Option<u64>,
    /// When it arrived by our own clock, milliseconds since 1970: clocks of gateways do not matter.
    pub time: i64,
    /// Series were left out for want of room.
    pub truncated: bool,
    pub samples: Vec<Sample<'a>>,
}

/// The value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    pub name: &'a str,
    /// In any order, without name and instance.
    pub labels: Vec<(&'a str, std::borrow::Cow<'a, str>)>,
    pub value: f64,
    pub is_counter: bool,
}
