//! Lists: what a caller may ask for and what it gets (contract, `x-sdk-compat` on lists).

use serde::{Deserialize, Serialize};

/// Most rows a page may have; a larger `page_size` is cut to this (design §2: bounded work).
pub const PAGE_SIZE_MAX: u32 = 1000;

/// Direction of a sort; any letter case on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    Asc,
    #[default]
    Desc,
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// 1 is the first page.
    pub page: u32,
    /// 1 to [`PAGE_SIZE_MAX`].
    pub page_size: u32,
    /// Name of a field, one of those the contract allows for the list; `None` is the list's default.
    pub order_by: Option<String>,
    pub direction: Direction,
    /// Case-insensitive part of a text; empty matches everything.
    pub search: String,
    /// All of them must be on the object.
    pub labels: Vec<String>,
    /// `Some(0)` published, `Some(1)` drafts, `None` both; only applications have it.
    pub active: Option<u8>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self {
            page: 1,
            page_size: 10,
            order_by: None,
            direction: Direction::Desc,
            search: String::new(),
            labels: Vec::new(),
            active: None,
        }
    }
}

impl ListQuery {
    /// Rows before the page.
    #[must_use]
    pub fn offset(&self) -> i64 {
        i64::from(self.page.saturating_sub(1)) * self.limit()
    }

    /// Rows on the page.
    #[must_use]
    pub fn limit(&self) -> i64 {
        i64::from(self.page_size.clamp(1, PAGE_SIZE_MAX))
    }
}

/// A text as searches compare it: letter by letter in lower case, whatever stands around a letter.
#[must_use]
pub fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// One page of a list and the number of matches over all pages.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page<T> {
    pub list: Vec<T>,
    pub count: i64,
}
