//! Pages of lists: `?limit=&after=` in, `{data, has_more, next}` out.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which part of a list is wanted. Lists are ordered newest first, unless their query says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Most entries to return.
    pub limit: u32,
    /// Continue after this entry: the `next` of the page before.
    pub after: Option<String>,
}

impl Page {
    /// The first `limit` entries.
    pub fn first(limit: u32) -> Self {
        Self { limit, after: None }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Listing<T> {
    /// The entries.
    pub data: Vec<T>,
    /// Are there more after the last one?
    pub has_more: bool,
    /// Value of `after` for the next page; null on the last page.
    pub next: Option<String>,
}

impl<T> Listing<T> {
    /// A page made of up to `limit + 1` entries: the one too many only tells that there are more.
    pub fn from_overfull(mut data: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let has_more = data.len() > limit as usize;
        data.truncate(limit as usize);
        let next = if has_more { data.last().map(cursor) } else { None };
        Self { data, has_more, next }
    }

    /// A list that is always given whole.
    pub fn whole(data: Vec<T>) -> Self {
        Self { data, has_more: false, next: None }
    }

    /// The same page with every entry changed.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Listing<U> {
        Listing { data: self.data.into_iter().map(change).collect(), has_more: self.has_more, next: self.next }
    }
}
