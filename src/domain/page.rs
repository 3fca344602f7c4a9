//! Pages of lists. A token names the list and its filters, so that one from elsewhere is noticed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::error::{Code, Error, Result};

/// Entries of a page when the request says nothing.
pub const DEFAULT_PAGE_SIZE: i64 = 100;
/// Entries of a page at most.
pub const MAX_PAGE_SIZE: i64 = 1000;

/// A page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Present when there is more.
    pub next_page_token: Option<String>,
}

impl<T> Page<T> {
    /// The same page of something else.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            next_page_token: self.next_page_token,
        }
    }
}

/// Which page of which list a request asks for.
#[derive(Debug, Clone)]
pub struct PageRequest {
    size: i64,
    token: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Token<C> {
    l: String,
    c: C,
}

impl PageRequest {
    /// # Errors
    /// `invalid_request` when the size is not in 1..=1000.
    pub fn new(size: Option<i64>, token: Option<String>) -> Result<Self> {
        let size = size.unwrap_or(DEFAULT_PAGE_SIZE);
        if !(1..=MAX_PAGE_SIZE).contains(&size) {
            return Err(Error::invalid("?page_size", format!("must be from 1 to {MAX_PAGE_SIZE}")));
        }
        Ok(Self { size, token })
    }

    /// Entries to read: one more than the page, to know whether there is a next one.
    pub fn limit(&self) -> i64 {
        self.size + 1
    }

    /// Where the page begins: what [`PageRequest::page`] gave as cursor, none for the first page.
    ///
    /// # Errors
    /// `invalid_page_token` when the token is not one of this list with these filters.
    pub fn cursor<C: DeserializeOwned>(&self, list: &str) -> Result<Option<C>> {
        let Some(token) = &self.token else { return Ok(None) };
        let bad = || Code::InvalidPageToken.error("the page token was not given out by this list with these filters");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let token: Token<C> = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if token.l != fingerprint(list) {
            return Err(bad());
        }
        Ok(Some(token.c))
    }

    /// Cuts what was read to a page; `cursor` says where an entry stands in the order.
    pub fn page<T, C: Serialize>(&self, list: &str, mut items: Vec<T>, cursor: impl Fn(&T) -> C) -> Page<T> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let more = items.len() > size;
        items.truncate(size);
        let next_page_token = items.last().filter(|_| more).map(|last| {
            let token = Token {
                l: fingerprint(list),
                c: cursor(last),
            };
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("a cursor of numbers and texts is JSON"))
        });
        Page { items, next_page_token }
    }
}

fn fingerprint(list: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(list.as_bytes())[..9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_the_next_page_of_its_own_list_only() {
        let first = PageRequest::new(Some(2), None).expect("valid");
        let page = first.page("things?a=1", vec![1, 2, 3], |n| *n);
        assert_eq!(page.items, vec![1, 2]);
        let next = PageRequest::new(Some(2), page.next_page_token).expect("valid");
        assert_eq!(next.cursor::<i32>("things?a=1").expect("ours"), Some(2));
        assert_eq!(
            next.cursor::<i32>("things?a=2").expect_err("other filter").code(),
            Code::InvalidPageToken
        );
        assert!(next.page("things?a=1", vec![3], |n| *n).next_page_token.is_none());
    }

    #[test]
    fn nonsense_is_no_token() {
        let request = PageRequest::new(None, Some("%%%".into())).expect("valid");
        assert_eq!(
            request.cursor::<i32>("x").expect_err("nonsense").code(),
            Code::InvalidPageToken
        );
        assert!(PageRequest::new(Some(0), None).is_err());
        assert!(PageRequest::new(Some(1001), None).is_err());
    }
}
