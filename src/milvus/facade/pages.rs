//! Whole lists, as Milvus answers them, from the service's pages.

use std::future::Future;

use crate::domain::page::{MAX_PAGE_SIZE, Page, PageRequest};
use crate::domain::{Error, Result};

/// Entries of a list that is answered whole, at most: Milvus' answers have no pages.
const MAX_ENTRIES: usize = 250_000;

/// Reads every page of a list.
///
/// # Errors
/// What `read` fails with; `invalid_request` for a list that is too long for one answer.
pub async fn every_page<T, F, R>(read: F) -> Result<Vec<T>>
where
    F: Fn(PageRequest) -> R,
    R: Future<Output = Result<Page<T>>>,
{
    every_page_as(read, Some).await
}

/// The same, keeping of each entry only what `keep` gives: a page at a time is in memory whole.
///
/// # Errors
/// As [`every_page`].
pub async fn every_page_as<T, U, F, R>(read: F, keep: impl Fn(T) -> Option<U>) -> Result<Vec<U>>
where
    F: Fn(PageRequest) -> R,
    R: Future<Output = Result<Page<T>>>,
{
    let mut all = Vec::new();
    let mut token = None;
    loop {
        let page = read(PageRequest::new(Some(MAX_PAGE_SIZE), token.take())?).await?;
        all.extend(page.items.into_iter().filter_map(&keep));
        token = page.next_page_token;
        if token.is_none() {
            return Ok(all);
        }
        if all.len() >= MAX_ENTRIES {
            return Err(Error::invalid(
                "",
                format!("the list has more than {MAX_ENTRIES} entries; the REST API has pages"),
            ));
        }
    }
}
